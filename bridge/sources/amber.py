"""The prices of one Amber site: the site chosen, its rows asked for once a period, the answer kept for others.

Never chooses among several sites, never asks twice in a period unless told to, and never passes the rows of
one site off as another's.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any, List, NamedTuple, Optional, Tuple

from bridge.clock import Clock
from bridge.control.zones import Zone, for_network
from bridge.errors import BridgeError, ConfigError, ImplausibleData
from bridge.peers.amber import PRICES, Amber
from bridge.peers.amber_records import NEM, PriceRow, Site, active, from_json, number_only, site_of, to_json
from bridge.peers.sigen_errors import ApiAuthError, ApiRejected
from bridge.state import StateDir

SITE_FILE, PRICES_FILE = "amber-site.json", "amber-prices.json"
SITE_S = 24 * 3600.0  # channels and meters change rarely; the list costs a call
SLACK_S = 10.0  # a job that runs every period starts some seconds sooner or later
RELOOK_S = 15.0  # while the price is an estimate it is looked at again, not sooner than this
FINE_MIN, COARSE_MIN = 5, 30
LIVE_UNKNOWN = "the live interval is not known: "


class Market(NamedTuple):
    """What Amber said: rows of today and tomorrow, the running interval, and when it was asked.

    ``looked`` says whether the running interval was asked for at all.
    """

    site: Site
    rows: Tuple[PriceRow, ...]
    live: Tuple[PriceRow, ...]
    asked_at: float
    fresh: bool
    notes: Tuple[str, ...] = ()
    looked: bool = True

    @property
    def billed_by_the_half_hour(self) -> bool:
        """Say whether the site pays by the half hour: then five-minute prices are not its own."""
        return self.site.billing_min == COARSE_MIN


class AmberPrices:
    """One account and the site ``wanted`` (its id or NMI, may be empty while there is only one)."""

    def __init__(
        self, client: Amber, state: StateDir, clock: Clock, wanted: str = "", period_s: float = 300.0
    ) -> None:
        self._client, self._state, self._clock, self._wanted = client, state, clock, wanted
        self._period_s = period_s

    def sites(self) -> List[Site]:
        """Return the sites of the account, closed ones too."""
        return self._client.sites()

    def site(self) -> Site:
        """Return the site to use; raises ConfigError (listing them) where the choice is the owner's."""
        kept = self._state.load(SITE_FILE)
        if isinstance(kept, dict) and kept.get("key") == self._key(""):
            found, at = _kept_site(kept.get("site")), number_only(kept.get("at"))
            if found is not None and at is not None and 0 <= self._clock.now() - at < SITE_S:
                return found
        chosen = choose(self._client.sites(), self._wanted)
        self._state.save(SITE_FILE, {"key": self._key(""), "at": self._clock.now(), "site": chosen._asdict()})
        return chosen

    def market(self, zone: Zone, use_current: bool, again: bool = False) -> Market:
        """Return the prices from the start of today to the end of tomorrow, at most one period old.

        ``again`` asks even within the period. Raises what the client raises, and ImplausibleData for an
        answer without rows.
        """
        site = self.site()
        kept = None if again else self._kept(site)
        period_s = 0.0 if again else max(0.0, self._period_s - SLACK_S)
        wanted = use_current and site.billing_min != COARSE_MIN
        if kept is not None:
            return self._with_live(kept, period_s) if wanted and not kept.looked else kept
        now = self._clock.now()
        first, last = nem_days(now, zone)
        try:
            answer = self._client.prices(site.site_id, first, last, COARSE_MIN, period_s)
        except (ApiAuthError, ApiRejected):
            self._state.delete(SITE_FILE)  # the token may be another account's by now
            raise
        if not answer.rows:
            why = f" ({'; '.join(answer.odd)})" if answer.odd else ""
            raise ImplausibleData(f"amber prices of site {site.site_id}: no prices in the answer{why}")
        notes = [f"rows left out: {one}" for one in answer.odd]
        market = Market(site, answer.rows, (), now, True, tuple(notes), looked=False)
        if wanted:
            return self._with_live(market, period_s)
        self._keep(market)
        return market

    def look_again(self, market: Market) -> Market:
        """Return the prices with the running interval asked for once more: one call, for estimates."""
        live, problem = self._live(market.site, RELOOK_S)
        if problem:
            return market._replace(notes=(*market.notes, problem))
        notes = tuple(note for note in market.notes if not note.startswith(LIVE_UNKNOWN))
        later = market._replace(live=live, notes=notes)
        self._keep(later)
        return later

    def next_in_s(self) -> float:
        """Return in how many seconds Amber may be asked for prices again."""
        return self._client.allowed_in_s(PRICES, self.site().site_id, self._period_s)

    def close(self) -> None:
        """Drop the connection."""
        self._client.close()

    def _with_live(self, market: Market, period_s: float) -> Market:
        """Return the prices with the running interval, or with the reason why it is not known, and keep them."""
        live, problem = self._live(market.site, period_s)
        market = market._replace(live=live, notes=(*market.notes, *([problem] if problem else ())), looked=True)
        self._keep(market)
        return market

    def _live(self, site: Site, period_s: float) -> Tuple[Tuple[PriceRow, ...], str]:
        """Return the running interval and "", or nothing and why it is not known."""
        try:
            answer = self._client.current(site.site_id, FINE_MIN, period_s)
        except (ApiAuthError, ConfigError):
            raise
        except BridgeError as error:
            return (), f"{LIVE_UNKNOWN}{error}"
        # a meter that is read by the half hour answers so whatever is asked for: that is no live price
        rows = tuple(row for row in answer.rows if row.minutes < COARSE_MIN)
        return rows, "" if rows else f"{LIVE_UNKNOWN}none in Amber's answer"

    def _key(self, site_id: str) -> str:
        return f"{self._client.base_url} {self._wanted} {site_id}".strip()

    def _keep(self, market: Market) -> None:
        self._state.save(PRICES_FILE, {
            "key": self._key(market.site.site_id), "at": market.asked_at, "rows": to_json(market.rows),
            "live": to_json(market.live), "notes": list(market.notes), "looked": market.looked,
        })

    def _kept(self, site: Site) -> Optional[Market]:
        content = self._state.load(PRICES_FILE)
        if not isinstance(content, dict) or content.get("key") != self._key(site.site_id):
            return None
        at = number_only(content.get("at"))
        if at is None or not 0 <= self._clock.now() - at < self._period_s - SLACK_S:
            return None
        rows, notes = from_json(content.get("rows")), content.get("notes")
        if not rows:
            return None
        return Market(site, rows, from_json(content.get("live")), at, False,
                      tuple(str(note) for note in notes) if isinstance(notes, list) else (),
                      content.get("looked") is True)


