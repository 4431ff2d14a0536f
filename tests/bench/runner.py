"""The script engine for the simulated Shelly, where it is installed."""

from __future__ import annotations


def script_runner():
    """Return a runner of real JavaScript, or None without the package quickjs."""
    try:
        from tests.sim.quickjs_runner import QuickJsRun
    except ImportError:
        return None
    return QuickJsRun
