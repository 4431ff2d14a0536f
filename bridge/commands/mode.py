"""Show or change the operating mode of the plant, in words; through the Sigen app or the OpenAPI.

Never sets VPP, never hands control to somebody else without --yes, and never says that the plant changed
its mode when only the cloud said that it took the request.
"""

from __future__ import annotations

import argparse
import json
from typing import Any, Dict, List, Optional, Protocol, Tuple, Type

from bridge.clock import Clock
from bridge.commands.cloud import base_url, print_request, quieten
from bridge.config import Settings
from bridge.errors import EXIT_OK, BridgeError, RateLimited, Refused
from bridge.peers.envelope import EnvelopeError
from bridge.peers.sigen_calls import Request, mode_calls, request_of, station_id
from bridge.peers.sigen_codes import MODES, TRANSIENT, ModeRow
from bridge.peers.sigen_errors import ApiUnavailable
from bridge.peers.sigen_modes import hindrance, mode_named
from bridge.peers.sigen_openapi import POST_SWITCH, SPELLING_FILE, OpenApi
from bridge.peers.sigen_records import Mode
from bridge.wiring_app import app_configured
from bridge.wiring_cloud import openapi, state_dir

HELP = "show or change the operating mode of the plant: get, list, set LABEL_OR_NUMBER"
WAIT_S = 305.0  # the mode may be read once in 300 s; the rest is for pacing


class Door(Protocol):
    """A way to the modes of a station; rows and modes have number and label, and are the door's own kind."""

    @property
    def name(self) -> str:
        """What the way is called."""

    @property
    def pauses_s(self) -> Tuple[float, ...]:
        """How long to wait before each further look at a mode that has not changed yet."""

    def get(self) -> Any:
        """Return the mode."""

    def set(self, row: Any) -> str:
        """Ask for a mode and return how it was asked for."""

    def reached(self, row: Any, mode: Any) -> bool:
        """Say whether a mode is the one that was asked for."""

    def not_read(self, error: BridgeError) -> str:
        """Return why a mode is not known."""


