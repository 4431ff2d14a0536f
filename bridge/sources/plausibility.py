"""Judges a Reading: sentinels, ranges, jumps, energy balance, frozen data, a grid sign that looks wrong.

Pure apart from its own memory of recent samples. Never changes a number: it marks the sample as not fit
for display, or drops one signal to None, and says why. A single impossible sample is dropped; one that
lasts is shown and reported, because then the plant itself is saying it (ruling 3).
"""

from __future__ import annotations

from typing import Any, List, Mapping, NamedTuple, Optional, Tuple

from bridge.model import Reading, invalid
from bridge.sources.signals import largest_term_w

POWER_LIMIT_W = 100_000.0  # or three times the plant's rating, whichever is more
PV_FLOOR_W = -500.0  # small negatives are seen at night
DROPPED_IN_A_ROW = 5  # then an impossibility counts as lasting
BALANCE_FLOOR_W, BALANCE_SHARE = 1000.0, 0.20
SOC_JUMP_PCT, SOC_JUMP_S = 5.0, 10.0
CLOCK_FROZEN_S = 60.0
VALUES_FROZEN_S = 1800.0
SIGN_SAMPLES, SIGN_MIN_GRID_W, SIGN_MARGIN_W = 30, 500.0, 500.0


class Verdict(NamedTuple):
    """A judged reading and, at most once in a while, something the operator should hear."""

    reading: Reading
    warning: Optional[str] = None


class Plausibility:
    """Remembers just enough of the past to judge the next sample."""

    def __init__(self) -> None:
        self._kind: Optional[str] = None
        self._in_a_row = 0
        self._soc: Optional[Tuple[float, float]] = None
        self._clock: Optional[Tuple[Any, float]] = None
        self._five: Optional[Tuple[Tuple[Any, ...], float]] = None
        self._inverted = 0
        self._told_inverted = False

    def judge(self, reading: Reading, values: Mapping[str, Any]) -> Verdict:
        """Return the reading with ``valid``/``reason`` set; ``values`` are the raw roles behind it."""
        warning = self._sign_warning(values)
        reading, dropped = drop_impossible(reading, values)
        kind, reason = self._problem(reading, values, dropped)
        frozen = self._frozen(reading, values)
        if frozen:
            return Verdict(invalid(reading, frozen), warning)
        if kind is None:
            self._kind, self._in_a_row = None, 0
            self._remember(reading)
            return Verdict(reading, warning)
        self._in_a_row = self._in_a_row + 1 if kind == self._kind else 1
        self._kind = kind
        if self._in_a_row <= DROPPED_IN_A_ROW:
            return Verdict(invalid(reading, f"{kind}: {reason}"), warning)
        self._remember(reading)
        return Verdict(reading._replace(reason=f"lasting {kind}: {reason}"), warning)

    def _problem(
        self, reading: Reading, values: Mapping[str, Any], dropped: List[str]
    ) -> Tuple[Optional[str], str]:
        if dropped:
            return "impossible value", ", ".join(dropped)
        if self._soc is not None and reading.soc_pct is not None:
            last, when = self._soc
            if reading.mono - when <= SOC_JUMP_S and abs(reading.soc_pct - last) > SOC_JUMP_PCT:
                return "jump", f"state of charge {last:g} % to {reading.soc_pct:g} % in {reading.mono - when:.0f} s"
        if reading.balance_w is not None and abs(reading.balance_w) > BALANCE_FLOOR_W:
            allowed = max(BALANCE_FLOOR_W, BALANCE_SHARE * largest_term_w(values))
            allowed += values.get("other_moment_w", 0)  # a cloud may have come between two devices' moments
            if abs(reading.balance_w) > allowed:
                return "balance", f"off by {reading.balance_w:.0f} W (allowed {allowed:.0f} W)"
        return None, ""

    def _remember(self, reading: Reading) -> None:
        if reading.soc_pct is not None:
            self._soc = (reading.soc_pct, reading.mono)

    def _frozen(self, reading: Reading, values: Mapping[str, Any]) -> Optional[str]:
        clock = values.get("clock")
        if clock:
            if self._clock is None or self._clock[0] != clock:
                self._clock = (clock, reading.mono)
            standing_s = reading.mono - self._clock[1]
            if standing_s > CLOCK_FROZEN_S:
                return f"frozen: the plant's clock has stood still for {standing_s:.0f} s"
            return None
        five = (reading.pv_w, reading.soc_pct, reading.battery_w, reading.grid_w, reading.load_w)
        if self._five is None or self._five[0] != five:
            self._five = (five, reading.mono)
        standing_s = reading.mono - self._five[1]
        if standing_s > VALUES_FROZEN_S:
            return f"frozen: all values have stood still for {standing_s / 60:.0f} min"
        return None

    def _sign_warning(self, values: Mapping[str, Any]) -> Optional[str]:
        looks = sign_looks_inverted(values)
        if looks is None:
            return None
        self._inverted = self._inverted + 1 if looks else 0
        if self._inverted < SIGN_SAMPLES or self._told_inverted:
            return None
        self._told_inverted = True
        return (
            "the grid sign looks inverted (meter CT the wrong way round?): the energy balance closes with the"
            " opposite sign; check the CT, or set modbus.grid_sign = inverted"
        )


