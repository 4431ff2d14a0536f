"""The scripts that come with the program: what each is for, its settings, and its life on a Shelly.

Never touches a script that is not ours: ours bear the slot's name and begin with our first line. A secret
that a script needs is stored on the device and shown nowhere. Facts: shelly.md 2.
"""

from __future__ import annotations

import json
import pkgutil
import re
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

from bridge.errors import ConfigError, ShellyError
from bridge.peers.shelly_script import (
    SCRIPT_NAME,
    Call,
    find_script,
    install_script,
    is_ours,
    stored_code,
)

HIDDEN = "(not shown)"
CONFIG = re.compile(r"let CONFIG = \{\n(.*?)\n\};", re.S)
ENTRY = re.compile(r"^  (\w+): (.*?)(,?)$", re.M)
TEXT = re.compile(r"[ !#-\[\]-~]*")  # ASCII that needs no escape in a string
PLANT_PORT = (
    "wire it to COM 15/16 (RS485-1) of the inverter; the gateway's RS485 port P6 is a master and never answers"
)


class Option(NamedTuple):
    """A constant of a script; ``check`` turns text into its value and raises ValueError."""

    name: str
    check: Callable[[str], Any]
    help: str
    secret: bool = False


class LibraryScript(NamedTuple):
    """One script: ``name`` for people, ``slot`` on the device, ``file`` in bridge/data."""

    name: str
    slot: str
    file: str
    what: str
    options: Tuple[Option, ...] = ()
    notes: Tuple[str, ...] = ()


class OnDevice(NamedTuple):
    """How one of our scripts stands on a device; ``current`` is None when its code was not compared."""

    script: LibraryScript
    number: Optional[int] = None
    ours: bool = True
    running: bool = False
    enabled: bool = False
    current: Optional[bool] = None
    options: Mapping[str, Any] = {}
    error: str = ""


def _whole(lo: int, hi: int) -> Callable[[str], int]:
    def check(text: str) -> int:
        if not text.isdigit() or not lo <= int(text) <= hi:
            raise ValueError(f"{text!r} is not a whole number within {lo}..{hi}")
        return int(text)

    return check


def _text(text: str) -> str:
    if not TEXT.fullmatch(text):
        raise ValueError("only printable ASCII without quotes and backslashes fits into a script")
    return text


def _url(text: str) -> str:
    if not re.fullmatch(r"https?://[^/\s]+/\S*", text):
        raise ValueError(f"{text!r} is not a web address such as http://192.168.8.1:8502/latest")
    return _text(text)


FIRST_ID = Option("first_id", _whole(200, 299), "id of the first of the five numbers")
# fmt: off
LIBRARY = (
    LibraryScript("setter", SCRIPT_NAME, "shelly_setter.js", "takes all five values in one request from the bridge",
                  notes=("set shelly.transport = script to use it",)),
    LibraryScript("monitor", "sigen-monitor", "shelly_monitor.js", "asks the Worker or a bridge by itself", (
        Option("url",           _url,                "address of /latest of the Worker or of a bridge"),
        Option("token",         _text,               "token of that address, if it wants one", secret=True),
        FIRST_ID,
        Option("period_s",      _whole(5, 3600),     "seconds between two questions"),
        Option("stale_after_s", _whole(10, 86_400),  "seconds after which a value counts as old"),
    ), ("it writes the same numbers as the bridge would: let only one of them do it",)),
    LibraryScript("rs485", "sigen-rs485", "shelly_rs485.js", "reads the plant itself by the Shelly Pro RS485 add-on", (
        Option("unit",          _whole(1, 247),         "unit number of the plant (1; the vendor says 247)"),
        Option("baud",          _whole(1200, 115_200),  "speed of the line (38400; the vendor says 9600)"),
        FIRST_ID,
        Option("period_s",      _whole(1, 3600),        "seconds between two readings"),
        Option("stale_after_s", _whole(5, 86_400),      "seconds after which a value counts as old"),
    ), ("unproven on hardware: it was tested against a simulated line only", PLANT_PORT,
        "it writes the same numbers as the bridge would: let only one of them do it")),
)
# fmt: on


def script_named(name: str) -> LibraryScript:
    """Return a script of the library; raises ConfigError naming those there are."""
    for script in LIBRARY:
        if name in (script.name, script.slot):
            return script
    raise ConfigError(f"shelly scripts: there is no script {name!r}; there are"
                      f" {', '.join(script.name for script in LIBRARY)}")


