"""What the assistant may look up: this program's own reading verbs, run in this process.

Never a verb that writes: the table below is all there is, and its words are fixed but for checked values.
"""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any, Callable, List, Mapping, NamedTuple, Tuple

from bridge.commands import command, parser_of
from bridge.commands._assist_drafts import DRAFTS
from bridge.config import REDACTED, Settings
from bridge.errors import BridgeError, ConfigError, LinkError, PeerError
from bridge.link.bridge_http import get_json
from bridge.peers.assistant import Tool

REGISTERS_MAX = 40
LOOK_S = 2.0  # the running bridge answers from memory
PRIVATE = ("app_key", "username")  # not secrets, but of no use to a model


class Look(NamedTuple):
    """A tool that runs one verb; ``words`` makes its command line from the model's input."""

    name: str
    description: str
    properties: Mapping[str, Any]
    words: Callable[[Mapping[str, Any]], List[str]]


def _registers(wish: Mapping[str, Any]) -> List[str]:
    found = wish.get("registers")
    if not isinstance(found, list) or not 1 <= len(found) <= REGISTERS_MAX:
        raise ConfigError(f"registers: a list of 1 to {REGISTERS_MAX} register numbers is wanted")
    words = [str(one) for one in found]
    if not all(word.replace("@", "", 1).isdigit() for word in words):
        raise ConfigError("registers: ADDRESS or ADDRESS@UNIT is wanted, such as 30005 or 30500@1")
    return ["dump", "--json", *words]


def _explain(wish: Mapping[str, Any]) -> List[str]:
    words = str(wish.get("word", "")).split()
    if not words or any(word.startswith("-") for word in words):
        raise ConfigError("word: a code, mode, register or topic is wanted, such as 1502, nbi, 30037 or mqtt")
    return ["explain", "--json", *words]


LOOKS = (
    Look("cloud_energy_flow", "Power of sun, battery, grid, house, EV charger and heat pump now, as the Sigenergy"
         " cloud (OpenAPI energyFlow) knows it, in kW; grid_export_kw + is EXPORT, battery_charge_kw + is charging."
         " Allowed once in 300 s. Use it when a person asks for the energy flow of the cloud or of the system.",
         {}, lambda wish: ["cloud", "flow", "--json"]),
    Look("cloud_systems", "The stations (systems) that the configured cloud login may see, with their systemId.",
         {}, lambda wish: ["cloud", "systems", "--json"]),
    Look("cloud_devices", "The devices of the configured station, with firmware and ratings.",
         {}, lambda wish: ["cloud", "devices", "--json"]),
    Look("operating_mode", "The operating mode of the plant as the cloud knows it. Allowed once in 300 s.",
         {}, lambda wish: ["mode", "get", "--json"]),
    Look("explain", "This program's own explanation of an error code, operating mode, register (number or name), MQTT"
         " topic, HTTP status, Modbus exception, exit code, doctor finding or topic such as auth, signs, wiring, mqtt,"
         " limits, modes, codes, tariff, battery, shelly. Offline; use it before answering such a question.",
         {"word": {"type": "string", "description": "such as 1502, nbi, 30037, mqtt, auth, exit 7"}}, _explain),
    Look("doctor", "Examine plant, line, Shelly and this machine; findings with advice. Takes up to 20 s.",
         {}, lambda wish: ["doctor", "--json"]),
    Look("read_registers", "Read registers of the plant over Modbus: raw words, value, unit and meaning.",
         {"registers": {"type": "array", "minItems": 1, "maxItems": REGISTERS_MAX, "items": {"type": "string"},
                        "description": "ADDRESS or ADDRESS@UNIT, such as 30005 or 30500@1"}}, _registers),
    Look("battery_status", "Which battery command holds now, who gave it and when it ends.",
         {}, lambda wish: ["battery", "status", "--json"]),
)


def tools(settings: Settings) -> List[Tool]:
    """Return every tool: reading, configuration, drafts."""
    found = [
        Tool("live_power", "The five values of the plant on the local network now (running bridge, else one Modbus"
             " reading): pv_w, soc_pct, battery_charge_w (+ charging), grid_import_w (+ IMPORT), load_w.",
             _schema({}), lambda wish: _live(settings)),
        Tool("configuration", "Every setting of this program, its value and where that came from; secrets are hidden.",
             _schema({}), lambda wish: ("config show", configuration(settings))),
    ]
    found += [Tool(one.name, one.description, _schema(one.properties), _user(one, settings)) for one in LOOKS]
    found += [Tool(one.name, one.description, _schema(one.properties, one.optional), _drafter(one, settings))
              for one in DRAFTS]
    return found


def _schema(properties: Mapping[str, Any], optional: Tuple[str, ...] = ()) -> Mapping[str, Any]:
    return {"type": "object", "properties": dict(properties), "additionalProperties": False,
            "required": [name for name in properties if name not in optional]}


def _user(look: Look, settings: Settings) -> Callable[[Mapping[str, Any]], Tuple[str, Any]]:
    return lambda wish: run_verb(look.words(wish), settings)


def _drafter(draft: Any, settings: Settings) -> Callable[[Mapping[str, Any]], Tuple[str, Any]]:
    return lambda wish: (draft.name, draft.make(wish, settings))


def run_verb(words: List[str], settings: Settings) -> Tuple[str, Any]:
    """Run a verb and return its words and its JSON output; a problem that it names stands beside the output."""
    module = command(words[0])
    if module is None:
        raise ConfigError(f"the command {words[0]} is not installed here")
    out, err, problem = io.StringIO(), io.StringIO(), ""
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            module.run(parser_of(words[0], module).parse_args(words[1:]), settings)
        except SystemExit:
            raise ConfigError(err.getvalue().strip() or f"{words[0]}: these words are not accepted") from None
        except BridgeError as error:
            if not out.getvalue().strip():
                raise
            problem = str(error)
    content = json.loads(out.getvalue())
    said = [line for line in (problem, *err.getvalue().splitlines()) if line]
    return " ".join(words), {"output": content, "remarks": said} if said else content


def _live(settings: Settings) -> Tuple[str, Any]:
    """Return the running bridge's snapshot, or one reading of the plant."""
    listen = settings["status.listen"]
    if listen != "off":
        host, _, port = listen.rpartition(":")
        address = f"{'127.0.0.1' if host in ('0.0.0.0', '', '[::]') else host}:{port}"
        try:
            snapshot = get_json(address, "/v1/snapshot", LOOK_S, settings["status.token"])
            if "grid_import_w" in snapshot:
                return "snapshot of the running bridge", snapshot
        except (LinkError, PeerError):
            pass  # none is running: read the plant
    return run_verb(["once", "--dry-run", "--json"], settings)


def configuration(settings: Settings) -> Mapping[str, Any]:
    """Return the settings as a model may see them."""
    found = {}
    for row, text, where in settings.shown():
        private = row.key.endswith(PRIVATE) and text
        found[row.key] = f"{REDACTED if private else text or '-'} (from {'the file' if '/' in where else where})"
    return {"settings": [f"{key} = {shown}" for key, shown in found.items()]}
