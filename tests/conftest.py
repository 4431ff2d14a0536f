"""Common ground of the tests: no test leaves this machine, and none is left out silently."""

from __future__ import annotations

import logging
import os
import shutil
import socket
from pathlib import Path

import pytest

from bridge.clock import ManualClock

STRICT = os.environ.get("SIGEN_BRIDGE_TEST_STRICT") == "1"
FIXTURES = Path(__file__).parent / "fixtures"


def pytest_runtest_setup(item):
    """Handle ``needs``: a missing program leaves the test out by name, or fails it when strict."""
    for mark in item.iter_markers("needs"):
        for tool in mark.args:
            if shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is None:
                if STRICT:
                    pytest.fail(f"needs {tool}, and nothing may be left out here")
                pytest.skip(f"needs {tool}; make test-deps installs it")


def pytest_terminal_summary(terminalreporter):
    """List by name what was left out, with the reason and the remedy; also with tests run side by side."""
    skipped = terminalreporter.stats.get("skipped", [])
    if not skipped:
        return
    terminalreporter.section("left out")
    for report in skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        terminalreporter.line(f"{report.nodeid}: {reason.replace('Skipped: ', '')}")
    if any("make test-deps" in str(report.longrepr) for report in skipped):
        terminalreporter.line("remedy: make test-deps")


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch):
    """Refuse to connect anywhere but to this machine."""
    real = socket.socket.connect

    def connect(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = address[0]
            if not (host.startswith("127.") or host in ("::1", "localhost")):
                raise AssertionError(f"a test tried to leave this machine: {address}")
        return real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """Hide this machine's own settings from the program under test."""
    for name in list(os.environ):
        if name.startswith(("SIGEN_", "AMBER_", "ENPHASE_", "ANTHROPIC_")) and name != "SIGEN_BRIDGE_TEST_STRICT":
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    """Return a CA without keyUsage (what plain ``openssl req -x509`` makes) with a broker's and two clients' pairs."""
    from tests.mqtt_broker import Pki

    made = Pki(tmp_path_factory.mktemp("pki"))
    made.server = made.certificate("broker")
    made.client = made.certificate("AK_DEMO")
    made.stranger = made.certificate("STRANGER")
    return made


@pytest.fixture(scope="session")
def other_pki(tmp_path_factory):
    """Return another CA with a pair of the same name."""
    from tests.mqtt_broker import Pki

    made = Pki(tmp_path_factory.mktemp("other-pki"), "other ca")
    made.client = made.certificate("AK_DEMO")
    return made


@pytest.fixture(autouse=True)
def logging_as_it_was():
    """Put the loggers back that the program under test has set, so that tests may come in any order."""
    root = logging.getLogger()
    names = [name for name, one in root.manager.loggerDict.items() if isinstance(one, logging.Logger)]
    before = {name: (logging.getLogger(name).level, list(logging.getLogger(name).filters)) for name in names}
    level, disabled, handlers = root.level, root.manager.disable, list(root.handlers)
    yield
    root.setLevel(level)
    root.manager.disable = disabled
    for handler in [one for one in root.handlers if one not in handlers]:
        if type(handler) is logging.StreamHandler:
            root.removeHandler(handler)
    for name, one in list(root.manager.loggerDict.items()):
        if isinstance(one, logging.Logger):
            level, one.filters[:] = before.get(name, (logging.NOTSET, []))
            one.setLevel(level)


@pytest.fixture
def clock():
    """Return a clock that moves only when told to."""
    return ManualClock()
