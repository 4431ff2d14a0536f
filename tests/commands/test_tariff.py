"""``tariff`` and ``amber`` as a user runs them: processes of their own between the two simulators."""

from __future__ import annotations

import json
import re
import shlex
from datetime import datetime, timezone
from pathlib import Path

import pytest

from bridge.clock import Clock, ManualClock
from bridge.commands import tariff
from bridge.sim.amber import TOKEN, AmberSim
from bridge.sim.amber_market import SimSite
from bridge.sim.sigen_cloud import SigenCloudSim
from bridge.sim.sigen_cloud_app_world import FIRST_NUMBER
from bridge.state import StateDir
from tests.commands.conftest import one_line, until
from tests.ports import free_port

USER, PASSWORD, ENCODED = "owner@example.invalid", "correct horse", "2XgqjWOYS8wesGPH8+9zTA=="
SECRETS = (TOKEN, PASSWORD, ENCODED, "psk_sim", "Bearer ", "app-tok", "access_token")


class TariffDesk:
    """Runs verbs against both simulators; no output may hold a secret."""

    def __init__(self, bridge, amber, cloud, path):
        self.bridge, self.amber, self.cloud, self.path = bridge, amber, cloud, path
        self.output = []
        self.env = {
            "AMBER_TOKEN": TOKEN, "SIGEN_BRIDGE_AMBER_BASE_URL": amber.base_url, "SIGEN_USER": USER,
            "SIGEN_PASS": PASSWORD, "SIGEN_REGION": "aus", "SIGEN_BRIDGE_CLOUD_APP_BASE_URL": cloud.base_url,
            "SIGEN_BRIDGE_RUN_STATE_DIR": str(path), "SIGEN_BRIDGE_STATUS_LISTEN": "off",
        }

    def __call__(self, *argv, without=(), **options):
        env = {name: text for name, text in self.env.items() if name not in without}
        env.update(options.pop("env", {}))
        done = self.bridge(*argv, env=env, **options)
        self.output.append(done.stdout + done.stderr)
        for secret in SECRETS:
            assert secret not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done


@pytest.fixture
def desk(bridge, tmp_path):
    with AmberSim(Clock(), scenario="flat") as amber, SigenCloudSim(Clock()) as cloud:
        yield TariffDesk(bridge, amber, cloud, tmp_path / "state")


def ranges(payload, side="buyPrice"):
    return payload[side]["staticPricing"]["combinedPrices"][0]["weekPrices"][0]["timeRange"]


def test_a_dry_run_shows_the_exact_request_that_a_push_sends_once(desk):
    options = ("--no-use-current", "--advanced-price", "off", "--station-id", str(FIRST_NUMBER))
    dry = desk("tariff", "push", "--dry-run", *options)
    assert dry.returncode == 0, dry.stderr
    payload = json.loads(dry.stdout)
    assert not desk.cloud.log, "not even a login"
    assert payload["stationId"] == FIRST_NUMBER and payload["priceMode"] == 1
    buy, sell = ranges(payload), ranges(payload, "sellPrice")
    assert len(buy) == len(sell) == 48 and buy[0]["timeRange"].startswith("00:00-")
    assert buy[-1]["timeRange"] == "23:30-24:00"
    assert all(one["timeRange"][6:] == two["timeRange"][:5] for one, two in zip(buy, buy[1:]))
    # flat scenario, by hand: 25.00 c and 5.00 c; the running half hour is 1.5 c dearer while it is an estimate
    assert {slot["price"] for slot in buy} <= {25.0, 26.5} and {slot["price"] for slot in sell} <= {5.0, 6.5}
    table = dry.stderr.splitlines()
    assert len([line for line in table if re.match(r"[ >]  \d\d:\d\d-\d\d:\d\d +\S+ +\S+  \w", line)]) == 48
    assert any("c/kWh with GST" in line for line in table)

    assert desk("tariff", "push", *options).returncode == 0
    assert desk.cloud.saved_tariffs == [payload]
    again = desk("tariff", "push", *options)
    assert again.returncode == 0 and "nothing posted: the cloud has these prices already" in again.stdout
    assert len(desk.cloud.saved_tariffs) == 1

    desk.amber.market.price = lambda channel, at: 30.0 if channel == "general" else -7.0
    assert "posted: 48 of 48" in desk("tariff", "push", "--fresh", *options).stdout
    desk("tariff", "push", "--fresh", *options)
    assert len(desk.cloud.saved_tariffs) == 2


