"""Where the sun of another vendor's inverter stands in the plant's numbers, and how to add it just once.

Pure. Never adds one sun twice: when the gateway measures it (30194), or an old firmware counts it among the
plant's own (30035), nothing is added. The balance 30031 + 30194 + grid - load tells the rest apart.
Facts: modbus.md 1.1 and 1.2 (SPC108 took third-party sun out of 30035; 30194 came with protocol 2.7).
"""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional

GATEWAY = "gateway"  # register 30194 has it: nothing to add
PV = "pv"            # register 30035 has it (firmware before SPC108): only a derived load lacks it
LOAD = "load"        # the plant's load counts it, no register shows it: added to the sun
UNSEEN = "unseen"    # the plant knows nothing of it: added to the sun, and to the load that it feeds
TOPOLOGIES = (GATEWAY, PV, LOAD, UNSEEN)

SAYS = {
    GATEWAY: "the plant's gateway measures the Envoy's sun (30194), so nothing is added",
    PV: "the plant counts the Envoy's sun among its own (30035, firmware before SPC108), so nothing is added",
    LOAD: "the plant's load counts the Envoy's sun but no register shows it, so it is added to the sun",
    UNSEEN: "the plant does not know the Envoy's sun, so it is added to the sun and to the house load",
}
ENOUGH_W = 300.0  # less than this proves nothing: losses and phase timing are as large
SEEN_W = 50.0  # of 30194; below it may be the gateway's own offset
CLOSE_W, CLOSE_SHARE = 150.0, 0.25  # how well a balance has to fit; the two were measured at different moments
SAMPLES, SAMPLES_PV = 5, 60  # in a row before a finding holds; a car on a DC charger looks like PV for a while
FORGET_S = 600.0  # the gateway shows nothing for so long although the roof works: it does not measure it (any more)


def evidence(values: Mapping[str, Any], envoy_w: Optional[float]) -> Optional[str]:
    """Return the topology that one sample speaks for, or None."""
    third_w = values.get("third_party_pv_w")
    if third_w is not None and third_w >= SEEN_W:
        return GATEWAY
    if envoy_w is None or envoy_w < ENOUGH_W:
        return None
    close_w = max(CLOSE_W, CLOSE_SHARE * envoy_w)
    ac_w, grid_w, load_w = values.get("ac_power_w"), values.get("grid_w"), values.get("load_w")
    if "third_party_pv_w" not in values:
        pv_w, battery_w = values.get("pv_w"), values.get("battery_w")
        if pv_w is not None and battery_w is not None and ac_w is not None and pv_w >= envoy_w - close_w \
                and abs(pv_w - battery_w - ac_w - envoy_w) <= close_w:
            return PV
    if ac_w is None or grid_w is None or values.get("grid_sensor") == 0:
        return None
    if load_w is None:
        return UNSEEN
    missing_w = load_w - ac_w - grid_w
    if abs(missing_w - envoy_w) <= close_w:
        return LOAD
    return UNSEEN if abs(missing_w) <= CLOSE_W else None


class Finder:
    """Remembers enough samples to be sure; ``told`` (enphase.topology) needs none."""

    def __init__(self, told: str = "") -> None:
        self._told = told if told in TOPOLOGIES else ""
        self.found: Optional[str] = self._told or None
        self._candidate: Optional[str] = None
        self._in_a_row = 0
        self._dark_since: Optional[float] = None

    def note(self, values: Mapping[str, Any], envoy_w: Optional[float], now: float) -> Optional[str]:
        """Take in one sample at monotonic ``now``; returns the topology to go by, None when nothing is known."""
        if self._told:
            return self._told
        says = evidence(values, envoy_w)
        if self.found == GATEWAY and says != GATEWAY:
            return self._gateway_dark(says, now)
        self._dark_since = None
        if says is None:
            return self.found
        if says == GATEWAY:
            self.found, self._candidate = GATEWAY, None
            return GATEWAY
        self._in_a_row = self._in_a_row + 1 if says == self._candidate else 1
        self._candidate = says
        if self._in_a_row >= (SAMPLES_PV if says == PV else SAMPLES):
            self.found = says
        return self.found or says

    def _gateway_dark(self, says: Optional[str], now: float) -> str:
        """Stay with the gateway through a gap in its register, and leave it when the gap will not end."""
        if says is None:
            self._dark_since = None
            return GATEWAY
        if self._dark_since is None:
            self._dark_since = now
        if now - self._dark_since < FORGET_S:
            return GATEWAY
        self.found = self._candidate = self._dark_since = None
        return says


def adds(topology: Optional[str]) -> bool:
    """Say whether the Envoy's sun has to be added to the plant's; unknown means yes (S2: when 30194 is 0)."""
    return topology not in (GATEWAY, PV)


def with_sun(values: Mapping[str, Any], envoy_w: float, topology: Optional[str]) -> Dict[str, Any]:
    """Return the plant's values with the Envoy's sun in the place that it lacks."""
    mixed = dict(values)
    if topology == GATEWAY:
        return mixed
    if topology == PV:
        if mixed.get("load_w") is None and mixed.get("ac_power_w") is not None:
            mixed["ac_power_w"] += envoy_w
        return mixed
    mixed["third_party_pv_w"] = envoy_w
    if topology == LOAD:
        mixed["other_moment_w"] = envoy_w
    elif topology == UNSEEN and mixed.get("load_w") is not None:
        mixed["load_w"] += envoy_w
    return mixed
