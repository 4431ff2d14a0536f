"""Houses that stand still, for tests that need to know every number; only the plant clock moves.

Never random. Both balances of every row are exact (see HomeState). s3 is the one sample that a user
noted, in the register's sign: +8540 is buying. v2h follows a capture of a real plant. steady is a sunny
noon with a half-full battery, for whoever commands it.
"""

from __future__ import annotations

from typing import Mapping, NamedTuple, Tuple, Union

from bridge.errors import ConfigError
from bridge.sim.home import HOUSE, Conditions, Energy, Home, HomeState, House

#                         pv third batt  soc    ev    ac  loss  grid   load
SCENARIOS: Mapping[str, HomeState] = {
    "s3":        HomeState(2800, 0, 0, 150, 0, 2800, 0, 8540, 11340),
    "night":     HomeState(-4, 0, -1320, 473, 0, 1260, 56, 12, 1272),
    "export":    HomeState(4300, 0, 0, 980, 0, 4170, 130, -1100, 3070),
    "third_party": HomeState(0, 4200, 2600, 610, 0, -2690, 90, -310, 1200),
    "v2h":       HomeState(0, 0, 0, 733, -1680, 1620, 60, 1, 1621),
    "ev_charge": HomeState(6200, 0, 0, 640, 7000, -890, 90, 1490, 600),
    "offgrid":   HomeState(3100, 0, 1400, 520, 0, 1620, 80, 0, 1620, 1, 1),
    "no_meter":  HomeState(2800, 0, 500, 440, 0, 2210, 90, 0, 2210, 0, 0),
    "steady":   HomeState(3000, 0, 1684, 500, 0, 1199, 117, 1, 1200),
}
_TODAY = Energy(12_340.0, 0.0, 15_670.0, 7_890.0, 3_210.0, 6_540.0, 5_980.0)
_TOTAL = Energy(24_560_000.0, 0.0, 19_870_000.0, 8_760_000.0, 9_540_000.0, 5_430_000.0, 5_010_000.0)


class StillHome(NamedTuple):
    """A house that shows one state at every time."""

    state: HomeState
    house: House = HOUSE

    def at(self, seconds: float) -> HomeState:
        """Return the state, whatever the time."""
        return self.state

    def conditions(self, seconds: float) -> Conditions:
        """Return the sun and the demand that belong to the state."""
        state = self.state
        return Conditions(
            state.pv_w, state.third_party_pv_w, state.ev_w, state.load_w,
            off_grid=state.off_grid, meter=state.meter,
        )

    def energy(self, seconds: float) -> Tuple[Energy, Energy, Energy]:
        """Return the energies of today, of yesterday and of the lifetime, whatever the time."""
        return _TODAY, _TODAY, _TOTAL


AnyHome = Union[Home, StillHome]


def home_for(scenario: str, seed: int, house: House) -> AnyHome:
    """Return the house of a scenario; ``home`` is the moving one. Raises ConfigError for a stranger."""
    if scenario == "home":
        return Home(seed, house)
    if scenario not in SCENARIOS:
        raise ConfigError(f"no plant scenario {scenario!r}; there are home, {', '.join(SCENARIOS)}")
    return StillHome(SCENARIOS[scenario], house)
