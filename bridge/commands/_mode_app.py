"""The door to the operating modes through the Sigen app, for the verb ``mode``; no verb of its own.

Never sets VPP, and never hands control to somebody else without --yes, as with the OpenAPI.
"""

from __future__ import annotations

import argparse
import json
from typing import List, Optional

from bridge.clock import Clock
from bridge.commands.cloud import print_request, quieten
from bridge.commands.mode import change_mode, said
from bridge.config import Settings
from bridge.errors import EXIT_OK, BridgeError, Refused
from bridge.peers.sigen_app import SigenApp
from bridge.peers.sigen_app_modes import AppModes, choice, listed_mode_named
from bridge.peers.sigen_app_records import CUSTOM, AppMode
from bridge.peers.sigen_calls import Request
from bridge.peers.sigen_modes import REASONS
from bridge.wiring_app import sigen_app

VPP, HANDS_OVER = "vpp", ("nbi", "remote")


class AppModesDoor:
    """The modes of a station as the app offers them; the same methods as the OpenAPI's door."""

    name = "Sigen app"
    pauses_s = (1.0, 2.0, 3.0, 4.0)  # the plant takes some seconds to follow

    def __init__(self, app: SigenApp) -> None:
        self._app, self._modes = app, AppModes(app)

    def listed(self) -> List[AppMode]:
        """Return what the station offers."""
        return self._modes.listed()

    def get(self) -> AppMode:
        """Return the present mode."""
        return self._modes.current()

    def set(self, row: AppMode) -> str:
        """Ask for a mode and return by which paths."""
        return f"{self._modes.set(row)} paths"

    def requests(self, row: AppMode) -> List[Request]:
        """Return the spellings of the request, in the order in which they would be tried."""
        calls = self._modes.calls(row).values()
        return [Request(call.method, self._app.base_url + call.path, call.body) for call in calls]

    def reached(self, row: AppMode, mode: AppMode) -> bool:
        """Say whether a mode is the one that was asked for; of the owner's profiles the very one."""
        return (row.number, row.profile_id) == (mode.number, mode.profile_id)

    def not_read(self, error: BridgeError) -> str:
        """Return why a mode is not known."""
        return str(error)

    def close(self) -> None:
        """Drop the connection."""
        self._app.close()


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run a verb of ``mode`` through the app."""
    clock = Clock()
    quieten(settings)
    app = sigen_app(settings, clock)
    door = AppModesDoor(app)
    try:
        if args.verb == "set":
            row = listed_mode_named(" ".join(args.mode), door.listed())
            refuse(row, args.yes or args.dry_run)
            if args.dry_run:
                print_request(args.json, *door.requests(row), refused="404")
                return EXIT_OK
            return change_mode(door, row, clock, args.wait, args.json)
        station = app.station().station_id
        mode = door.get()
        if args.verb == "list":
            _list(station, door.listed(), mode, args.json)
        else:
            print(json.dumps({"station_id": station, **mode._asdict()}) if args.json else shown(mode))
        return EXIT_OK
    finally:
        door.close()


def refuse(row: AppMode, agreed: bool) -> None:
    """Raise Refused for VPP, and for what hands control over without consent."""
    if row.word == VPP:
        raise Refused(f"mode set: {choice(row)} is refused: {REASONS[VPP]}")
    if row.word in HANDS_OVER and not agreed:
        raise Refused(
            f"mode set: {choice(row)} lets somebody else command the battery; if that is wanted, repeat it with"
            f" --yes (sigen-bridge explain {row.word} tells more)"
        )


def shown(mode: AppMode) -> str:
    """Return a mode as number and label, one of the owner's own with its profile."""
    return said(mode) if mode.number != CUSTOM else f"{mode.number} {mode.label} (profile {mode.profile_id})"


def _list(station: int, listed: List[AppMode], current: Optional[AppMode], as_json: bool) -> None:
    rows = [{**row._asdict(), "current": row == current} for row in listed]
    if as_json:
        print(json.dumps({"station_id": station, "modes": rows}))
        return
    for row in listed:
        ask = str(row.profile_id) if row.number == CUSTOM else row.word
        mark = "  <- now" if row == current else ""
        profile = f"profile {row.profile_id}" if row.number == CUSTOM else "default"
        print(f"{row.number}  {ask:<7} {row.label:<28} {profile}{mark}")