def choose(sites: List[Site], wanted: str) -> Site:
    """Return the site that is meant; raises ConfigError naming those there are."""
    ready = active(sites)
    if wanted:
        found = [site for site in sites if wanted in (site.site_id, site.nmi)]
        if not found:
            raise ConfigError(f"amber.site_id {wanted!r}: the account has no such site; it has {listed(sites)}")
        if found[0].status != "active":
            raise ConfigError(f"amber.site_id {wanted!r}: that site is {found[0].status}; it has no prices")
        return found[0]
    if not ready:
        raise ConfigError(f"amber: the account has no active site; it has {listed(sites)}")
    if len(ready) > 1:
        raise ConfigError(f"amber: the account has several active sites: set amber.site_id to one of {listed(ready)}")
    return ready[0]


def listed(sites: List[Site]) -> str:
    """Return sites in a few words each."""
    if not sites:
        return "none"
    return ", ".join(f"{site.site_id} ({site.network or 'network unknown'}, {site.status})" for site in sites)


def zone_name(setting: str, site: Site) -> str:
    """Return the IANA zone to use: the setting, or that of the site's network; raises ConfigError."""
    name = setting or for_network(site.network or "")
    if not name:
        raise ConfigError(
            f"the time zone of Amber site {site.site_id} (network {site.network or 'unknown'}) is not known: set"
            " tariff.timezone, for example to Australia/Adelaide"
        )
    return name


def nem_days(now: float, zone: Zone) -> Tuple[date, date]:
    """Return the NEM dates (+10:00 all year) that hold the station's today and tomorrow."""
    today, second = zone.local(now)
    begins = (zone.moments(today, 0) or [int(now) - second])[0]
    beyond = today + timedelta(days=2)
    ends = (zone.moments(beyond, 0) or [begins + 2 * 86400])[0]
    return datetime.fromtimestamp(begins, NEM).date(), datetime.fromtimestamp(ends - 1, NEM).date()


def _kept_site(content: Any) -> Optional[Site]:
    if not isinstance(content, dict):
        return None
    channels = content.get("channels")
    return site_of({
        "id": content.get("site_id"), "nmi": content.get("nmi"), "network": content.get("network"),
        "status": content.get("status"), "intervalLength": content.get("billing_min"),
        "channels": [{"type": one} for one in (channels if isinstance(channels, list) else ())],
    })