def test_the_station_is_found_by_itself(desk):
    done = desk("tariff", "push", "--json")
    content = json.loads(done.stdout)
    assert done.returncode == 0 and content["outcome"] == "posted" and content["slots_changed"] == 48
    assert content["verified"] == "read back" and desk.cloud.saved_tariffs[0]["stationId"] == FIRST_NUMBER


def test_without_station_and_login_it_lists_the_three_ways(desk):
    done = desk("tariff", "push", "--dry-run", without=("SIGEN_USER", "SIGEN_PASS"))
    assert done.returncode == 2
    line = one_line(done.stderr)
    assert all(way in line for way in ("cloud.username", "env make --from-har", "/device/owner/station/home"))


def test_without_a_token_it_says_where_to_get_one(desk):
    done = desk("tariff", "push", without=("AMBER_TOKEN",))
    assert done.returncode == 2 and "Amber app" in one_line(done.stderr)


def test_a_revoked_token_is_exit_6_and_says_what_stays(desk):
    desk("tariff", "push")
    desk.amber.revoked = True
    done = desk("tariff", "push", "--fresh")
    assert done.returncode == 6 and "make a new one in the Amber app" in one_line(done.stderr)
    assert re.search(r"nothing was posted; the plan of \S+ \S+ UTC stays; next try: ", done.stdout)


def test_a_429_is_exit_7_and_missing_prices_exit_4(desk):
    desk.amber.fail("prices", "limited")
    done = desk("tariff", "push", "--json")
    content = json.loads(done.stdout)
    assert done.returncode == 7 and content["outcome"] == "failed" and content["posted"] is False
    assert content["next_try_at"] > Clock().now() + 100
    StateDir(str(desk.path)).delete("amber-limits.json")
    desk.amber.market.price = lambda channel, at: None
    done = desk("tariff", "push", "--dry-run")
    assert done.returncode == 4 and "no prices in the answer" in one_line(done.stderr) and not done.stdout


def test_a_plan_with_gaps_shows_them_and_exits_4(desk):
    desk.amber.market.horizon_s = 3 * 3600
    desk.amber.market.price = lambda channel, at: 20.0 if at > Clock().now() - 3600 else None
    done = desk("tariff", "push", "--dry-run", env={"STATION_ID": str(FIRST_NUMBER)})
    assert done.returncode == 4 and not done.stdout and "missing" in done.stderr
    assert "no buy price for" in done.stderr.splitlines()[-1]


def test_two_sites_are_exit_2_and_are_listed(desk):
    desk.amber.sites.append(SimSite(site_id="SECOND", nmi="4100000002", network="SA Power Networks"))
    done = desk("tariff", "push")
    assert done.returncode == 2 and "SECOND (SA Power Networks, active)" in one_line(done.stderr)
    assert desk("tariff", "push", "--dry-run", "--amber-site-id", "SECOND").returncode == 0


@pytest.mark.parametrize(("options", "live"), [
    ((), True), (("--use-current",), True), (("--use-current", "1"), True), (("--use-current", "true"), True),
    (("--use-current", "0"), False), (("--use-current", "false"), False), (("--no-use-current",), False),
    (("--tariff-use-current", "no"), False), (("--use-current=0",), False),
])
def test_every_way_to_say_whether_the_live_interval_counts(desk, options, live):
    desk.env["STATION_ID"] = str(FIRST_NUMBER)
    done = desk("tariff", "push", "--dry-run", *options)
    assert done.returncode == 0, done.stderr
    assert (desk.amber.count("current") == 1) == live and bool(re.search(r"live \d\d:\d\d", done.stderr)) == live


def test_slots_of_5_minutes_are_refused_with_the_reason_unless_forced(desk):
    desk.env["STATION_ID"] = str(FIRST_NUMBER)
    for way in (("--interval", "5"), ("--tariff-interval", "5")):
        done = desk("tariff", "push", "--dry-run", *way)
        assert done.returncode == 8 and "collapses" in one_line(done.stderr)
    assert desk("tariff", "push", "--dry-run", env={"INTERVAL": "5"}).returncode == 8
    forced = desk("tariff", "push", "--dry-run", "--interval", "5", "--i-know")
    assert forced.returncode == 0 and len(ranges(json.loads(forced.stdout))) == 288


@pytest.mark.parametrize("argv", [
    ("push", "--use-current", "maybe"), ("push", "--advanced-price", "best"), ("push", "--dry-run", "--watch"),
    ("push", "--every", "7m"), ("push", "--interval", "10", "--dry-run"), ("push", "--station-id", "ABC1"),
    ("schedule", "--every", "x"), ("push", "--plan-nme", "x"), (),
])
def test_mistakes_on_the_command_line_are_exit_2_in_one_line(desk, argv):
    done = desk("tariff", *argv)
    assert done.returncode == 2 and one_line(done.stderr) and not desk.cloud.log


