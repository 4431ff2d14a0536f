"""Our helper script on the Shelly: all values in one HTTP request, and what it takes to install it.

Never runs when the script does not: values then go by Number.Set, one call each. Facts: shelly.md 2;
the script is ``bridge/data/shelly_setter.js``.
"""

from __future__ import annotations

import json
import logging
import pkgutil
from typing import Any, Callable, List, Mapping, NamedTuple, Optional, Sequence

from bridge.clock import Clock
from bridge.errors import PeerError, RateLimited, Rejected, ShellyError
from bridge.peers.shelly_http import HttpChannel
from bridge.peers.shelly_rpc import News, Pair, Refusals, json_value

SCRIPT_NAME = "sigen-bridge"
ENDPOINT = "set"
MAX_AGE_S = 15  # the script calls the display stale when nothing came for this long
TOUCH_S = 5.0  # so it hears from us three times in that time
LOOK_AGAIN_S = 60.0
MARK = "// sigen-bridge:"  # how the code of each of our scripts begins
CHUNK = 1024  # characters a Script.PutCode; the vendor's uploader uses the same
NOT_FOUND = -105

Call = Callable[[str, Mapping[str, Any]], Any]


class ScriptChannel:
    """The road over the helper script; everything but setting values goes by plain HTTP."""

    name = "script"

    def __init__(self, http: HttpChannel, clock: Clock) -> None:
        self._http = http
        self._clock = clock
        self._log = logging.getLogger("shelly")
        self._target: Optional[str] = None
        self._look_at = 0.0
        self._missing = False
        self._flagged = False  # a freshness component was set, so the script has an age to watch
        self._touched = 0.0

    def call(self, method: str, params: Mapping[str, Any]) -> Any:
        """Return the result of one call, by plain HTTP."""
        return self._http.call(method, params)

    def set_values(self, pairs: Sequence[Pair]) -> Refusals:
        """Set components in one request; without the script one call each."""
        if self._target is None and self._clock.monotonic() >= self._look_at:
            self._look()
        if self._target is None:
            return self._http.set_values(pairs)
        done = self._post(pairs)
        if done is None:  # it has stopped: look for it at the next write
            self._target, self._look_at = None, 0.0
            return self._http.set_values(pairs)
        self._flagged = self._flagged or any(not key.startswith("number:") for key, _ in pairs)
        return {
            key: Rejected(f"{self._http.http.peer}: the helper script could not set {key}", NOT_FOUND)
            for key, _ in pairs if done.get(key) is not True
        }

    def news(self) -> News:
        """Tell the script that we live when it watches our age and was not written to for a while."""
        idle = self._clock.monotonic() - self._touched >= TOUCH_S
        if self._flagged and self._target and idle and self._post(()) is None:
            self._target, self._look_at = None, 0.0
        return News()

    def close(self) -> None:
        """Forget where the script is; it may be another one next time."""
        self._target, self._look_at = None, 0.0

    def _look(self) -> None:
        self._look_at = self._clock.monotonic() + LOOK_AGAIN_S
        script = find_script(self._http.call)
        if script is not None and script.running:
            self._target = f"/script/{script.number}/{ENDPOINT}"
        if (self._target is None) != self._missing:
            self._missing = self._target is None
            if self._missing:
                self._log.warning("helper_script=missing action=\"run sigen-bridge shelly setup --script\"")
            else:
                self._log.info("helper_script=found")

    def _post(self, pairs: Sequence[Pair]) -> Optional[Mapping[str, Any]]:
        """Return what the script says per key, None when it does not run any more."""
        values = ",".join([f'"{key}":{json_value(value)}' for key, value in pairs])
        body = f'{{"values":{{{values}}},"max_age_s":{MAX_AGE_S}}}'
        answer = self._http.http.request("POST", self._target or "", body.encode())
        if answer.status == 429:
            raise RateLimited(f"{self._http.http.peer}: the helper script is busy; slowing down")
        if answer.status != 200:
            return None
        self._touched = self._clock.monotonic()
        try:
            done = json.loads(answer.body).get("done")
        except (ValueError, AttributeError):
            done = None
        if not isinstance(done, dict):
            raise PeerError(f"{self._http.http.peer}: the helper script answered {answer.excerpt()!r}")
        return done


class Script(NamedTuple):
    """One script slot of the device."""

    number: int
    running: bool
    enable: bool


def find_script(call: Call, name: str = SCRIPT_NAME) -> Optional[Script]:
    """Return the slot of one of our scripts, found by its name; None when it is not there."""
    listed = call("Script.List", {})
    rows = listed.get("scripts") if isinstance(listed, dict) else None
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and row.get("name") == name and isinstance(row.get("id"), int):
            return Script(row["id"], bool(row.get("running")), bool(row.get("enable")))
    return None


def script_source() -> str:
    """Return the helper script as it is to be stored: ASCII, without trailing blanks."""
    raw = pkgutil.get_data("bridge.data", "shelly_setter.js")
    if raw is None:
        raise ShellyError("shelly setup: bridge/data/shelly_setter.js is missing; install the package again")
    return raw.decode("ascii")


def is_ours(code: str) -> bool:
    """Say whether code in a slot may be replaced: it is ours, or there is none yet."""
    return not code.strip() or code.startswith(MARK)


def stored_code(call: Call, number: int) -> str:
    """Read back what a script slot holds."""
    parts: List[str] = []
    length = 0
    while True:
        page = call("Script.GetCode", {"id": number, "offset": length, "len": CHUNK})
        part = page.get("data") if isinstance(page, dict) else None
        if not isinstance(part, str) or not part:
            return "".join(parts)
        parts.append(part)
        length += len(part)
        if not page.get("left"):
            return "".join(parts)


def install_script(call: Call, code: str, name: str = SCRIPT_NAME) -> int:
    """Store the script, verify every byte, enable and start it; return its slot.

    Changes nothing when it is there, equal and running. Raises ShellyError when it does not start, or
    when somebody else's script bears its name.
    """
    script = find_script(call, name)
    if script is None:
        script = Script(int(call("Script.Create", {"name": name})["id"]), False, False)
    number = script.number
    stored = stored_code(call, number)
    if not is_ours(stored):
        raise ShellyError(f"shelly scripts: slot {number} is called {name}, but holds a script that is not ours;"
                          " it is left alone: rename or delete it in the web page, then try again")
    if stored != code:
        if script.running:
            call("Script.Stop", {"id": number})
            script = script._replace(running=False)
        _upload(call, number, code)
    if not script.enable:
        call("Script.SetConfig", {"id": number, "config": {"name": name, "enable": True}})
    if not script.running:
        call("Script.Start", {"id": number})
    status = call("Script.GetStatus", {"id": number})
    if not isinstance(status, dict) or not status.get("running"):
        said = status.get("error_msg") if isinstance(status, dict) else None
        reason = " ".join(str(said or "no reason given").split())[:120]
        raise ShellyError(f"shelly scripts: {name} in slot {number} does not run: {reason}")
    return number


def _upload(call: Call, number: int, code: str) -> None:
    for start in range(0, len(code), CHUNK):
        chunk = code[start:start + CHUNK]
        answer = call("Script.PutCode", {"id": number, "code": chunk, "append": start > 0})
        stored = answer.get("len") if isinstance(answer, dict) else None
        if stored != start + len(chunk):
            raise ShellyError(
                f"shelly scripts: slot {number} holds {stored}, not {start + len(chunk)} characters"
            )
    if stored_code(call, number) != code:
        raise ShellyError(f"shelly scripts: slot {number} does not hold what was sent; try again")