def drop_impossible(reading: Reading, values: Mapping[str, Any]) -> Tuple[Reading, List[str]]:
    """Set signals that cannot be true to None and name them; a role read as None is a sentinel."""
    limit_w = max(POWER_LIMIT_W, 3 * (values.get("rated_w") or 0))
    dropped: List[str] = []
    for field, floor_w in (("battery_w", -limit_w), ("grid_w", -limit_w), ("pv_w", PV_FLOOR_W), ("load_w", -limit_w)):
        power = values.get(field, 0)
        if power is None:
            dropped.append(f"{field} reads as 'no value'")
        elif not floor_w <= power <= limit_w:
            dropped.append(f"{field} {power:.0f} W")
            reading = reading._replace(**{field: None})  # type: ignore[arg-type]
            if field != "load_w":  # the sums that used it are as wrong as it is
                reading = reading._replace(balance_w=None)
                if reading.load_derived:
                    reading = reading._replace(load_w=None)
    third = values.get("third_party_pv_w")
    if third is not None and not PV_FLOOR_W <= third <= limit_w:
        dropped.append(f"third_party_pv_w {third:.0f} W")
        reading = reading._replace(pv_w=None, balance_w=None)
    if "soc_pct" in values:
        soc = values["soc_pct"]
        if soc is None or not 0 <= soc <= 100:
            dropped.append("soc_pct reads as 'no value'" if soc is None else f"soc_pct {soc:g} %")
            reading = reading._replace(soc_pct=None)
    return reading, dropped


def sign_looks_inverted(values: Mapping[str, Any]) -> Optional[bool]:
    """Compare the balance with both grid signs; None when the data do not allow an opinion.

    Needs 30284 or 30031: with PV and battery alone a DC charger makes the wrong sign look better.
    """
    grid_w, ac_w, load_w = values.get("grid_w"), values.get("ac_power_w"), values.get("load_w")
    if grid_w is None or abs(grid_w) <= SIGN_MIN_GRID_W or values.get("grid_sensor") == 0:
        return None
    third_w = values.get("third_party_pv_w") or 0
    if ac_w is not None:
        house_w = ac_w + third_w
        if load_w is None:  # only a clearly negative house can speak then
            return house_w + grid_w < -SIGN_MARGIN_W and house_w - grid_w >= 0
    elif load_w is not None and values.get("pv_w") is not None and values.get("battery_w") is not None:
        house_w = values["pv_w"] + third_w - values["battery_w"]
    else:
        return None
    return abs(house_w + grid_w - load_w) - abs(house_w - grid_w - load_w) > SIGN_MARGIN_W
