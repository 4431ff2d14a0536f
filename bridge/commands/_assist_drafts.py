"""What the assistant may draft for a person: command lines, a Shelly script, small clients; nothing is ever run.

Never returns a command line that this program would not read: each goes through the verbs' own parsers first.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import io
import re
import shlex
from typing import Any, Callable, List, Mapping, NamedTuple, Tuple

from bridge.commands import command, parser_of
from bridge.config import Settings, take_flags
from bridge.errors import ConfigError
from bridge.settings import SETTINGS

SAYS = "Nothing was sent or changed. Show this to the person; only they can run it."
CLIENTS = ("cloud", "modbus", "snapshot")
ACTIONS = ("charge", "discharge", "hold", "self", "release")


class Draft(NamedTuple):
    """A tool that drafts; ``make`` gets the model's input."""

    name: str
    description: str
    properties: Mapping[str, Any]
    optional: Tuple[str, ...]
    make: Callable[[Mapping[str, Any], Settings], Mapping[str, Any]]


def _number(wish: Mapping[str, Any], name: str, low: float, high: float) -> str:
    found = wish[name]
    if not isinstance(found, (int, float)) or isinstance(found, bool) or not low <= found <= high:
        raise ConfigError(f"{name}: a number from {low:g} to {high:g} is wanted")
    return f"{found:g}"


def battery_command(wish: Mapping[str, Any], settings: Settings) -> Mapping[str, Any]:
    """Return the command line of a battery command; every one of them ends by itself."""
    action = wish.get("action")
    if action not in ACTIONS:
        raise ConfigError(f"action: one of {', '.join(ACTIONS)} is wanted")
    words = ["battery", str(action)]
    if action in ("charge", "discharge") and "power_kw" not in wish and "export_w" not in wish:
        raise ConfigError(f"{action}: power_kw is needed, a plant ignores a forced {action} without a power")
    if "power_kw" in wish:
        words += ["--kw", _number(wish, "power_kw", 0.01, 1000)]
    for name in ("export_w", "max_export_w", "max_import_w"):
        if name in wish:
            words += ["--" + name.replace("_", "-"), _number(wish, name, 0, 1_000_000)]
    if "minutes" in wish and action != "release":
        words += ["--for", _number(wish, "minutes", 1, 360) + "m"]
    line = command_line(words)
    found = {"command": line, "look_first": f"{line} --dry-run", "says": SAYS}
    if not settings["control.enabled"]:
        found["needs"] = "control.enabled = yes in the settings; without it nothing is ever written"
    return found


def proposed(wish: Mapping[str, Any], settings: Settings) -> Mapping[str, Any]:
    """Return a command line of this program after its own parsers have read it."""
    text = str(wish.get("command_line", ""))
    if any(ord(char) < 32 for char in text):
        raise ConfigError("command_line: one line is wanted")
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"command_line: {error}") from None
    if words[:1] == ["sigen-bridge"]:
        words = words[1:]
    return {"command": command_line(words), "says": SAYS}


def command_line(words: List[str]) -> str:
    """Return ``words`` as a line for a shell; raises ConfigError when the program would not read it."""
    secret = {f"--{row.key.replace('.', '-').replace('_', '-')}-file" for row in SETTINGS if row.secret}
    for word in words:
        flag = word.partition("=")[0]
        if flag in secret or (flag.startswith("--") and flag + "-file" in secret):
            raise ConfigError(f"{flag}: secrets stay out of this; the person puts them into the settings file")
    _, _, rest = take_flags(words)
    module = command(rest[0]) if rest else None
    if module is None:
        raise ConfigError(f"there is no command {rest[0] if rest else ''!r}")
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            parser_of(rest[0], module).parse_args(rest[1:])
        except SystemExit as ended:
            if ended.code:
                raise ConfigError(said.getvalue().strip()) from None
    return shlex.join(["sigen-bridge", *words])


def shelly_script(wish: Mapping[str, Any], settings: Settings) -> Mapping[str, Any]:
    """Return a script for a Shelly that polls ``/latest`` of a bridge or relay."""
    period_s = _number({"period_s": 300, **wish}, "period_s", 1, 86_400)
    url = str(wish.get("url", "http://192.168.8.1:8502/latest"))
    if not re.fullmatch(r"https?://[A-Za-z0-9.:\[\]_-]+(?:/[\w./-]*)?", url):
        raise ConfigError("url: http://HOST:PORT/latest is wanted, without credentials")
    text = _text("assistant_shelly.js").replace("let PERIOD_S = 300;", f"let PERIOD_S = {period_s};")
    text = text.replace('"http://192.168.8.1:8502/latest"', f'"{url}"')
    text = text.replace("let FIRST_ID = 200;", f"let FIRST_ID = {settings['shelly.first_id']};")
    return {
        "script": text,
        "needs": ["five number components: sigen-bridge shelly setup",
                  "something that serves /latest: 'sigen-bridge run', or without Modbus 'sigen-bridge relay serve',"
                  " with status.listen on the local network; a Shelly cannot ask the cloud itself (HTTP 424)"],
        "says": SAYS + " The cloud's values change once in 300 s; a running bridge has new ones every second.",
    }


def client_snippet(wish: Mapping[str, Any], settings: Settings) -> Mapping[str, Any]:
    """Return a small Python program; credentials come from its environment."""
    what = wish.get("what")
    if what not in CLIENTS:
        raise ConfigError(f"what: one of {', '.join(CLIENTS)} is wanted")
    return {"language": "python", "code": _text(f"assistant_{what}.py.txt"), "says": SAYS}


def _text(name: str) -> str:
    return (importlib.resources.files("bridge.data") / name).read_text("utf-8")


DRAFTS = (
    Draft("draft_battery_command", "Draft a battery command (charge, discharge, hold, self, release) as a command line"
          " for the person to run. It is never run by you.",
          {"action": {"type": "string", "enum": list(ACTIONS)}, "power_kw": {"type": "number"},
           "minutes": {"type": "number", "description": "how long, 1 to 360"}, "export_w": {"type": "number"},
           "max_export_w": {"type": "number"}, "max_import_w": {"type": "number"}},
          ("power_kw", "minutes", "export_w", "max_export_w", "max_import_w"), battery_command),
    Draft("propose_command", "Check any other command line of this program, such as 'sigen-bridge mode set msc', before"
          " showing it to the person. It is never run by you.",
          {"command_line": {"type": "string"}}, (), proposed),
    Draft("draft_shelly_script", "A tested script for a Shelly that polls the energy flow (/latest of a bridge, a"
          " relay or a Cloudflare Worker) and shows it in its number components.",
          {"period_s": {"type": "number", "description": "seconds between two polls, 300 is 5 minutes"},
           "url": {"type": "string", "description": "address of /latest"}}, ("period_s", "url"), shelly_script),
    Draft("draft_client", "A tested small Python client: 'cloud' (OpenAPI key login and energy flow), 'modbus' (five"
          " registers over TCP), 'snapshot' (a running bridge).",
          {"what": {"type": "string", "enum": list(CLIENTS)}}, (), client_snippet),
)
