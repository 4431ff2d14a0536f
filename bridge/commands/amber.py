"""Show what Amber says: the sites of the account, and the prices of one of them.

Never prints the token and never asks more often than Amber allows: prices younger than the period are shared.
"""

from __future__ import annotations

import argparse
import json
from typing import Any, Dict, List, Optional

from bridge.clock import Clock
from bridge.config import Settings
from bridge.control.zones import Zone, zone
from bridge.errors import EXIT_OK, ImplausibleData
from bridge.peers.amber_records import FEED_IN, GENERAL, PriceRow, Site, of_channel
from bridge.sources.amber import Market, zone_name
from bridge.wiring_tariff import amber_prices

HELP = "ask Amber: sites, prices"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of each verb."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="sites|prices")
    sites = verbs.add_parser("sites", help="list the sites of the account", allow_abbrev=False)
    prices = verbs.add_parser("prices", help="list the prices of today and tomorrow", allow_abbrev=False)
    prices.add_argument("--fresh", action="store_true", help="ask again even if the last answer is not old")
    for verb in (sites, prices):
        verb.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run one verb; exit 2 without token or with several sites, 6 for Amber, 7 for its rate limit."""
    clock = Clock()
    prices = amber_prices(settings, clock)
    try:
        if args.verb == "sites":
            found = prices.sites()
            print(json.dumps({"sites": [one._asdict() for one in found]}) if args.json else site_lines(found))
            return EXIT_OK
        if not clock.synced():
            raise ImplausibleData("amber prices: waiting for clock: this machine's clock is not set yet")
        here = zone(zone_name(settings["tariff.timezone"], prices.site()))
        market = prices.market(here, settings["tariff.use_current"], args.fresh)
    finally:
        prices.close()
    if args.json:
        print(json.dumps(market_json(market, here)))
    else:
        print("\n".join(market_lines(market, here, clock.now())))
    return EXIT_OK


def site_lines(sites: List[Site]) -> str:
    """Return the sites as a table."""
    if not sites:
        return "the account has no site"
    lines = ["site                          status   billed  network            channels"]
    for site in sites:
        billed = f"{site.billing_min} min" if site.billing_min else "unknown"
        lines.append(
            f"{site.site_id:<28}  {site.status:<7}  {billed:<6}  {site.network or 'unknown':<17}"
            f"  {', '.join(site.channels) or 'none'}"
        )
    return "\n".join(lines)


def market_json(market: Market, here: Zone) -> Dict[str, Any]:
    """Return prices for machines: unix seconds, c/kWh as Amber says them (feed-in: what is paid)."""
    def rows(some: Any) -> List[Dict[str, Any]]:
        return [
            {**row._asdict(), "advanced": row.advanced._asdict() if row.advanced else None,
             "local": here.text(row.start, "%Y-%m-%d %H:%M")} for row in some
        ]

    return {
        "site_id": market.site.site_id, "timezone": here.name, "asked_at": market.asked_at, "fresh": market.fresh,
        "billing_min": market.site.billing_min, "rows": rows(market.rows), "live": rows(market.live),
        "notes": list(market.notes),
    }


def market_lines(market: Market, here: Zone, now: float) -> List[str]:
    """Return prices as a table of local times; sell is what feed-in pays."""
    lines = ["   from              min      buy     sell  kind"]
    feed = {(row.start, row.end): row for row in of_channel(market.rows, FEED_IN)}
    for row in of_channel(market.rows, GENERAL):
        mark = ">" if row.start <= now < row.end else " "
        sold = feed.get((row.start, row.end))
        lines.append(_line(mark, row, sold, here))
    for row in of_channel(market.live, GENERAL):
        sold = next((one for one in of_channel(market.live, FEED_IN) if one.start == row.start), None)
        lines.append(f"{_line('>', row, sold, here)}, live{', estimate' if row.estimate else ''}")
    age_s = max(0.0, now - market.asked_at)
    lines.append(f"   c/kWh with GST, {here.name}; sell is minus feed-in perKwh; asked {age_s:.0f} s ago")
    return [*lines, *market.notes]


def _line(mark: str, row: PriceRow, sold: Optional[PriceRow], here: Zone) -> str:
    earned = None if sold is None or sold.per_kwh is None else -sold.per_kwh + 0.0
    return (
        f"{mark}  {here.text(row.start, '%Y-%m-%d %H:%M')}  {row.minutes:>3}  {_cents(row.per_kwh):>7}"
        f"  {_cents(earned):>7}  {row.kind}{'' if row.spike in (None, 'none') else ', ' + str(row.spike)}"
    )


def _cents(found: Optional[float]) -> str:
    return "unknown" if found is None else f"{found:.2f}"
