"""``explain`` as a user runs it: without any network."""

from __future__ import annotations

import json

import pytest

from tests.commands.conftest import ROOT, one_line

OFFLINE = ("-S", "-E", "-c", (
    "import socket, sys\n"
    "def refuse(*_args, **_options): raise AssertionError('a socket was opened')\n"
    "socket.socket.connect = socket.getaddrinfo = refuse\n"
    "sys.path.insert(0, sys.argv.pop(1))\n"
    "from bridge.cli import main\n"
    "sys.exit(main(sys.argv[1:]))\n"
))


@pytest.mark.parametrize("words, expected", [
    (("1502",), ("error code 1502", "transient")),
    (("mode", "nbi"), ("operating mode nbi", "battery commands")),
    (("nbi",), ("can be set", "mode set nbi")),
    (("auth",), ("key", "account", "onboarded")),
    (("mqtt",), ("openapi/period/{appKey}/{systemId}", "8883", "wildcards")),
    (("30005",), ("grid_active_power", "+ is importing, - is exporting", "read only", "0x7535", "protocol V")),
    (("ess_max_charging_limit",), ("40032", "allow-list", "never set")),
    (("signs",), ("number:203", "EXPORT", "DISCHARGING", "kW")),
    (("wiring",), ("COM 15/16", "P6", "never", "Ethernet")),
    (("exception", "2"), ("illegal address",)),
    (("exit", "7"), ("rate limit",)),
    (("exit", "codes"), ("exit 8", "safety rule")),
    (("424",), ("http 424",)), (("http", "401"), ("token",)), (("403",), ("firewall", "developer portal")),
    (("429",), ("Retry-After",)), (("codes",), ("11003", "1116")), (("modes",), ("vpp", "custom")),
    (("idle",), ("neither charges nor discharges",)), (("selfConsumption-grid",), ("to the grid before",)),
    (("tariff",), ("half-hours", "24:00", "minus what feed-in pays")), (("amber",), ("nemTime", "+10:00")),
    (("40031",), ("discharge, battery first", "battery")), (("30037",), ("+ is charging",)),
    (("battery",), ("40031", "at most 6 h", "control.enabled")), (("lease",), ("40029 = 1 takes control",)),
    (("plant_silent",), ("doctor finding", "access list", "exits with 10")), (("serial_swapped",), ("A+ and B-",)),
    (("findings",), ("plant_silent", "shelly_missing", "cloud_login")), (("shelly",), ("number:203", "EXPORT")),
    (("regions",), ("openapi-aus.sigencloud.com",)),
])
def test_what_is_explained(bridge, words, expected):
    done = bridge("explain", *words)
    assert done.returncode == 0 and done.stderr == ""
    flat = " ".join(done.stdout.split())
    for text in expected:
        assert text in flat, text
    assert all(len(line) <= 100 for line in done.stdout.splitlines())


def test_without_a_word_the_topics_are_listed(bridge):
    done = bridge("explain")
    assert done.returncode == 0
    for word in ("auth", "signs", "wiring", "mqtt", "codes", "modes", "exit"):
        assert f"\n{word} " in "\n" + done.stdout
    listed = json.loads(bridge("explain", "--json").stdout)["words"]
    assert {"auth", "signs", "wiring"} <= {row["word"] for row in listed}


def test_every_finding_of_doctor_every_register_code_and_exit_is_explained():
    """The tables the program works with and what it explains cannot drift apart."""
    from bridge import errors
    from bridge.commands.explain import findings
    from bridge.control.diagnosis import RULES
    from bridge.peers.explanations import Explanations, load_texts
    from bridge.peers.sigen_codes import CODES, MODES
    from bridge.registers import sigenergy, vendor_from

    book = Explanations(vendor_from(sigenergy), load_texts(), findings())
    for code, rule in RULES.items():
        assert book.find([code])  # itself, or what has the word with better right: vpp is a mode
        entry, = book.find(["finding", code])
        assert entry.kind == "doctor finding" and "{" not in str(entry.facts)
        assert dict(entry.facts)["level"].startswith(rule.level)
    words = [str(row.code) for row in CODES] + [f"mode {row.number}" for row in MODES]
    words += [str(row.address) for row in vendor_from(sigenergy).rows]
    words += [f"exit {code}" for name, code in vars(errors).items() if name.startswith("EXIT_")]
    for word in words:
        assert book.find([word])


def test_what_an_entry_points_to_exists():
    from bridge.commands.explain import findings
    from bridge.peers.explanations import Explanations, load_texts
    from bridge.registers import sigenergy, vendor_from

    book = Explanations(vendor_from(sigenergy), load_texts(), findings())
    for entry in book.entries:
        for word in entry.see:
            assert book.find([word]), f"{entry.words[0]} points to {word}"


def test_a_router_without_doctor_explains_the_rest(monkeypatch):
    import sys

    from bridge.commands.explain import findings

    monkeypatch.setitem(sys.modules, "bridge.control.diagnosis", None)
    assert list(findings()) == []


def test_for_machines(bridge):
    entry, = json.loads(bridge("explain", "30005", "--json").stdout)["entries"]
    assert entry["kind"] == "register" and entry["word"] == "30005"
    assert entry["facts"]["sign"] == "+ is importing, - is exporting"
    entry, = json.loads(bridge("explain", "1110", "--json").stdout)["entries"]
    assert entry["kind"] == "error code" and entry["facts"]["kind"] == "rate limit"


@pytest.mark.parametrize("words, near", [
    (("wireing",), "wiring"), (("2",), "exception 2, exit 2"), (("grid_active_pover",), "grid_active_power"),
    (("qqqq",), "'sigen-bridge explain' lists"), (("",), "nothing is known"),
])
def test_an_unknown_word_is_one_line_with_near_ones(bridge, words, near):
    for extra in ((), ("--json",)):
        done = bridge("explain", *words, *extra)
        assert done.returncode == 2 and done.stdout == "" and near in one_line(done.stderr)


def test_nothing_is_asked_and_no_package_is_needed(bridge):
    """Under -S there is no third-party package, and a socket would end it."""
    import subprocess
    import sys

    for word in ("30005", "auth", "1502"):
        done = subprocess.run([sys.executable, *OFFLINE, str(ROOT), "explain", word], capture_output=True, text=True,
                              timeout=20, check=False)
        assert done.returncode == 0 and word in done.stdout, done.stderr
