"""The Prometheus text: what promtool says to it, and that unknown is absent and never 0."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from bridge.sinks.metrics import metrics

SNAPSHOT = {"schema": 1, "at": 1795224659.1, "source": "modbus-tcp", "age_s": 0.3, "valid": True, "reason": None,
            "balance_w": 0, "pv_w": 2800, "soc_pct": 15.3, "battery_charge_w": -341.5, "grid_import_w": 8540,
            "load_w": 11340, "load_derived": False, "vc": {}}
NOTHING = {**SNAPSHOT, "at": None, "source": None, "age_s": None, "valid": False, "balance_w": None, "pv_w": None,
           "soc_pct": None, "battery_charge_w": None, "grid_import_w": None, "load_w": None}
HEALTH = {"version": "0.1.0", "plant": "modbus-tcp", "cycles": 12, "late": 0, "failed": 1, "dropped": 2, "sinks": []}
SINKS = [{"name": "shelly", "ok": True, "written": 7, "errors": 0}, {"name": 'a "b" \\c\n', "ok": False, "written": 0, "errors": 3}]
FULL = {**HEALTH, "sinks": SINKS, "failover": {"state": "suspect"},
        "control": {"state": "active", "action": "charge", "power_w": 2000, "ends_in_s": 90, "text": "x"}}
CASES = {"nothing": (NOTHING, HEALTH), "plain": (SNAPSHOT, HEALTH), "full": (SNAPSHOT, FULL),
         "lease without power": (SNAPSHOT, {**FULL, "control": {"state": "active", "action": "self", "power_w": None, "ends_in_s": None}})}


def samples(text):
    return dict(re.findall(r"^(?!#)(\S+(?:\{.*\})?) (\S+)$", text, re.M))


@pytest.mark.needs("promtool")
@pytest.mark.parametrize("case", CASES)
def test_promtool_has_nothing_to_say(case):
    promtool = shutil.which("promtool")
    done = subprocess.run([promtool, "check", "metrics"], input=metrics(*CASES[case], streams=3), capture_output=True,
                          text=True, timeout=30)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.needs("promtool")
def test_promtool_would_say_something():
    """The check above can fail: a counter without its ending and a metric without help are found."""
    promtool = shutil.which("promtool")
    done = subprocess.run([promtool, "check", "metrics"], input="# TYPE x counter\nx 1\n", capture_output=True, text=True, timeout=30)
    assert done.returncode == 3 and "no help text" in done.stdout + done.stderr


def test_values_and_units():
    found = samples(metrics(SNAPSHOT, HEALTH, 3))
    assert found["sigen_bridge_pv_watts"] == "2800" and found["sigen_bridge_battery_soc_ratio"] == "0.153"
    assert found["sigen_bridge_battery_charge_watts"] == "-341.5" and found["sigen_bridge_grid_import_watts"] == "8540"
    assert found["sigen_bridge_reading_valid"] == "1" and found["sigen_bridge_reading_timestamp_seconds"] == "1795224659.1"
    assert found["sigen_bridge_failed_cycles_total"] == "1" and found["sigen_bridge_http_streams"] == "3"
    assert found['sigen_bridge_source_info{source="modbus-tcp",plant="modbus-tcp"}'] == "1"


def test_unknown_is_absent_with_its_help_and_type():
    text = metrics(NOTHING, HEALTH, 0)
    for name in ("pv_watts", "battery_soc_ratio", "battery_charge_watts", "grid_import_watts", "load_watts",
                 "balance_watts", "reading_age_seconds", "reading_timestamp_seconds", "source_info", "sink_up",
                 "battery_lease", "failover"):
        assert name not in text, name
    assert samples(text)["sigen_bridge_reading_valid"] == "0"


def test_sinks_failover_and_a_lease_have_samples_of_their_own():
    found = samples(metrics(SNAPSHOT, FULL, 0))
    assert found['sigen_bridge_sink_up{sink="shelly"}'] == "1" and found['sigen_bridge_sink_written_total{sink="shelly"}'] == "7"
    assert found['sigen_bridge_sink_errors_total{sink="a \\"b\\" \\\\c\\n"}'] == "3"
    assert [found[f'sigen_bridge_failover_state{{state="{state}"}}'] for state in ("local", "suspect", "cloud")] == ["0", "1", "0"]
    assert found['sigen_bridge_battery_lease_info{state="active",action="charge"}'] == "1"
    assert found["sigen_bridge_battery_lease_remaining_seconds"] == "90"
