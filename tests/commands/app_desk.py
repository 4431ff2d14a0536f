"""The command line in front of the app side of a simulated cloud; no output may hold a secret."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import subprocess

from bridge import cli
from bridge.sim.sigen_cloud_app_world import FIRST_NUMBER

STATION = FIRST_NUMBER
USER, PASSWORD, ENCODED = "owner@example.invalid", "correct horse", "2XgqjWOYS8wesGPH8+9zTA=="
AMBER = "psk_0123456789abcdef"
NEVER_SHOWN = (PASSWORD, ENCODED, "at-sim-", "rt-sim-", "Bearer ", AMBER)


def shows_no_secret(done, *more):
    """Return a finished command; its output must hold no secret."""
    for secret in (*NEVER_SHOWN, *more):
        assert secret not in done.stdout + done.stderr, f"{done.args}: {secret}"
    return done


class AppDesk:
    """Runs verbs against the simulator, with one state directory: in this process, or ``apart`` in one of its own."""

    def __init__(self, sim, path, bridge=None):
        self.sim, self.path, self.bridge = sim, path, bridge
        self.env = {
            "SIGEN_BRIDGE_CLOUD_APP_BASE_URL": sim.base_url, "SIGEN_USER": USER, "SIGEN_PASS": PASSWORD,
            "SIGEN_REGION": "aus", "SIGEN_BRIDGE_RUN_STATE_DIR": str(path),
        }

    def environment(self, without=(), env=None):
        """Return the variables of one command."""
        kept = {name: text for name, text in self.env.items() if name not in without}
        return {**kept, **(env or {})}

    def __call__(self, *argv, without=(), env=None):
        return shows_no_secret(in_process(argv, self.environment(without, env)))

    def apart(self, *argv, without=(), env=None, **options):
        """Run a command as a process of its own."""
        return shows_no_secret(self.bridge(*argv, env=self.environment(without, env), **options))

    def asked(self):
        """Return what the cloud was asked for, logins left out."""
        return [entry.endpoint for entry in self.sim.log if entry.endpoint not in ("appLogin", "login")]


def in_process(argv, environment):
    """Run a command line as ``main`` gets it, and give back what a process would have left."""
    out, err, log = io.StringIO(), io.StringIO(), logging.getLogger("cloud")
    filters, before = list(log.filters), dict(os.environ)
    os.environ.update(environment)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = cli.main(list(argv))
            except SystemExit as ended:
                code = ended.code
    finally:
        log.filters[:] = filters
        os.environ.clear()
        os.environ.update(before)
    return subprocess.CompletedProcess(argv, code, out.getvalue(), err.getvalue())
