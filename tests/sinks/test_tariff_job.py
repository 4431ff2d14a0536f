"""The tariff job from Amber to the Sigen app: when it posts, when it does not, and what it says."""

from __future__ import annotations

import json
import re

import pytest

from bridge import errors
from bridge.errors import ConfigError, ImplausibleData, Rejected
from bridge.sim.amber_market import SimSite
from bridge.sinks.tariff import JOURNAL_FILE, RUN_FILE
from bridge.sources.amber import SITE_FILE
from bridge.state import StateDir
from bridge.tariff_report import status_line
from bridge.tariff_run import offset_of
from tests.control.tariff_cases import cases
from tests.sinks.tariff_bench import AFTERNOON, STATION, USER, tariff_bench

STEPS = cases("steps")


@pytest.fixture
def bench(tmp_path):
    with tariff_bench(tmp_path) as found:
        yield found


@pytest.mark.parametrize("name", STEPS)
def test_a_story_holds(name, tmp_path):
    case = STEPS[name]
    sites = [SimSite(**site) for site in case.get("sites", [{}])]
    with tariff_bench(tmp_path, case.get("now", AFTERNOON), sites, case.get("scenario", "normal")) as bench:
        for number, step in enumerate(case["steps"], 1):
            play(bench, step, f"{name} step {number}")


def play(bench, step, where):
    """Do one step of a story and check what it promises."""
    for simulator in ("amber", "cloud"):
        for endpoint, kind, times, *details in step.get(f"{simulator}_fails", ()):
            getattr(bench, simulator).fail(endpoint, kind, times, **(details[0] if details else {}))
    if "scenario" in step:
        bench.amber.market.scenario = step["scenario"]
    if "revoke_amber" in step:
        bench.amber.revoked = step["revoke_amber"]
    if step.get("revoke_cloud"):
        bench.cloud.revoke_tokens()
    if "advance_s" in step:
        bench.clock.advance(step["advance_s"])
    if "jump_wall_to" in step:
        bench.clock.jump_wall(step["jump_wall_to"] - bench.clock.now())
    said, before, asked = len(bench.said), len(bench.saved), bench.amber.count("prices")
    changes = {key.replace(".", "__"): value for key, value in step.get("settings", {}).items()}
    if "push" in step:
        wanted = step["push"]
        if wanted in ("posted", "unchanged"):
            bench.push(fresh=step.get("fresh", False), **changes)
            assert len(bench.saved) - before == (wanted == "posted"), (where, bench.said[said:])
        else:
            with pytest.raises(getattr(errors, wanted)) as caught:
                bench.push(fresh=step.get("fresh", False), **changes)
            assert len(bench.saved) == before, where
            if "exit" in step:
                assert caught.value.exit_code == step["exit"], where
            bench.said.append(str(caught.value))
    for words in step.get("says", ()):
        assert any(words in line for line in bench.said[said:]), (where, words, bench.said[said:])
    if "asked" in step:
        assert bench.amber.count("prices") - asked == step["asked"], where
    for span, price in step.get("buy", {}).items():
        assert bench.slots()[span] == price, where
    assert not any("psk_" in line or "correct horse" in line for line in bench.said), where


def test_the_posted_plan_is_the_one_of_the_simulator_slot_by_slot(bench):
    """Recomputed here from the simulator's five-minute prices, with no code of ours in between."""
    bench.push(tariff__advanced="off", tariff__use_current="no")
    buy, sell = bench.slots("buyPrice"), bench.slots("sellPrice")
    assert list(buy) == list(sell) == [
        f"{m // 60:02d}:{m % 60:02d}-{(m + 30) // 60:02d}:{(m + 30) % 60:02d}" for m in range(0, 1440, 30)]
    midnight = int(AFTERNOON) // 86400 * 86400 - 11 * 3600  # Sydney's, +11:00
    running = (int(AFTERNOON) - midnight) // 1800
    assert running == 32, "16:00 to 16:30"
    for index, (bought, sold) in enumerate(zip(buy.values(), sell.values())):
        start = midnight + index * 1800 + (86400 if index < running else 0)
        for channel, sign, price in (("general", 1, bought), ("feedIn", -1, sold)):
            fine = [bench.amber.market.five_min(channel, start + step * 300) for step in range(6)]
            # the running half hour is an estimate of Amber's: 1.5 c off until its last five minutes
            off = 1.5 if index == running else 0
            assert price == pytest.approx(sign * sum(fine) / 6 + off, abs=0.0051), (index, channel)


