"""What was found, in words for the owner and as data for programs.

Never decides anything and never prints.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Sequence

from bridge.control.discovery import Plant, Shelly, is_sigenergy
from bridge.model import grid_text
from bridge.peers.shelly_components import MODEL_RULE
from bridge.sources.confirm import AWAY, NO_PLANT, REACHABLE, REFUSED, SILENT, STRANGE

MODBUS_SWITCH = "mySigen: Settings > System Settings > General > Modbus TCP Server"
ADVICE: Mapping[str, str] = {
    SILENT: "connects, but does not answer: allow THIS address: {own} ({switch}, list of allowed clients)",
    REFUSED: "refuses: switch Modbus TCP on ({switch}); an update of the plant may have switched it off",
    AWAY: "no connection: is it powered, and still on this network?",
    NO_PLANT: "answers, but not as a plant: another unit number? try: sigen-bridge dump --host {ip} --unit 1",
    STRANGE: "hangs up, or does not speak Modbus: does another program hold its only connection?",
}


def plant_text(plant: Plant, own: str) -> str:
    """Say in a line what a plant answered and what to do; ``own`` is our address as it sees us."""
    if plant.verdict is None:
        return "not asked"
    if plant.verdict.state == REACHABLE:
        return f"answers: {grid_text(plant.verdict.grid_w)}"
    return ADVICE[plant.verdict.state].format(own=own or "of this machine", ip=plant.ip, switch=MODBUS_SWITCH)


def shelly_text(shelly: Shelly) -> str:
    """Say in a few words whether a Shelly can show the five numbers."""
    if shelly.able is None:
        return "can perhaps show the numbers"
    if not shelly.able:
        return "cannot show the numbers"
    if shelly.auth:
        return "can show the numbers (has a password, so its free slots are not known)"
    if shelly.free is None:
        return "can show the numbers"
    return f"can show the numbers, {shelly.free} of 10 slots free"


def table(rows: Sequence[Sequence[str]]) -> List[str]:
    """Return rows as aligned lines; the last column is not padded."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]) - 1)] if rows else []
    padded = [[cell.ljust(width) for cell, width in zip(row, widths)] for row in rows]
    return ["  " + "  ".join([*cells, row[-1]]) for cells, row in zip(padded, rows)]


def lines(plants: Sequence[Plant], shellys: Sequence[Shelly], warned: Sequence[str], notes: Sequence[str],
          own: Callable[[str], str]) -> List[str]:
    """Return the report as lines of text."""
    found = ["Sigenergy"]
    found += table([
        (plant.ip, plant.mac or "MAC unknown", plant.hostname or ("" if is_sigenergy(plant.mac) else "?"),
         plant_text(plant, own(plant.ip))) for plant in plants
    ]) or ["  nothing found"]
    found.append("Shelly")
    found += table([shelly_row(each) for each in shellys]) or ["  nothing found"]
    if shellys and not any(each.able for each in shellys):
        found.append(f"none of these can show the numbers: {MODEL_RULE}")
    found += [f"warning: {text}" for text in warned]
    found += [f"note: {text}" for text in notes]
    return found


def shelly_row(shelly: Shelly) -> Sequence[str]:
    """Return the columns of one Shelly."""
    return (shelly.name, shelly.model or shelly.app or "model unknown", shelly.version or "-", shelly.ip,
            shelly.mac or "MAC unknown", shelly_text(shelly))


def data(plants: Sequence[Plant], shellys: Sequence[Shelly], warned: Sequence[str], notes: Sequence[str],
         own: Callable[[str], str]) -> Dict[str, Any]:
    """Return the same for ``--json``."""
    return {
        "schema": 1,
        "plants": [{
            "ip": plant.ip, "mac": plant.mac or None, "hostname": plant.hostname or None,
            "found_by": plant.by, "sigenergy_mac": is_sigenergy(plant.mac),
            "state": plant.verdict.state if plant.verdict else None,
            "grid_import_w": plant.verdict.grid_w if plant.verdict else None,
            "text": plant_text(plant, own(plant.ip)), "own_address": own(plant.ip) or None,
        } for plant in plants],
        "shellys": [shelly_data(each) for each in shellys],
        "warnings": list(warned), "notes": list(notes),
    }


def shelly_data(shelly: Shelly) -> Dict[str, Any]:
    """Return one Shelly for ``--json``; unknown is null."""
    return {
        "name": shelly.name, "id": shelly.id or None, "ip": shelly.ip, "mac": shelly.mac or None,
        "model": shelly.model or None, "app": shelly.app or None, "gen": shelly.gen or None,
        "firmware": shelly.version or None, "password": shelly.auth,
        "virtual_components": shelly.able, "free_slots": shelly.free,
    }


def new_plant(plant: Plant, own: str) -> str:
    """Return the one line by which ``--watch`` announces a Sigenergy device."""
    return f"new Sigenergy device at {plant.ip} {plant.mac}: {plant_text(plant, own)}"


def newcomer(shelly: Shelly) -> str:
    """Return the one line by which ``--watch`` announces a Shelly."""
    return (f"new device {shelly.name} ({shelly.model or shelly.app or 'model unknown'}) at {shelly.ip}"
            f" - add it? sigen-bridge shelly setup --shelly-host {shelly.ip}")
