"""What ``cloud login``, ``systems`` and ``flow`` say with ``--via app``; no verb of its own.

Never prints a token or a password.
"""

from __future__ import annotations

import argparse
import json

from bridge.clock import Clock
from bridge.config import Settings
from bridge.errors import EXIT_OK
from bridge.peers.envelope import EnvelopeError
from bridge.peers.sigen_app import SigenApp
from bridge.peers.sigen_app_records import AppStation
from bridge.peers.sigen_app_session import REFRESH_FILE, TOKEN_FILE
from bridge.peers.sigen_errors import ApiRejected
from bridge.peers.sigen_text import amount, charging, duration, exporting, flow_lines, table
from bridge.sources.openapi import to_reading
from bridge.wiring_app import sigen_app
from bridge.wiring_state import durable_dir, state_dir


def run(args: argparse.Namespace, settings: Settings, clock: Clock) -> int:
    """Run one verb through the app."""
    app = sigen_app(settings, clock)
    try:
        if args.verb == "login":
            _login(app, args.json, settings)
        elif args.verb == "systems":
            _systems(app, args.json)
        else:
            _flow(app, args.json, clock)
    finally:
        app.close()
    return EXIT_OK


def _login(app: SigenApp, as_json: bool, settings: Settings) -> None:
    login = app.login()
    cache, kept = state_dir(settings), durable_dir(settings)
    saved = cache.load(TOKEN_FILE) is not None, kept.load(REFRESH_FILE) is not None
    if as_json:
        print(json.dumps({
            "ok": True, "host": app.host, "account": "app", "valid_s": round(login.expires_in_s),
            "token_file": f"{cache.path}/{TOKEN_FILE}" if saved[0] else None,
            "refresh_file": f"{kept.path}/{REFRESH_FILE}" if saved[1] else None,
        }))
        return
    print(f"login    accepted by the Sigen app ({app.host})")
    print(f"token    valid for {duration(login.expires_in_s)}, renewed by itself")
    places = dict.fromkeys(one.path for one, done in zip((cache, kept), saved) if done)
    kept_in = f"{' and '.join(places)}, readable by this user only" if places else "nothing: not writable"
    print(f"kept in  {kept_in}")


def _systems(app: SigenApp, as_json: bool) -> None:
    used = app.station()
    try:
        listed = app.stations()
    except (ApiRejected, EnvelopeError):
        listed = []  # the list is known from fewer clients than the station that the app opens with
    stations = [used, *(one for one in listed if one.station_id != used.station_id)]
    if as_json:
        print(json.dumps({"stations": [{**one._asdict(), "used": one is used} for one in stations]}))
        return
    head = ("station id", "name", "grid", "PV", "battery", "time zone", "")
    mark = ("<- used",) if len(stations) > 1 else ("",)
    print("\n".join(table(head, [(*_row(one), *(mark if one is used else ("",))) for one in stations])))


def _row(one: AppStation) -> tuple:
    grid = "unknown" if one.on_grid is None else "onGrid" if one.on_grid else "offGrid"
    pv, battery = amount(one.pv_kw, "kW"), amount(one.battery_kwh, "kWh")
    return (str(one.station_id), one.name or "-", grid, pv, battery, one.timezone or "-")


def _flow(app: SigenApp, as_json: bool, clock: Clock) -> None:
    station = app.station().station_id
    found = app.energy_flow()
    flow = found.flow
    left_w = to_reading(flow, clock.now(), clock.monotonic()).balance_w
    if as_json:
        print(json.dumps({
            "station_id": station, "source": "app", **flow._asdict(), "pv_day_kwh": found.pv_day_kwh,
            "grid_text": exporting(flow.grid_export_kw), "battery_text": charging(flow.battery_charge_kw),
            "balance_w": left_w,
        }))
        return
    print("\n".join([*flow_lines(flow, left_w), f"sun today   {amount(found.pv_day_kwh, 'kWh')}"]))