class OpenApiModes:
    """The modes of a station as the OpenAPI offers them."""

    name = "OpenAPI"
    pauses_s = ()  # one read in 300 s

    def __init__(self, api: OpenApi, settings: Settings) -> None:
        self._api, self._settings = api, settings

    def get(self) -> Mode:
        """Return the mode; one read in 300 s. Raises RateLimited and what ``OpenApi.mode`` raises."""
        return self._api.mode()

    def set(self, row: ModeRow) -> str:
        """Ask for a mode and return how it was asked for."""
        return self._api.set_mode(row.number).spelling

    def requests(self, row: ModeRow) -> List[Request]:
        """Return the spellings of the request, in the order in which they would be tried."""
        url = base_url(self._settings)
        calls = mode_calls(station_id(self._settings["cloud.system_id"]), row.number)
        found = state_dir(self._settings).load(SPELLING_FILE)
        if isinstance(found, dict) and found.get("base_url") == url and found.get("mode") == POST_SWITCH:
            calls.reverse()
        return [request_of(call, url) for call in calls]

    def reached(self, row: ModeRow, mode: Mode) -> bool:
        """Say whether a mode is the one that was asked for."""
        return row.number == mode.number

    def not_read(self, error: BridgeError) -> str:
        """Return why a mode is not known."""
        return _again(error) if isinstance(error, RateLimited) else str(error)

    def close(self) -> None:
        """Drop the connection."""
        self._api.close()


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of each verb."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="get|list|set")
    get = verbs.add_parser("get", help="print the mode of the plant", allow_abbrev=False)
    known = verbs.add_parser("list", help="list the modes there are and which can be set", allow_abbrev=False)
    change = verbs.add_parser("set", help="ask for a mode", allow_abbrev=False)
    change.add_argument("mode", nargs="+", metavar="LABEL_OR_NUMBER", help="such as msc, nbi, 'feed in' or 5")
    change.add_argument("--yes", action="store_true", help="yes, even where it changes who is in control")
    change.add_argument("--dry-run", action="store_true", help="show the request and send nothing")
    change.add_argument("--wait", action="store_true", help="wait up to 5 min to read the mode again")
    for verb in (get, known, change):
        verb.add_argument("--via", choices=("auto", "app", "openapi"), default="auto",
                          help="auto is the Sigen app where its login is configured, else the OpenAPI")
        verb.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run one verb; exit 6 for the cloud, 7 for its rate limit, 8 for a mode that may not be set."""
    if args.via == "app" or (args.via == "auto" and app_configured(settings)):
        from bridge.commands import _mode_app

        return _mode_app.run(args, settings)
    if args.verb == "list":
        return _list(args.json)
    row = mode_named(" ".join(args.mode)) if args.verb == "set" else None
    if row is not None:
        refuse(row, args.yes or args.dry_run)
    clock = Clock()
    quieten(settings)
    door = OpenApiModes(openapi(settings, clock), settings)
    try:
        if row is None:
            return _get(door, settings, args.json)
        if args.dry_run:
            print_request(args.json, *door.requests(row))
            return EXIT_OK
        return change_mode(door, row, clock, args.wait, args.json)
    finally:
        door.close()


def refuse(row: ModeRow, agreed: bool) -> None:
    """Raise Refused for a mode that cannot be set, or that changes who controls the plant without consent."""
    why = hindrance(row)
    if why:
        choices = ", ".join(f"{one.word} ({one.number})" for one in MODES if one.settable)
        raise Refused(f"mode set: {row.number} {row.label} is refused: {why}; what can be set: {choices}")
    if row.word == "nbi" and not agreed:
        raise Refused(
            "mode set: NBI lets the application behind your login command the battery; if that is wanted,"
            " repeat it with --yes (sigen-bridge explain nbi tells more)"
        )


def _list(as_json: bool) -> int:
    if as_json:
        print(json.dumps({"modes": [{**row._asdict(), "reason": hindrance(row)} for row in MODES]}))
        return EXIT_OK
    for row in MODES:
        can = "can be set" if row.settable else f"cannot be set: {hindrance(row)}"
        print(f"{row.number}  {row.word:<7} {row.label:<28} {can}")
    return EXIT_OK


def _get(door: OpenApiModes, settings: Settings, as_json: bool) -> int:
    mode = door.get()
    print(json.dumps({"system_id": settings["cloud.system_id"], **mode._asdict()}) if as_json else said(mode))
    return EXIT_OK


def said(mode: Any) -> str:
    """Return a mode as number, label and the word that ``mode set`` takes."""
    return f"{mode.number} {mode.label}" + ("" if mode.word in mode.label.lower() else f" ({mode.word})")


def change_mode(door: Door, row: Any, clock: Clock, wait: bool, as_json: bool) -> int:
    """Read, ask, read again where the limits let us; raises ApiUnavailable when the plant did not follow."""

    def say(line: str) -> None:
        if not as_json:
            print(line, flush=True)

    before, unread = _look(door)
    say(f"before  {said(before) if before else f'not known: {unread}'}")
    spelling = door.set(row)
    say(f"asked   {row.number} {row.label}: the cloud took it ({door.name}, {spelling})")
    after, unread = _wait_for_turn(door, clock) if wait else _look(door, BridgeError)
    for pause_s in door.pauses_s * (6 if wait else 1):
        if after is not None and door.reached(row, after) or clock.wait(pause_s):
            break
        after, unread = _look(door, BridgeError)
    known = said(after) if after else f"not known yet: {unread}; later: sigen-bridge mode get"
    say(f"after   {known}")
    if as_json:
        verified = None if after is None else door.reached(row, after)
        print(json.dumps({**_report(row, spelling, before, after), "verified": verified, "note": unread or None}))
    if after is not None and not door.reached(row, after):
        raise ApiUnavailable(
            f"mode set: the cloud took {row.number} {row.label}, but the plant is in {said(after)};"
            " look again in five minutes with: sigen-bridge mode get", TRANSIENT, 200,
        )
    return EXIT_OK


def _report(row: Any, spelling: str, before: Any, after: Any) -> Dict[str, Any]:
    return {
        "asked": row.number, "label": row.label, "spelling": spelling,
        "before": before._asdict() if before else None, "after": after._asdict() if after else None,
    }


def _look(door: Door, forgiven: Type[BridgeError] = EnvelopeError) -> Tuple[Optional[Any], str]:
    """Return the mode, or None and why it is not known: the limits, or an error that is ``forgiven``."""
    try:
        return door.get(), ""
    except (RateLimited, forgiven) as error:
        return None, door.not_read(error)


def _wait_for_turn(door: Door, clock: Clock) -> Tuple[Optional[Any], str]:
    """Look as soon as the limits allow it, for the time of one period at most."""
    until = clock.monotonic() + WAIT_S
    while True:
        try:
            return door.get(), ""
        except RateLimited as error:
            wait_s = error.retry_after_s
            if wait_s is None or clock.monotonic() + wait_s > until or clock.wait(wait_s):
                return None, door.not_read(error)
        except BridgeError as error:
            return None, door.not_read(error)


def _again(error: RateLimited) -> str:
    when = "later" if error.retry_after_s is None else f"in {error.retry_after_s:.0f} s"
    return f"the cloud lets the mode be read once in 300 s, again {when}"
