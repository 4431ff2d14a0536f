"""The operating modes of a station through the app: its own list, the present one, and a change.

Never changes a mode that the station does not list, and goes to the older paths only where the newer ones do
not exist (HTTP 404): a refusal is a refusal.
"""

from __future__ import annotations

import re
from typing import Any, List, Mapping, Optional, Sequence

from bridge.errors import ConfigError
from bridge.peers.envelope import integer
from bridge.peers.sigen_app import SigenApp
from bridge.peers.sigen_app_records import (
    CUSTOM,
    DEFAULT_PROFILE,
    AppMode,
    default_mode,
    default_modes_of,
    profiles_of,
    same_name,
)
from bridge.peers.sigen_app_wire import AppCall
from bridge.peers.sigen_codes import MODES, mode_row
from bridge.peers.sigen_errors import ApiRejected
from bridge.peers.sigen_modes import folded, names

SPELLING_FILE = "app-spelling.json"
V3, V0 = "v3", "v0"  # the paths of the sigen clients of that major number


class AppModes:
    """The modes of one account's station; which paths exist is found out once and remembered."""

    def __init__(self, app: SigenApp) -> None:
        self._app = app
        self._listed: Optional[List[AppMode]] = None

    def listed(self) -> List[AppMode]:
        """Return the modes that the station offers, the owner's own profiles last."""
        if self._listed is None:
            number = self._app.station().station_id
            content = self._first({
                V3: AppCall("modes", "GET", f"/device/energy-profile/mode/all/{number}"),
                V0: AppCall("modes", "GET", f"/device/sigen/station/operational/mode/v/{number}"),
            })
            found = default_modes_of(content)
            if isinstance(content, dict):
                found = [
                    *default_modes_of(content.get("defaultWorkingModes")),
                    *profiles_of(content.get("energyProfileItems")),
                ]
            if not found:
                raise self._app.no_data("modes")
            self._listed = found
        return self._listed

    def current(self) -> AppMode:
        """Return the present mode under the label of the station's list."""
        number = self._app.station().station_id
        content = self._first({
            V3: AppCall("mode", "GET", f"/device/energy-profile/mode/current/{number}"),
            V0: AppCall("mode", "GET", f"/device/setting/operational/mode/{number}"),
        })
        mode, profile = integer(content), DEFAULT_PROFILE
        if isinstance(content, dict):
            mode = integer(content.get("currentMode"))
            given = integer(content.get("currentProfileId"))
            profile = given if mode == CUSTOM and given is not None else DEFAULT_PROFILE
        if mode is None:
            raise self._app.no_data("mode")
        for row in self.listed():
            if (row.number, row.profile_id) == (mode, profile):
                return row
        row = default_mode(mode)
        return row if profile == DEFAULT_PROFILE else row._replace(label=f"profile {profile}", profile_id=profile)

    def calls(self, mode: AppMode) -> Mapping[str, AppCall]:
        """Return the requests that ask for a mode, by the paths they are for, the preferred one first."""
        number = self._app.station().station_id
        body = {"stationId": number, "operationMode": mode.number}
        found = {V3: AppCall("set mode", "PUT", "/device/energy-profile/mode",
                             body={**body, "profileId": mode.profile_id})}
        if mode.number != CUSTOM:  # the older paths know no profiles
            found[V0] = AppCall("set mode", "PUT", "/device/setting/operational/mode/", body=body)
        return found

    def set(self, mode: AppMode) -> str:
        """Ask for a mode and return by which paths; whether the plant follows shows only in a later read."""
        calls = self.calls(mode)
        self._first(calls)
        return self._remembered(calls)

    def _first(self, calls: Mapping[str, AppCall]) -> Any:
        """Make the call by the paths that worked before, and by the other ones after a 404."""
        known = self._remembered(calls)
        order = [known, *(version for version in calls if version != known)]
        for index, version in enumerate(order):
            try:
                content = self._app.ask(calls[version])
            except ApiRejected as error:
                if error.status != 404 or index == len(order) - 1:
                    raise
                continue
            if index:
                self._app.cache.save(SPELLING_FILE, {"base_url": self._app.base_url, "modes": version})
            return content
        raise self._app.no_data("modes")

    def _remembered(self, calls: Mapping[str, AppCall]) -> str:
        content = self._app.cache.load(SPELLING_FILE)
        if isinstance(content, dict) and content.get("base_url") == self._app.base_url:
            for version in calls:
                if content.get("modes") == version:
                    return version
        return next(iter(calls))


def listed_mode_named(label: str, listed: Sequence[AppMode]) -> AppMode:
    """Return the mode of a list by its number, word, label or profile id; raises ConfigError with the choices.

    A number is an operating mode; a profile's id only where no mode has that number, or after "profile". A
    name that two modes have has to be told apart by number or id.
    """
    word, wanted = label.strip(), folded(label)
    plain = [mode for mode in listed if mode.number != CUSTOM]
    for mode in plain:
        if word == str(mode.number):
            return mode
    profile = re.fullmatch(r"(?:profile\s+)?([0-9]+)", word, re.IGNORECASE)
    if profile is not None and word not in [str(row.number) for row in MODES]:
        for mode in listed:
            if mode.number == CUSTOM and profile.group(1) == str(mode.profile_id):
                return mode
    found = [mode for mode in listed if same_name(word, mode.label)]
    found = found or [mode for mode in plain if wanted in names(mode_row(mode.number))]
    if len(found) == 1:
        return found[0]
    said = "is not known" if not found else "is the name of several modes"
    raise ConfigError(f"mode {word!r} {said}; the choices are: {', '.join(map(choice, found or listed))}")


def choice(mode: AppMode) -> str:
    """Return how a mode can be asked for."""
    if mode.number == CUSTOM:
        return f"{mode.label} (profile {mode.profile_id})"
    return f"{mode.word} ({mode.number} {mode.label})"
