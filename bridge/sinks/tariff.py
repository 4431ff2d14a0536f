"""Carries a tariff to the Sigenergy app API: only when it differs from the last one, with a journal.

Never posts twice what the cloud took already, never forgets a post before the cloud confirmed it, and never
calls a tariff verified that was not read back.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

from bridge.control.tariff_payload import Saved, changed_slots, differences, digest, saved_of
from bridge.errors import BridgeError
from bridge.state import StateDir

JOURNAL_FILE, RUN_FILE = "tariff.json", "tariff-run.json"
HISTORY_MAX = 48  # on a router this file lies in flash and is written with every post
POSTED, UNCHANGED, FAILED, WAITING = "posted", "unchanged", "failed", "waiting"
VERIFIED, DIFFERENT, NOT_READ = "read back", "differs", "not read back"


class Post(NamedTuple):
    """One tariff that the cloud took."""

    at: float
    digest: str
    changed: int
    buy_c: Optional[float]
    sell_c: Optional[float]
    verified: str
    note: str = ""


class Run(NamedTuple):
    """The last run of the job, whatever became of it; ``failures`` counts those in a row."""

    at: float
    outcome: str
    reason: str = ""
    next_at: Optional[float] = None
    failures: int = 0
    changed: int = 0


class Outcome(NamedTuple):
    """What became of a plan."""

    posted: bool
    changed: int
    verified: str
    note: str = ""


class TariffSink:
    """The tariff of one station; ``open_app`` makes the client, which is closed after use.

    ``kept`` outlives a reboot (journal of posts), ``cache`` need not (last run); ``account`` tells whose station
    was found, without naming anybody.
    """

    def __init__(
        self, open_app: Callable[[], Any], kept: StateDir, cache: StateDir, address: str, account: str = ""
    ) -> None:
        self._open_app, self._kept, self._cache, self._address = open_app, kept, cache, address
        self._account = account
        self._app: Any = None
        self.sending = False  # True after a push that failed while the tariff was on its way

    @property
    def app(self) -> Any:
        """The client, made at its first use."""
        if self._app is None:
            self._app = self._open_app()
        return self._app

    def station(self) -> Tuple[int, Optional[str]]:
        """Return number and time zone of the account's station; asked once, then remembered."""
        known = self._journal().get("station")
        whose = (self._address, self._account)
        if isinstance(known, dict) and (known.get("address"), known.get("account")) == whose \
                and isinstance(known.get("id"), int):
            zone = known.get("timezone")
            return known["id"], zone if isinstance(zone, str) else None
        found = self.app.station()
        self._write(station={
            "address": self._address, "account": self._account, "id": found.station_id, "timezone": found.timezone,
        })
        return int(found.station_id), found.timezone

    def last(self, station_id: int) -> Tuple[Optional[Post], Saved]:
        """Return the last post to this station and what was in it."""
        content = self._journal().get("last")
        if not isinstance(content, dict) or content.get("where") != self._where(station_id):
            return None, Saved(None, None)
        post = _post(content.get("post"))
        if post is not None and content.get("doubt"):
            post = post._replace(digest="")
        return (post, _prices(content)) if post is not None else (None, Saved(None, None))

    def anywhere(self) -> Tuple[Optional[Post], Saved]:
        """Return the last post, to whichever station."""
        content = self._journal().get("last")
        if not isinstance(content, dict):
            return None, Saved(None, None)
        return _post(content.get("post")), _prices(content)

    def history(self) -> List[Post]:
        """Return the posts, newest first."""
        rows = self._journal().get("history")
        found = [_post(row) for row in (rows if isinstance(rows, list) else ())]
        return [post for post in found if post is not None]

    def held_sell(self, station_id: int) -> Optional[Mapping[str, Any]]:
        """Return the sell side that the cloud holds now, in the shape in which it is saved; else None."""
        held = self.app.read_tariff(station_id)
        side = held.get("sellPrice") if isinstance(held, dict) else None
        sound = isinstance(side, dict) and set(side) == {"dynamicPricing", "staticPricing"}
        return side if sound and saved_of(held).sell is not None else None

    def push(self, payload: Mapping[str, Any], now: float, at: int, force: bool = False) -> Outcome:
        """Post ``payload`` unless the cloud took the same before; ``at`` is the index of the running slot.

        Raises what the client raises; nothing is remembered then, so that the next run tries again.
        """
        station_id, wanted = int(payload["stationId"]), saved_of(payload)
        before, held = self.last(station_id)
        mark = digest(payload)
        if before is not None and before.digest == mark and not force:
            return Outcome(False, 0, before.verified, before.note if before.verified == DIFFERENT else "")
        changed = changed_slots(held, wanted)
        self.sending = True
        try:
            self.app.save_tariff(payload)
        except BridgeError:
            self._doubt()
            raise
        self.sending = False
        verified, note = self._verify(station_id, wanted)
        post = Post(now, mark, changed, _at(wanted.buy, at), _at(wanted.sell, at), verified, note)
        last = {
            "where": self._where(station_id), "post": list(post),
            "buy": wanted.buy and list(wanted.buy), "sell": wanted.sell and list(wanted.sell),
        }
        history = [list(one) for one in (post, *self.history())][:HISTORY_MAX]
        if not self._write(last=last, history=history):
            note = f"{note}; " if note else ""
            note += f"{self._kept.path} cannot be written: the next run will post again"
        return Outcome(True, changed, verified, note)

    def _doubt(self) -> None:
        """Remember that the cloud may hold another tariff than the last one it took: the next run posts."""
        last = self._journal().get("last")
        if isinstance(last, dict) and not last.get("doubt"):
            self._write(last={**last, "doubt": True})

    def _verify(self, station_id: int, wanted: Saved) -> Tuple[str, str]:
        try:
            content = self.app.read_tariff(station_id)
        except BridgeError as error:
            return NOT_READ, f"the cloud took it, but it could not be read back: {error}"
        held = saved_of(content)
        if content is None or held.buy is None:
            return NOT_READ, ""
        wrong = differences(wanted, held)
        if wrong:
            return DIFFERENT, f"the cloud took it, but holds something else: {', '.join(wrong)}; look in the app"
        return VERIFIED, ""

    def note_run(self, run: Run) -> Run:
        """Remember the outcome of a run; returns it with the failures in a row counted."""
        before = self.run()
        if run.outcome in (FAILED, WAITING):
            run = run._replace(failures=1 + (before.failures if before is not None else 0))
        self._cache.save(RUN_FILE, list(run))
        return run

    def run(self) -> Optional[Run]:
        """Return the last run, or None."""
        return last_run(self._cache)

    def close(self) -> None:
        """Drop the connection, if there is one."""
        if self._app is not None:
            self._app.close()
            self._app = None

    def _where(self, station_id: int) -> str:
        return f"{self._address} {station_id}"

    def _journal(self) -> Dict[str, Any]:
        content = self._kept.load(JOURNAL_FILE)
        return content if isinstance(content, dict) else {}

    def _write(self, **changes: Any) -> bool:
        return self._kept.save(JOURNAL_FILE, {**self._journal(), **changes}, durable=True)


def last_run(cache: StateDir) -> Optional[Run]:
    """Return the last run of the job as its file says, or None."""
    row = cache.load(RUN_FILE)
    if not isinstance(row, list) or len(row) != len(Run._fields) or not isinstance(row[0], (int, float)):
        return None
    return Run(*row)


def _post(row: Any) -> Optional[Post]:
    if not isinstance(row, list) or len(row) != len(Post._fields) or not isinstance(row[0], (int, float)):
        return None
    return Post(*row)


def _prices(content: Mapping[str, Any]) -> Saved:
    def side(rows: Any) -> Optional[Tuple[Tuple[str, float], ...]]:
        if not isinstance(rows, list):
            return None
        return tuple((str(row[0]), float(row[1])) for row in rows if isinstance(row, list) and len(row) == 2)

    return Saved(side(content.get("buy")), side(content.get("sell")))


def _at(prices: Optional[Tuple[Tuple[str, float], ...]], index: int) -> Optional[float]:
    return prices[index][1] if prices is not None and index < len(prices) else None
