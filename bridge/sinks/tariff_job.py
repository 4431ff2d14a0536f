"""One run of the tariff job: ask Amber, decide the slots, post what is new. Everything it uses is handed in.

Never posts an incomplete plan or with a clock that is not set: then the last plan stays. Never keeps quiet
about what holds the plant back from following a tariff.
"""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional

from bridge.clock import Clock
from bridge.control.tariff import Plan, make_plan
from bridge.control.tariff_payload import payload_of, station_number
from bridge.control.tariff_slots import Options
from bridge.control.tariff_text import lease_of, plant_notes
from bridge.control.zones import Zone, for_network, zone
from bridge.errors import ConfigError, ImplausibleData, Refused
from bridge.sinks.tariff import Outcome, TariffSink
from bridge.sources.amber import AmberPrices, Market, zone_name
from bridge.state import StateDir

LEASE_FILE = "lease.json"
ONLY_LENGTH_MIN = 30


class Choices(NamedTuple):
    """What the owner chose beside the slots themselves; ``forced`` is --i-know."""

    options: Options
    plan_name: str
    timezone: str
    station_id: str
    forced: bool = False


class Prepared(NamedTuple):
    """A plan and everything that belongs to it; ``payload`` is None while the plan is incomplete."""

    plan: Plan
    payload: Optional[Dict[str, Any]]
    station_id: int
    zone: Zone
    market: Market
    notes: List[str]
    keeps_sell: bool


class TariffJob:
    """The job; ``plant_mode`` returns the plant's EMS mode or None, ``kept`` is where leases lie."""

    def __init__(
        self, clock: Clock, prices: AmberPrices, sink: TariffSink, choices: Choices, kept: StateDir,
        plant_mode: Callable[[], Optional[int]],
    ) -> None:
        self._clock, self.prices, self.sink, self._choices = clock, prices, sink, choices
        self._kept, self._plant_mode = kept, plant_mode

    def prepare(self, again: bool = False) -> Prepared:
        """Return the plan of this moment; posts nothing. Raises what asking raises."""
        check_length(self._choices.options.interval_min, self._choices.forced)
        check_clock(self._clock)
        if self._choices.station_id:
            station_number(self._choices.station_id)  # a mistake there costs Amber no call
        self.prices.site()
        station_id, named = self._station()
        here = self._zone(named)
        market = self.prices.market(here, self._choices.options.use_current, again)
        return self._prepared(station_id, here, market)

    def look_again(self, before: Prepared) -> Prepared:
        """Return the plan with the running interval asked for once more."""
        market = self.prices.look_again(before.market)
        return self._prepared(before.station_id, before.zone, market)

    def push(self, ready: Prepared, force: bool = False) -> Outcome:
        """Post the plan if it is complete and new; raises ImplausibleData, or what posting raises."""
        if ready.payload is None:
            raise ImplausibleData(f"tariff push: {'; '.join(ready.plan.problems)}")
        payload = self._with_held_sell(ready) if ready.keeps_sell else ready.payload
        return self.sink.push(payload, self._clock.now(), ready.plan.running, force)

    def close(self) -> None:
        """Drop the connections."""
        self.prices.close()
        self.sink.close()

    def _station(self) -> "tuple[int, Optional[str]]":
        if self._choices.station_id:
            return station_number(self._choices.station_id), None
        return self.sink.station()

    def _zone(self, of_station: Optional[str]) -> Zone:
        site = self.prices.site()
        if not self._choices.timezone and of_station and not for_network(site.network or ""):
            return zone(of_station)
        return zone(zone_name(self._choices.timezone, site))

    def _prepared(self, station_id: int, here: Zone, market: Market) -> Prepared:
        options, now = self._choices.options, self._clock.now()
        notes = list(market.notes)
        if market.billed_by_the_half_hour and options.use_current:
            options = options._replace(use_current=False)
            notes.append("this site is billed by the half hour: five-minute prices are not used for it")
        plan = make_plan(market.rows, market.live, now, here, options, market.site.feeds_in)
        notes += plan.notes
        lease = lease_of(self._kept.load(LEASE_FILE), now)
        notes += plant_notes(lease, None if lease is not None else self._plant_mode(), here)
        payload = None
        if plan.complete:
            payload = payload_of(plan, station_id, self._choices.plan_name, options.interval_min)
        keeps_sell = payload is not None and "sellPrice" not in payload
        return Prepared(plan, payload, station_id, here, market, notes, keeps_sell)

    def _with_held_sell(self, ready: Prepared) -> Mapping[str, Any]:
        held = self.sink.held_sell(ready.station_id)
        if held is None:
            raise ConfigError(
                "tariff push: this Amber site has no feed-in channel, and the sell price that the Sigen cloud holds"
                " cannot be read: set tariff.sell_flat_c to what your export pays (0 if nothing)"
            )
        return {**(ready.payload or {}), "sellPrice": json.loads(json.dumps(held))}


def check_length(interval_min: int, forced: bool) -> None:
    """Raise for a slot length that the cloud cannot keep: Refused for 5 minutes unless forced."""
    if interval_min not in (5, ONLY_LENGTH_MIN):
        raise ConfigError(f"tariff.interval {interval_min}: 30, or 5 with --i-know")
    if interval_min != ONLY_LENGTH_MIN and not forced:
        raise Refused(
            f"tariff.interval {interval_min}: the Sigen cloud keeps half hours only and collapses shorter slots, six"
            " into one wrong one; set tariff.interval to 30 (--i-know sends it all the same)"
        )


def check_clock(clock: Clock) -> None:
    """Raise ImplausibleData while the machine's clock is not set: prices belong to times."""
    if not clock.synced():
        raise ImplausibleData(
            "tariff push: waiting for clock: this machine's clock is not set yet (a router starts in 1970 until it"
            " has met a time server)"
        )