def test_show_history_and_schedule(desk):
    assert "nothing has been pushed yet" in desk("tariff", "show").stdout
    assert "nothing has been pushed yet" in desk("tariff", "history").stdout
    assert desk("tariff", "show", "--cloud").returncode == 4
    for wrong in ("ABC1", "\u00b2"):
        refused = desk("tariff", "show", "--cloud", env={"STATION_ID": wrong})
        assert refused.returncode == 2 and "is no stationId" in one_line(refused.stderr)
    desk("tariff", "push")
    shown = desk("tariff", "show").stdout.splitlines()
    assert len(shown) == 50 and shown[1].startswith("00:00-00:30") and shown[-1].startswith("posted ")
    cloud = json.loads(desk("tariff", "show", "--cloud", "--json").stdout)
    mine = json.loads(desk("tariff", "show", "--json").stdout)
    assert cloud["buy"] == mine["buy"] and cloud["sell"] == mine["sell"] and len(cloud["buy"]) == 48
    history = json.loads(desk("tariff", "history", "--json").stdout)
    assert len(history["posts"]) == 1 and history["last_run"]["outcome"] == "posted"
    assert "read back" in desk("tariff", "history").stdout
    times = json.loads(desk("tariff", "schedule", "--show", "--json").stdout)["next"]
    assert len(times) == 5 and {round(two - one) for one, two in zip(times, times[1:])} == {300}
    assert all(20 <= at % 300 <= 30 for at in times) and times[0] > Clock().now() - 5
    lines = desk("tariff", "schedule").stdout.splitlines()
    shown = datetime.fromtimestamp(times[4], timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    assert len(lines) == 5 and shown in lines[3:], "or the first has passed meanwhile"
    assert len(json.loads(desk("tariff", "schedule", "--every", "30m", "--json").stdout)["next"]) == 5


def test_the_sources_env_file_drives_a_push_unchanged(desk, tmp_path):
    path = tmp_path / "amber2sigen.env"
    path.write_text(
        f"AMBER_TOKEN={TOKEN}\nSIGEN_USER={USER}\nSIGEN_DEVICE_ID=1700000000000\nSIGEN_PASS_ENC=\"{ENCODED}\"\n"
        f"INTERVAL=30\nTZ_OVERRIDE=Australia/Adelaide\nALIGN=end\nPLAN_NAME=Amber Live\nADVANCED=predicted\n"
        f"USE_CURRENT=1\nSTATION_ID={FIRST_NUMBER}\n# SIGEN_BEARER=\n")
    path.chmod(0o600)
    keep = [name for name in desk.env if name.startswith("SIGEN_BRIDGE_") or name == "SIGEN_REGION"]
    done = desk("tariff", "push", "--env-file", str(path), without=[name for name in desk.env if name not in keep])
    assert done.returncode == 0, done.stderr
    assert desk.cloud.saved_tariffs[0]["buyPrice"]["staticPricing"]["planName"] == "Amber Live 30-min"
    form = next(entry.body.decode() for entry in desk.cloud.log if entry.endpoint == "appLogin")
    assert "userDeviceId=1700000000000" in form
    shown = desk("config", "show", "--config", str(path), without=list(desk.env)).stdout
    assert "Amber Live" in shown and f"{path}:8" in shown


def test_no_secret_in_anything_a_full_run_leaves_or_shows(desk, tmp_path):
    """Every verb, failures included, with debug logging; then every process's command line while it runs."""
    desk.env["SIGEN_BRIDGE_RUN_LOG_LEVEL"] = "debug"
    for argv in (("amber", "sites"), ("amber", "prices", "--json"), ("amber", "prices"), ("tariff", "push", "--dry-run"),
                 ("tariff", "push"), ("tariff", "show"), ("tariff", "show", "--cloud"), ("tariff", "history"),
                 ("tariff", "schedule"), ("config", "show"), ("config", "show", "--json")):
        assert desk(*argv).returncode == 0, argv
    desk.amber.fail("*", "forbidden", 0)
    desk("tariff", "push", "--fresh")
    desk.amber.faults.clear()
    desk.cloud.fail("appLogin", "status", 0, status=401)
    desk.cloud.revoke_tokens()
    desk("tariff", "push", "--fresh", "--force")
    desk.cloud.faults.clear()
    process = desk.bridge.start("tariff", "push", "--watch", env=desk.env)
    assert until(lambda: Path(f"/proc/{process.pid}/cmdline").read_bytes().count(b"tariff"), 5)
    seen = Path(f"/proc/{process.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    desk.output.append(process.stdout.readline())
    code, out, err = desk.bridge.stop(process)
    desk.output += [seen, out, err]
    assert code == 0, err
    everything = "\n".join(desk.output)
    assert len(everything) > 5000 and "event=tariff" in everything
    for secret in SECRETS:
        assert secret not in everything
    for path in desk.path.rglob("*"):
        if path.is_file():
            assert path.stat().st_mode & 0o077 == 0, path
            assert TOKEN not in path.read_text() and PASSWORD not in path.read_text(), path


def test_watch_is_ended_by_a_signal_and_says_one_line_a_post(desk):
    process = desk.bridge.start("tariff", "push", "--watch", env=desk.env)
    assert until(lambda: desk.cloud.saved_tariffs, 15)
    code, out, err = desk.bridge.stop(process)
    assert code == 0, err
    assert out.splitlines()[0].startswith("event=tariff outcome=posted changed=48 ")


def test_a_router_in_1970_waits_for_its_clock(desk, monkeypatch, capsys, tmp_path):
    from bridge import cli

    monkeypatch.setattr(tariff, "Clock", lambda: ManualClock(1000.0))
    for name, text in desk.env.items():
        monkeypatch.setenv(name, text)
    assert cli.main(["tariff", "push"]) == 4
    out, err = capsys.readouterr()
    assert "waiting for clock" in one_line(err) and "next try: when the clock is set" in out
    assert cli.main(["tariff", "schedule"]) == 4 and "waiting for clock" in capsys.readouterr().err
    assert not desk.amber.log and not desk.cloud.log


def test_amber_sites_and_prices(desk):
    done = desk("amber", "sites")
    assert done.returncode == 0 and "Ausgrid" in done.stdout and "general, feedIn" in done.stdout
    assert json.loads(desk("amber", "sites", "--json").stdout)["sites"][0]["billing_min"] == 5
    lines = desk("amber", "prices").stdout.splitlines()
    assert sum(1 for line in lines if " 25.00 " in line and " 5.00 " in line) > 40
    assert "Australia/Sydney" in lines[-1] and any("live" in line for line in lines)
    content = json.loads(desk("amber", "prices", "--json").stdout)
    assert content["fresh"] is False and content["rows"][0]["channel"] == "general"
    assert desk.amber.count("prices") == 1, "shared for five minutes"
    assert json.loads(desk("amber", "prices", "--json", "--fresh").stdout)["fresh"] is True


def test_amber_with_a_site_of_an_unknown_network_asks_for_the_zone(desk):
    desk.amber.sites[0] = SimSite(network="Nowhere Power")
    done = desk("amber", "prices")
    assert done.returncode == 2 and "tariff.timezone" in one_line(done.stderr)
    assert desk("amber", "prices", "--tariff-timezone", "Australia/Darwin").returncode == 0


def test_sim_amber_prints_what_to_export_and_takes_faults(bridge, tmp_path):
    port = str(free_port())
    process = bridge.start("sim", "amber", "--port", port, "--scenario", "negative", "--billing", "30",
                           "--fault", "throttled,endpoint=prices,times=1")
    process.stdout.readline()
    words = shlex.split(process.stdout.readline())[1:]
    env = dict(word.split("=", 1) for word in words)
    env["SIGEN_BRIDGE_RUN_STATE_DIR"] = str(tmp_path)
    assert "30 min" in bridge("amber", "sites", env=env).stdout
    assert bridge("amber", "prices", env=env).returncode == 7
    assert bridge.stop(process)[0] == 0
    wrong = bridge("sim", "amber", "--port", port, "--scenario", "nosuch")
    assert wrong.returncode == 2 and "normal" in one_line(wrong.stderr)


def test_status_tells_of_the_last_run_and_the_push_of_the_plants_mode(desk, plant):
    """The running bridge has read the EMS mode: the simulated plant is in maximum self-consumption."""
    listen = f"127.0.0.1:{free_port()}"
    desk.env["SIGEN_BRIDGE_STATUS_LISTEN"] = listen
    process = desk.bridge.start("run", "--host", f"127.0.0.1:{plant.port}", env=desk.env)
    assert until(lambda: desk("status").returncode == 0, 15)
    assert "tariff   has not run yet" in desk("status").stdout
    pushed = desk("tariff", "push")
    assert "note: the plant is in maximum self-consumption: it follows a tariff only in Sigen AI" in pushed.stdout
    lines = desk("status").stdout.splitlines()
    assert re.match(r"tariff   posted at \S+ \S+ UTC, 48 slots changed; next run ", lines[-1])
    desk.bridge.stop(process)
