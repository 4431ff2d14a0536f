"""What ``loads cloud`` does: the loads that the plant itself switches, through the Sigen app.

Never a verb of its own: ``loads`` calls ``add_parser``, and ``run`` by the default ``act`` that it sets.
"""

from __future__ import annotations

import argparse
import json
from typing import Any, List

from bridge.clock import Clock
from bridge.commands.cloud import quieten
from bridge.config import Settings
from bridge.errors import EXIT_OK
from bridge.peers.sigen_app_loads import SmartLoads, load_named
from bridge.peers.sigen_app_records import SmartLoad
from bridge.peers.sigen_text import amount, table
from bridge.wiring_app import sigen_app

LIST, ON, OFF = "list", "on", "off"


def add_parser(subparsers: Any) -> None:
    """Declare ``cloud`` and its options."""
    cloud = subparsers.add_parser("cloud", help="loads that the plant switches, through the Sigen app",
                                  allow_abbrev=False)
    cloud.set_defaults(act=run)
    verbs = cloud.add_subparsers(dest="cloud_verb", required=True, metavar="list|on|off")
    listed = verbs.add_parser(LIST, aliases=["ls"], help="list the smart loads of the station", allow_abbrev=False)
    listed.add_argument("--json", action="store_true", help="print JSON")
    for verb in (ON, OFF):
        switch = verbs.add_parser(verb, help=f"switch a load {verb}", allow_abbrev=False)
        switch.add_argument("load", nargs="+", metavar="PATH_OR_NAME", help="as in 'loads cloud list'")
        switch.add_argument("--dry-run", action="store_true", help="show the request and switch nothing")
        switch.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run one verb; exit 2 for a load that is not known, 6 for cloud and login."""
    quieten(settings)
    app = sigen_app(settings, Clock())
    loads = SmartLoads(app)
    try:
        if args.cloud_verb not in (ON, OFF):
            _list(loads.listed(), args.json)
            return EXIT_OK
        on = args.cloud_verb == ON
        load = load_named(" ".join(args.load), loads.cards())
        if args.dry_run:
            call = loads.switch_call(load, on)
            request = {"method": call.method, "url": app.base_url + call.path, "query": call.query}
            print(json.dumps({"dry_run": True, "requests": [request]}) if args.json else _spelled(request))
            return EXIT_OK
        before, after = loads.detailed(load), loads.switch(load, on)
    finally:
        app.close()
    if args.json:
        print(json.dumps({"path": load.path, "name": load.name, "asked": on, "before": before.on, "after": after.on,
                          "verified": None if after.on is None else after.on == on}))
        return EXIT_OK
    print(f"before  {load.name}: {_state(before)}")
    print(f"after   {load.name}: {_state(after)}")
    return EXIT_OK


def _spelled(request: Any) -> str:
    query = "&".join(f"{name}={text}" for name, text in request["query"].items())
    return f"{request['method']} {request['url']}?{query}"


def _list(loads: List[SmartLoad], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"loads": [load._asdict() for load in loads]}))
        return
    if not loads:
        print("no smart load is listed for this station")
        return
    head = ("path", "name", "state", "power", "today", "this month", "so far")
    print("\n".join(table(head, [
        (load.path, load.name, _state(load), amount(load.power_kw, "kW"), amount(load.today_kwh, "kWh"),
         amount(load.month_kwh, "kWh"), amount(load.lifetime_kwh, "kWh"))
        for load in loads
    ])))


def _state(load: SmartLoad) -> str:
    state = "not known" if load.on is None else "on" if load.on else "off"
    return f"{state} (by a rule of the app)" if load.manual is False else state
