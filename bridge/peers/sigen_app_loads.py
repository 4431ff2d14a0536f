"""The loads that the plant itself switches (smart loads), through the app: list, energy, on and off.

Never says that a load is on because the cloud took the request: it is read again, and a load that follows a
rule of the app instead of the switch is called that.
"""

from __future__ import annotations

from typing import Callable, List, Sequence

from bridge.errors import ConfigError
from bridge.peers.envelope import EnvelopeError
from bridge.peers.sigen_app import SigenApp
from bridge.peers.sigen_app_records import SmartLoad, load_of, same_name, with_consumption, with_detail
from bridge.peers.sigen_app_wire import AppCall
from bridge.peers.sigen_codes import TRANSIENT
from bridge.peers.sigen_errors import ApiRejected, ApiUnavailable
from bridge.peers.sigen_records import rows_of

CARD_PATH = "/device/system/device/systemDevice/card"
DETAIL_PATH = "/device/tp-device/smart-loads"
ENERGY_PATH = "/data-process/sigen/station/statistics/real-time-consumption"
SWITCH_PATH = "/device/tp-device/smart-loads/control-mode/manual/switch"


class SmartLoads:
    """The smart loads of one account's station."""

    def __init__(self, app: SigenApp) -> None:
        self._app = app

    def cards(self) -> List[SmartLoad]:
        """Return the loads with path, name and power; other devices of the page are left out."""
        query = {"stationId": self._number(), "showNewGenerator": "true"}
        rows = rows_of(self._app.ask(AppCall("loads", "GET", CARD_PATH, query)))
        if rows is None:
            raise self._app.no_data("loads")
        return [one for one in map(load_of, rows) if one is not None]

    def listed(self) -> List[SmartLoad]:
        """Return the loads with switch and energy, two calls each; what one load does not tell stays unknown."""
        return [self._known(self._known(one, self.detailed), self._with_energy) for one in self.cards()]

    def detailed(self, load: SmartLoad) -> SmartLoad:
        """Return a load with its switch and who decides about it."""
        return with_detail(load, self._app.object(AppCall("load", "GET", DETAIL_PATH, self._of(load))))

    def switch_call(self, load: SmartLoad, on: bool) -> AppCall:
        """Return the request that switches a load."""
        return AppCall("switch load", "PATCH", SWITCH_PATH, {**self._of(load), "manualSwitch": "1" if on else "0"})

    def switch(self, load: SmartLoad, on: bool) -> SmartLoad:
        """Switch a load and return it as it is then; raises ApiUnavailable when it did not follow."""
        self._app.ask(self.switch_call(load, on))
        after = self.detailed(load)
        if after.on is not None and after.on != on:
            why = "it follows a schedule or rule: set it to manual in the app" if after.manual is False else (
                "look at it in the app"
            )
            raise ApiUnavailable(
                f"sigen app: the cloud took the request, but {load.name} is still {'off' if on else 'on'}; {why}",
                TRANSIENT, 200,
            )
        return after

    def _with_energy(self, load: SmartLoad) -> SmartLoad:
        if load.load_id is None:
            return load
        query = {**self._of(load), "smartLoadId": load.load_id}
        return with_consumption(load, self._app.object(AppCall("consumption", "GET", ENERGY_PATH, query)))

    def _known(self, load: SmartLoad, step: Callable[[SmartLoad], SmartLoad]) -> SmartLoad:
        try:
            return step(load)
        except (ApiRejected, ApiUnavailable, EnvelopeError):
            return load

    def _of(self, load: SmartLoad) -> dict:
        return {"stationId": self._number(), "loadPath": load.path}

    def _number(self) -> str:
        return str(self._app.station().station_id)


def load_named(word: str, loads: Sequence[SmartLoad]) -> SmartLoad:
    """Return a load by its path or name; raises ConfigError that lists them."""
    for load in loads:
        if word.strip() == load.path:
            return load
    found = [load for load in loads if same_name(word, load.name)]
    if len(found) == 1:
        return found[0]
    said = "is not known" if not found else "is the name of several loads"
    choices = ", ".join(f"{load.path} ({load.name})" for load in found or loads) or "none, it has no smart load"
    raise ConfigError(f"load {word.strip()!r} {said}; the choices are: {choices}")