def test_advanced_prices_are_used_for_forecasts_only(bench):
    bench.push(tariff__advanced="low", tariff__use_current="no")
    low = bench.slots()
    bench.push(tariff__advanced="high", tariff__use_current="no")
    high = bench.slots()
    assert all(low[span] < high[span] for span in low)


def test_a_second_run_posts_nothing_and_changed_prices_post_once(bench):
    assert bench.push()[0].startswith("posted: 48 of 48 slots changed")
    assert bench.push() and len(bench.saved) == 1, "from the answer that is shared for five minutes"
    assert bench.push(fresh=True) and len(bench.saved) == 1, "the same prices asked for again"
    bench.amber.market.table["general", int(AFTERNOON) // 1800 * 1800 + 7200] = 80.0
    lines = bench.push(fresh=True)
    assert lines[0].startswith("posted: 1 of 48 slots changed") and len(bench.saved) == 2
    bench.push(fresh=True)
    assert len(bench.saved) == 2
    assert bench.push(force=True) and len(bench.saved) == 3


def test_amber_is_asked_once_in_five_minutes_whoever_runs(bench):
    for _ in range(12):
        bench.push()
        bench.clock.advance(60)
    assert (bench.amber.count("sites"), bench.amber.count("prices"), bench.amber.count("current")) == (1, 3, 3)


def test_prices_kept_without_the_running_interval_are_completed_by_who_wants_it(bench):
    bench.push(tariff__use_current="no")
    running, start = "16:00-16:30", int(AFTERNOON) // 300 * 300
    forecast = bench.slots()[running]
    bench.push()
    live = round(bench.amber.market.five_min("general", start), 2)
    assert bench.slots()[running] == live != forecast
    assert (bench.amber.count("prices"), bench.amber.count("current")) == (1, 1), "the rest is shared"
    bench.push()
    assert bench.amber.count("current") == 1


def test_an_interval_that_is_over_is_looked_at_again(bench):
    start = int(AFTERNOON) // 300 * 300 + 300
    bench.clock.jump_wall(start - 20 - AFTERNOON)
    bench.push()  # by hand, shortly before the timer
    bench.clock.advance(41)
    with bench.runner() as runner:
        runner._round()
    assert bench.slots()["16:00-16:30"] == round(bench.amber.market.five_min("general", start), 2)


def test_a_running_interval_that_came_late_is_no_longer_called_unknown(bench):
    bench.amber.fail("current", "status", status=500)
    with bench.runner() as runner:
        runner._round()
    posts = [index for index, line in enumerate(bench.said) if line.startswith("posted")]
    assert len(posts) == 2 and "is not known" in bench.said[posts[0] + 1]
    assert not any("is not known" in line for line in bench.said[posts[1]:]), bench.said


def test_a_site_billed_by_the_half_hour_is_never_asked_for_five_minutes(tmp_path):
    with tariff_bench(tmp_path, sites=[SimSite(billing_min=30, network="Powercor")]) as bench:
        bench.amber.ignore_resolution = False
        lines = bench.push(tariff__advanced="off")
        assert any("billed by the half hour" in line for line in lines)
        assert bench.amber.count("current") == 0
        assert all("resolution=30" in entry.target for entry in bench.amber.log if entry.endpoint == "prices")


def test_a_site_without_export_sends_back_the_sell_price_that_the_cloud_holds(tmp_path):
    with tariff_bench(tmp_path, sites=[SimSite(feed_in=False)]) as bench:
        with pytest.raises(ConfigError, match=r"tariff.sell_flat_c"):
            bench.push()
        assert bench.saved == []
        bench.push(tariff__sell_flat_c="4.5")
        assert set(bench.slots("sellPrice").values()) == {4.5}
        bench.amber.market.table["general", int(AFTERNOON) // 1800 * 1800 + 7200] = 80.0
        lines = bench.push(fresh=True)
        assert set(bench.slots("sellPrice").values()) == {4.5} and len(bench.saved) == 2
        assert any("no feed-in channel" in line for line in lines)


def test_a_station_number_is_used_as_it_stands_and_the_account_is_not_asked_for_it(bench):
    bench.push(cloud__station_id=str(STATION))
    assert bench.saved[0]["stationId"] == STATION and isinstance(bench.saved[0]["stationId"], int)
    assert bench.cloud.count("appHome") == 0


@pytest.mark.parametrize("text", ["ABCDE1700000001", "<your id>", "12.5", "-3", "0", "\u00b2", "9" * 5000])
def test_a_system_id_for_a_station_id_is_an_error_before_anybody_is_asked(bench, text):
    with pytest.raises(ConfigError, match="three ways"):
        bench.push(cloud__station_id=text)
    assert not bench.amber.log and not bench.cloud.log


def test_the_zone_comes_from_the_setting_the_network_or_the_station(tmp_path):
    with tariff_bench(tmp_path, sites=[SimSite(network="Nowhere Power")]) as bench:
        assert bench.job().prepare().zone.name == "Australia/Adelaide", "the simulated station's"
        assert bench.job(tariff__timezone="Australia/Brisbane").prepare().zone.name == "Australia/Brisbane"
        with pytest.raises(ConfigError, match="set tariff.timezone"):
            bench.job(cloud__station_id=str(STATION)).prepare()
    with tariff_bench(tmp_path / "2", sites=[SimSite(network="Energex")]) as bench:
        assert bench.job().prepare().zone.name == "Australia/Brisbane"


def test_a_battery_command_in_force_is_said_and_the_tariff_still_goes_out(bench):
    lease = {"ends_at": bench.clock.now() + 3600, "command": {"action": "charge", "power_w": 5000}}
    StateDir(str(bench.path)).save("lease.json", lease)
    lines = bench.push()
    (line,) = [line for line in lines if "battery charge" in line]
    assert "suspends Sigen AI and time of use" in line and "until 2026-01-15 17:12" in line
    assert len(bench.saved) == 1
    bench.clock.advance(3601)
    assert not any("battery" in line for line in bench.push())


@pytest.mark.parametrize("content", [[], {"ends_at": "soon"}, {"ends_at": True}, {}, {"ends_at": 5}])
def test_a_damaged_or_old_lease_is_none(bench, content):
    StateDir(str(bench.path)).save("lease.json", content)
    assert not any("battery" in line for line in bench.push())


@pytest.mark.parametrize(("mode", "words"), [
    (7, "something controls it"), (0, "maximum self-consumption: it follows a tariff only in Sigen AI"),
    (1, None), (2, None), (None, None),
])
def test_a_mode_without_prices_is_said(bench, mode, words):
    job = bench.job()
    job._plant_mode = lambda: mode
    notes = [note for note in job.prepare().notes if "the plant is in" in note]
    assert len(notes) == (words is not None) and (words is None or words in notes[0])


def test_a_plan_the_cloud_changed_is_reported_as_different(bench):
    real = bench.cloud.app._content

    def collapsing(name, *rest):
        content = real(name, *rest)
        if name.startswith("tariff") and name != "tariffSave":
            text = json.dumps(content).replace('"16:30-17:00", "price": ', '"16:30-17:00", "price": 9')
            return json.loads(text)
        return content

    bench.cloud.app._content = collapsing
    lines = bench.push()
    assert any("holds something else: buy (1 slots), sell (1 slots)" in line for line in lines), lines
    (post,) = json.loads((bench.path / JOURNAL_FILE).read_text())["history"]
    assert "differs" in post
    again = bench.push()
    assert len(bench.saved) == 1 and again[0].startswith("nothing posted: the cloud took these prices before")
    assert any("holds something else" in line for line in again)
    assert "holds something else" in status_line(bench.settings())


def test_a_cloud_without_read_back_is_not_called_wrong(bench):
    for endpoint in ("tariffStatic", "tariffLatest"):
        bench.cloud.switch_off(endpoint)
    assert "not read back" in bench.push()[0]


def test_a_timeout_while_saving_is_posted_again(bench):
    bench.cloud.fail("tariffSave", "drop")
    with pytest.raises(errors.LinkError):
        bench.push()
    assert "it is not known whether the cloud took the tariff; the next run posts it again" in bench.said[-1]
    assert bench.push()[0].startswith("posted: 48")


def test_a_timeout_while_the_held_sell_price_is_read_is_no_doubt_about_the_tariff(tmp_path):
    with tariff_bench(tmp_path, sites=[SimSite(feed_in=False)]) as bench:
        bench.push(tariff__sell_flat_c="5")
        bench.cloud.fail("tariffStatic", "drop")
        with pytest.raises(errors.LinkError):
            bench.push()
        assert "nothing was posted" in bench.said[-1] and "not known" not in bench.said[-1]
        assert bench.cloud.count("tariffSave") == 1


def test_after_a_push_in_doubt_the_prices_before_it_are_posted_again(bench):
    bench.push()
    at = int(AFTERNOON) // 1800 * 1800 + 7200
    bench.amber.market.table["general", at] = 80.0
    bench.cloud.fail("tariffSave", "drop")
    with pytest.raises(errors.LinkError):
        bench.push(fresh=True)
    del bench.amber.market.table["general", at]
    saves = bench.cloud.count("tariffSave")
    assert bench.push(fresh=True)[0].startswith("posted"), "the cloud may hold what was in doubt"
    bench.push(fresh=True)
    assert bench.cloud.count("tariffSave") == saves + 1


def test_doubt_about_one_push_is_not_doubt_about_the_next(bench):
    bench.cloud.fail("tariffSave", "drop")
    with bench.runner() as runner:
        for words in ("it is not known", "nothing was posted"):
            with pytest.raises(errors.LinkError):
                runner.once(fresh=True)
            assert words in bench.said[-1]
            bench.amber.fail("prices", "drop")


def test_a_refused_save_is_not_remembered_as_posted(bench):
    bench.cloud.fail("tariffSave", "code", code=1000)
    with pytest.raises(Rejected):
        bench.push()
    assert "nothing was posted" in bench.said[-1] and bench.push()[0].startswith("posted: 48")


def test_a_journal_that_cannot_be_written_is_said(bench, monkeypatch):
    real = StateDir.save
    monkeypatch.setattr(StateDir, "save", lambda self, name, *rest, **more: name != JOURNAL_FILE
                        and real(self, name, *rest, **more))
    assert any("cannot be written: the next run will post again" in line for line in bench.push())


def test_the_station_of_another_account_is_not_remembered_for_this_one(bench):
    bench.push()
    bench.push()
    assert bench.cloud.count("appHome") == 1
    world = bench.cloud.world
    world.accounts["tenant@example.invalid"] = world.accounts[USER]._replace(username="tenant@example.invalid")
    with pytest.raises(errors.BridgeError):  # it has no station: nothing goes to the one of the account before
        bench.push(force=True, cloud__username="tenant@example.invalid")
    assert bench.cloud.count("appHome") == 2 and bench.cloud.count("tariffSave") == 1


def test_another_station_or_cloud_is_not_taken_for_posted(bench):
    bench.push(cloud__station_id=str(STATION))
    job = bench.job(cloud__region="eu", cloud__station_id=str(STATION))
    assert job.sink.last(STATION)[0] is not None
    assert bench.job(cloud__app_base_url="http://127.0.0.1:1").sink.last(STATION)[0] is None
    assert job.sink.last(STATION + 1)[0] is None


def test_the_journal_is_bounded_and_newest_first(bench):
    payload = bench.job(cloud__station_id=str(STATION)).prepare().payload
    sink = bench.job().sink
    for index in range(60):
        payload["priceMode"], payload["buyPrice"]["staticPricing"]["planName"] = 1, f"plan {index}"
        assert sink.push(payload, bench.clock.now() + index, 32).posted
    sink.close()
    posts = bench.job().sink.history()
    assert len(posts) == 48 and posts[0].at > posts[-1].at
    assert (bench.path / JOURNAL_FILE).stat().st_size < 12_000
    assert oct((bench.path / JOURNAL_FILE).stat().st_mode)[-3:] == "600"


def test_failures_in_a_row_are_counted_and_a_good_run_ends_them(bench):
    bench.amber.fail("prices", "status", times=2, status=500)
    for count in (1, 2):
        with pytest.raises(errors.PeerError):
            bench.push(fresh=True)
        assert bench.job().sink.run().failures == count
        bench.clock.advance(61)
    bench.push()
    assert bench.job().sink.run().failures == 0 and bench.job().sink.run().outcome == "posted"
    (bench.path / RUN_FILE).write_text("[1]")
    assert bench.job().sink.run() is None


def test_five_minute_slots_are_refused_unless_forced_and_then_the_cloud_judges(bench):
    with pytest.raises(errors.Refused, match="collapses"):
        bench.push(tariff__interval="5")
    ready = bench.job(forced=True, tariff__interval="5").prepare()
    assert len(ready.payload["buyPrice"]["staticPricing"]["combinedPrices"][0]["weekPrices"][0]["timeRange"]) == 288
    with pytest.raises(ConfigError, match=r"tariff.interval 10"):
        bench.push(tariff__interval="10")


def test_watch_runs_20_to_30_s_into_each_interval_and_looks_again_at_estimates(bench):
    bench.amber.market.scenario = "estimate"
    stop_at = bench.clock.monotonic() + 900
    bench.clock.at_tick.append(lambda: bench.clock.stop() if bench.clock.monotonic() >= stop_at else None)
    with bench.runner() as runner:
        assert runner.watch() == 0
    at = [entry.at % 300 for entry in bench.amber.log if entry.endpoint == "prices"][1:]
    assert len(at) == 2 and all(20 <= second <= 31 for second in at), "the first ran at once; a period later again"
    looks = [entry.at for entry in bench.amber.log if entry.endpoint == "current"]
    by_interval = [sum(1 for look in looks if look // 300 == when) for when in {look // 300 for look in looks}]
    assert max(by_interval) == 4, "one with the prices and three more"


def test_watch_posts_the_flip_of_an_estimate_once(bench):
    start = int(AFTERNOON) // 300 * 300 + 300
    bench.clock.jump_wall(start + 20 - AFTERNOON)
    with bench.runner() as runner:
        runner._round()
    assert len(bench.saved) == 2
    final, running = bench.amber.market.five_min("general", start), "16:00-16:30"
    assert bench.slots(index=0)[running] == round(final + 1.5, 2) and bench.slots()[running] == round(final, 2)
    assert bench.clock.now() - start == pytest.approx(50, abs=2) and bench.amber.count("prices") == 1


def test_watch_outlasts_a_failing_cloud_and_says_it_once(bench):
    bench.amber.fail("prices", "status", times=0, status=500)
    ticks = iter(range(1000))
    bench.clock.at_tick.append(lambda: bench.clock.stop() if next(ticks) > 6 else None)
    with bench.runner() as runner:
        assert runner.watch() == 0
    failed = [line for line in bench.said if "outcome=failed" in line]
    assert len(failed) == 1 and 'effect="nothing was posted; the cloud\'s plan stays as it is"' in failed[0]
    assert bench.job().sink.run().failures >= 5


def test_watch_waits_for_a_clock(tmp_path):
    with tariff_bench(tmp_path, now=1000.0) as bench:
        ticks = []

        def tick():
            ticks.append(1)
            if len(ticks) == 4:
                bench.clock.jump_wall(AFTERNOON - bench.clock.now())
            if bench.saved:
                bench.clock.stop()

        bench.clock.at_tick.append(tick)
        with bench.runner() as runner:
            runner.watch()
        assert len(bench.saved) == 1
        waiting = [line for line in bench.said if "waiting for clock" in line]
        assert len(waiting) == 1 and "outcome=waiting" in waiting[0]


def test_watch_ends_when_only_the_owner_can_help(tmp_path):
    sites = [SimSite(), SimSite(site_id="SECOND", nmi="4100000002")]
    with tariff_bench(tmp_path, sites=sites) as bench, bench.runner() as runner:
        with pytest.raises(ConfigError, match="several active sites"):
            runner.watch()
        assert 'next="when that is put right"' in bench.said[-1]


def test_a_timer_that_starts_early_waits_for_the_price(bench):
    bench.clock.jump_wall(int(AFTERNOON) // 300 * 300 + 300 - bench.clock.now())
    with bench.runner() as runner:
        runner.scheduled()
    assert 20 <= bench.amber.log[0].at % 300 <= 30
    assert re.fullmatch(r'event=tariff outcome=posted changed=48 buy_c=\S+ sell_c=\S+ estimate=\w+ verified="read back"',
                        bench.said[0])


@pytest.mark.parametrize("at", ["soon", None, [], True])
def test_a_damaged_age_of_the_kept_site_is_asked_anew(bench, at):
    bench.push()
    kept = StateDir(str(bench.path))
    kept.save(SITE_FILE, {**kept.load(SITE_FILE), "at": at})
    bench.push()
    assert bench.amber.count("sites") == 2


def test_installations_with_the_default_settings_do_not_all_ask_in_the_same_second(bench):
    offsets = {offset_of(bench.settings(cloud__username=f"owner{number}@example.invalid")) for number in range(40)}
    assert len(offsets) > 5 and all(20 <= one <= 30 for one in offsets)


def test_prices_of_another_site_are_not_taken_for_ones_own(tmp_path):
    sites = [SimSite(), SimSite(site_id="SECOND", nmi="4100000002")]
    with tariff_bench(tmp_path, sites=sites) as bench:
        bench.push(amber__site_id=sites[0].site_id)
        bench.push(amber__site_id="4100000002")
        assert [entry.target.split("/")[3] for entry in bench.amber.log if entry.endpoint == "prices"] == [
            sites[0].site_id, "SECOND"]


def test_a_plan_with_gaps_is_never_handed_to_the_cloud(bench):
    bench.amber.market.price = lambda channel, at: None if channel == "feedIn" and at % 86400 < 43200 else 20.0
    with pytest.raises(ImplausibleData, match="no sell price for"):
        bench.push()
    assert not bench.cloud.count("tariffSave")