def source(script: LibraryScript) -> str:
    """Return a script as it came with the program."""
    raw = pkgutil.get_data("bridge.data", script.file)
    if raw is None:
        raise ShellyError(f"shelly scripts: bridge/data/{script.file} is missing; install the package again")
    return raw.decode("ascii")


def options_in(script: LibraryScript, code: str) -> Dict[str, Any]:
    """Return the constants that stand in a script's code; what cannot be read is left out."""
    found: Dict[str, Any] = {}
    block = CONFIG.search(code)
    known = {option.name for option in script.options}
    for name, value, _ in ENTRY.findall(block[1]) if block else ():
        try:
            parsed = json.loads(value)
        except ValueError:
            continue
        if name in known:
            found[name] = parsed
    return found


def configured(script: LibraryScript, options: Mapping[str, Any]) -> str:
    """Return the code with these constants filled in; others keep what the package says."""
    code = source(script)
    if not script.options:
        return code

    def entry(match: "re.Match[str]") -> str:
        name = match[1]
        return f"  {name}: {json.dumps(options[name]) if name in options else match[2]}{match[3]}"

    def block(match: "re.Match[str]") -> str:
        return f"let CONFIG = {{\n{ENTRY.sub(entry, match[1])}\n}};"

    return CONFIG.sub(block, code, count=1)


def parsed(script: LibraryScript, given: Mapping[str, str]) -> Dict[str, Any]:
    """Return options from text; raises ConfigError for an unknown one or a value that does not fit."""
    by_name = {option.name: option for option in script.options}
    values: Dict[str, Any] = {}
    for name, text in given.items():
        if name not in by_name:
            there = ", ".join(by_name) or "none"
            raise ConfigError(f"shelly scripts: {script.name} has no setting {name!r}; there are {there}")
        try:
            values[name] = by_name[name].check(text.strip())
        except ValueError as error:
            reason = "the value is not accepted" if by_name[name].secret else str(error)
            raise ConfigError(f"shelly scripts: {script.name} {name}: {reason}") from None
    return values


def shown(script: LibraryScript, options: Mapping[str, Any]) -> Dict[str, Any]:
    """Return options fit for eyes: secrets hidden, an empty one shown as empty."""
    secret = {option.name for option in script.options if option.secret}
    return {name: HIDDEN if name in secret and value else value for name, value in options.items()}


def look(call: Call, script: LibraryScript) -> OnDevice:
    """Return how a script stands on the device, its code compared with ours at the same settings."""
    slot = find_script(call, script.slot)
    if slot is None:
        return OnDevice(script)
    code = stored_code(call, slot.number)
    status = call("Script.GetStatus", {"id": slot.number})
    said = status.get("error_msg") if isinstance(status, dict) else None
    error = " ".join(str(said or "").split())[:120]
    if not is_ours(code):
        return OnDevice(script, slot.number, False, slot.running, slot.enable, None, {}, error)
    options = options_in(script, code)
    return OnDevice(script, slot.number, True, slot.running, slot.enable, configured(script, options) == code,
                    options, error)


def others(call: Call) -> List[Mapping[str, Any]]:
    """Return the scripts on the device that bear none of our names."""
    listed = call("Script.List", {})
    rows = listed.get("scripts") if isinstance(listed, dict) else None
    slots = {script.slot for script in LIBRARY}
    return [row for row in rows or () if isinstance(row, dict) and row.get("name") not in slots]


def install(call: Call, script: LibraryScript, options: Mapping[str, Any], first_id: Optional[int]) -> OnDevice:
    """Store, verify, enable and start a script; settings already on the device stay unless given anew.

    Raises ShellyError when the slot holds somebody else's script or the script does not run.
    """
    install_script(call, configured(script, merged(script, look(call, script), options, first_id)), script.slot)
    return look(call, script)


def merged(script: LibraryScript, there: OnDevice, options: Mapping[str, Any], first_id: Optional[int],
           ) -> Dict[str, Any]:
    """Return the settings that an upload would carry: given before ``first_id`` before stored."""
    wanted = {"first_id": first_id} if first_id is not None and FIRST_ID in script.options else {}
    return {**there.options, **wanted, **options}


def remove(call: Call, script: LibraryScript) -> bool:
    """Stop and delete a script; False when it is not there. Raises ShellyError when it is not ours."""
    there = look(call, script)
    if there.number is None:
        return False
    if not there.ours:
        raise ShellyError(f"shelly scripts: slot {there.number} is called {script.slot}, but holds a script that"
                          " is not ours; it is left alone (delete it in the web page if it is not needed)")
    if there.running:
        call("Script.Stop", {"id": there.number})
    call("Script.Delete", {"id": there.number})
    return True
