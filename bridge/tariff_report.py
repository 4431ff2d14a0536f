"""What the tariff job has to say: schedule, history, the last tariff, and its line in ``status``.

Never asks Amber, and the cloud only where that is asked for. ``say`` takes each line.
"""

from __future__ import annotations

import json
from typing import Any, Dict, List, Optional

from bridge.clock import Clock
from bridge.config import Settings
from bridge.control.tariff_payload import Saved, saved_of, station_number
from bridge.control.tariff_times import next_runs
from bridge.errors import EXIT_OK, ImplausibleData
from bridge.peers.sigen_text import moment
from bridge.sinks.tariff import FAILED, WAITING, Run, TariffSink, last_run
from bridge.tariff_run import Say, offset_of, price_text
from bridge.wiring_state import state_dir


def show_schedule(clock: Clock, settings: Settings, every_s: int, as_json: bool, say: Say) -> int:
    """Say the next five run times; raises ImplausibleData while the clock is not set."""
    if not clock.synced():
        raise ImplausibleData("tariff schedule: waiting for clock: this machine's clock is not set yet")
    times = next_runs(clock.now(), offset_of(settings), every_s, 5)
    if as_json:
        say(json.dumps({"every_s": every_s, "next": times}))
        return EXIT_OK
    for at in times:
        say(f"{moment(at)[:-4]}:{int(at) % 60:02d} UTC")
    return EXIT_OK


def show_history(sink: TariffSink, settings: Settings, as_json: bool, say: Say) -> int:
    """Say the pushes, newest first, and how the last run ended."""
    posts, run = sink.history(), sink.run()
    if as_json:
        say(json.dumps({"posts": [post._asdict() for post in posts], "last_run": run._asdict() if run else None}))
        return EXIT_OK
    say("posted                slots     buy    sell  verified" if posts else "nothing has been pushed yet")
    for post in posts:
        note = f"; {post.note}" if post.note else ""
        say(f"{moment(post.at)}  {post.changed:>5}  {price_text(post.buy_c):>6}  {price_text(post.sell_c):>6}"
            f"  {post.verified}{note}")
    if run is not None:
        say(run_line(run))
    return EXIT_OK


def show(sink: TariffSink, settings: Settings, cloud: bool, as_json: bool, say: Say) -> int:
    """Say the tariff that was pushed last, or the one that the cloud holds."""
    post, prices = sink.anywhere()
    if cloud:
        text = settings["cloud.station_id"]
        station_id = station_number(text) if text else sink.station()[0]
        content = sink.app.read_tariff(station_id)
        if content is None:
            raise ImplausibleData(f"tariff show: the cloud shows no tariff for station {station_id}")
        prices, post = saved_of(content), None
    if as_json:
        say(json.dumps({
            "from": "cloud" if cloud else "journal", "post": post._asdict() if post else None,
            "buy": _rows(prices.buy), "sell": _rows(prices.sell),
        }))
        return EXIT_OK
    if prices.buy is None:
        say("nothing has been pushed yet; sigen-bridge tariff push --dry-run shows what would be")
        return EXIT_OK
    for line in _table(prices):
        say(line)
    say("held by the cloud now" if post is None else f"posted {moment(post.at)}, {post.verified}")
    return EXIT_OK


def _table(prices: Saved) -> List[str]:
    sold = dict(prices.sell or ())
    lines = ["time           buy     sell"]
    lines += [f"{span}  {price_text(buy):>6}  {price_text(sold.get(span)):>7}" for span, buy in prices.buy or ()]
    return lines


def _rows(prices: Any) -> Optional[List[Dict[str, Any]]]:
    return None if prices is None else [{"time": span, "c_kwh": price} for span, price in prices]


def status_line(settings: Settings) -> str:
    """Return the line about the tariff job for ``status``: last run, next run, what it did."""
    run = last_run(state_dir(settings))
    return run_line(run) if run is not None else "tariff   has not run yet"


def run_line(run: Run) -> str:
    """Return the last run in one line."""
    again = f"; next run {moment(run.next_at)}" if run.next_at is not None else ""
    if run.outcome in (FAILED, WAITING):
        times = f" ({run.failures} times in a row)" if run.failures > 1 else ""
        return f"tariff   {run.outcome} at {moment(run.at)}{times}: {run.reason}{again}"
    note = f"; {run.reason}" if run.reason else ""
    return f"tariff   {run.outcome} at {moment(run.at)}, {run.changed} slots changed{again}{note}"
