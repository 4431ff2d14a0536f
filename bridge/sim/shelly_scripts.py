"""The scripts of a simulated Shelly: stored, started, stopped, and their HTTP endpoints.

Never pretends to have run a script: JavaScript is executed only by a ``runner`` that the caller brings;
without it an endpoint answers 500. Facts: vendor pages "Script", "Scripts Overview", deployment guide.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any, Callable, Dict, Mapping, Optional

from bridge.sim.shelly_board import Board
from bridge.sim.shelly_engine import Answer, Runner, ScriptCrash, ScriptHost, ScriptRun
from bridge.sim.shelly_rpc import (
    EXHAUSTED,
    FAILED_PRECONDITION,
    Handler,
    RpcError,
    bad_argument,
    boolean,
    integer,
    mapping,
    not_found,
    string,
)

MAX_RUNNING = 3  # reported on a Gen3 mini; planned for the Pro 2
MAX_IN_FLIGHT = 5  # requests to script endpoints at once; the real number behind the 429 is not documented
BOOT_DELAY_S = 0.5  # scripts start this long after boot (1.3.0)
CODE_PAGE = 1024  # characters that one Script.GetCode returns
ENDPOINT = re.compile(r"""HTTPServer\s*\.\s*registerEndpoint\s*\(\s*["']([^"']+)["']""")


class Script:
    """One stored script."""

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        self.name = name
        self.enable = False
        self.code = ""
        self.running = False
        self.run: Optional[ScriptRun] = None
        self.error = ""

    def status(self) -> Dict[str, Any]:
        """Return the status object; the last crash is kept in it (since 1.5.0)."""
        status: Dict[str, Any] = {"id": self.number, "running": self.running}
        if self.error:
            status.update(errors=["error"], error_msg=self.error)
        return status

    def config(self) -> Dict[str, Any]:
        """Return the configuration object."""
        return {"id": self.number, "name": self.name, "enable": self.enable}


class Scripts:
    """The script slots of one device and their RPC methods."""

    def __init__(self, board: Board, runner: Optional[Runner], host: Callable[[int], ScriptHost]) -> None:
        self.by_id: Dict[int, Script] = {}
        self._board = board
        self._runner = runner
        self._host = host
        self._in_flight = 0

    def methods(self) -> Dict[str, Handler]:
        """Return the RPC methods, by their documented names."""
        return {
            "Script.List": self._rpc_list, "Script.Create": self._rpc_create,
            "Script.PutCode": self._rpc_put_code, "Script.GetCode": self._rpc_get_code,
            "Script.SetConfig": self._rpc_set_config,
            "Script.GetConfig": lambda params, origin: self._find(params).config(),
            "Script.GetStatus": lambda params, origin: self._find(params).status(),
            "Script.Start": self._rpc_start, "Script.Stop": self._rpc_stop, "Script.Delete": self._rpc_delete,
            "Script.Eval": self._rpc_eval,
        }

    def http(self, number: int, name: str, request: Mapping[str, Any]) -> Answer:
        """Answer a request to /script/<number>/<name>; call it outside any turn."""
        script = self.by_id.get(number)
        if script is None or not script.running or name not in ENDPOINT.findall(script.code):
            return 404, [], "Not Found"
        if script.run is None:
            return 500, [], "this simulator has no script engine"
        with self._board.turn():
            if self._in_flight >= MAX_IN_FLIGHT:
                return 429, [], "Too Many Requests"
            self._in_flight += 1
        try:
            answer = script.run.http(name, request)
        except ScriptCrash as crash:
            self._crashed(script, crash)
            return 500, [], "Internal Server Error"
        finally:
            with self._board.turn():
                self._in_flight -= 1
        return answer if answer is not None else (404, [], "Not Found")

    def reboot(self) -> None:
        """Stop every script; the enabled ones start again shortly after."""
        for script in self.by_id.values():
            self._halt(script)
            script.error = ""
            if script.enable:
                self._board.after(BOOT_DELAY_S, partial(self._start, script))

    def stop_all(self) -> None:
        """End every script, for good."""
        for script in self.by_id.values():
            if script.run is not None:
                script.run.stop()

    def _start(self, script: Script) -> None:
        if script.running:
            return
        if sum(other.running for other in self.by_id.values()) >= MAX_RUNNING:
            raise RpcError(EXHAUSTED, f"Reached the maximum {MAX_RUNNING} of enabled scripts")
        script.running = True
        script.error = ""
        self._board.notify_status(f"script:{script.number}", script.status())
        self._board.defer(lambda: self._launch(script))

    def _launch(self, script: Script) -> None:
        if self._runner is None:
            return
        host = self._host(script.number)
        guarded = host._replace(
            later=lambda delay_s, job: host.later(delay_s, partial(self._guard, script, job)))
        try:
            script.run = self._runner(script.code, guarded)
        except ScriptCrash as crash:
            self._crashed(script, crash)

    def _guard(self, script: Script, job: Callable[[], None]) -> None:
        try:
            job()
        except ScriptCrash as crash:
            self._crashed(script, crash)

    def _crashed(self, script: Script, crash: ScriptCrash) -> None:
        with self._board.turn():
            script.error = str(crash)
            self._halt(script)
            self._board.notify_status(f"script:{script.number}", script.status())

    def _halt(self, script: Script) -> None:
        script.running = False
        if script.run is not None:
            self._board.defer(script.run.stop)
            script.run = None

    def _find(self, params: Mapping[str, Any]) -> Script:
        number = integer(params, "id")
        script = self.by_id.get(number)
        if script is None:
            raise not_found("id", number)
        return script

    def _rpc_list(self, params: Dict[str, Any], origin: str) -> Any:
        return {"scripts": [{**script.config(), "running": script.running} for script in self.by_id.values()]}

    def _rpc_create(self, params: Dict[str, Any], origin: str) -> Any:
        number = next(n for n in range(1, len(self.by_id) + 2) if n not in self.by_id)
        name = params.get("name")
        self.by_id[number] = Script(number, name if isinstance(name, str) else f"script_{number}")
        self._board.flash()
        return {"id": number}

    def _rpc_put_code(self, params: Dict[str, Any], origin: str) -> Any:
        script = self._find(params)
        code = string(params, "code")
        if not code.isascii():  # one degree sign is enough to have it refused
            raise bad_argument("code")
        script.code = script.code + code if boolean(params, "append", False) else code
        self._board.flash()
        return {"len": len(script.code)}

    def _rpc_get_code(self, params: Dict[str, Any], origin: str) -> Any:
        script = self._find(params)
        offset = integer(params, "offset", 0)
        end = offset + min(integer(params, "len", CODE_PAGE), CODE_PAGE)
        return {"data": script.code[offset:end], "left": max(0, len(script.code) - end)}

    def _rpc_set_config(self, params: Dict[str, Any], origin: str) -> Any:
        script = self._find(params)
        config = mapping(params, "config")
        script.name = string(config, "name", script.name)
        script.enable = boolean(config, "enable", script.enable)
        return self._board.config_changed(f"script:{script.number}")

    def _rpc_start(self, params: Dict[str, Any], origin: str) -> Any:
        script = self._find(params)
        was_running = script.running
        self._start(script)
        return {"was_running": was_running}

    def _rpc_stop(self, params: Dict[str, Any], origin: str) -> Any:
        script = self._find(params)
        was_running = script.running
        self._halt(script)
        if was_running:
            self._board.notify_status(f"script:{script.number}", script.status())
        return {"was_running": was_running}

    def _rpc_delete(self, params: Dict[str, Any], origin: str) -> None:
        script = self._find(params)
        self._halt(script)
        del self.by_id[script.number]
        self._board.flash()

    def _rpc_eval(self, params: Dict[str, Any], origin: str) -> Any:
        """Run outside any turn: the script may call back into the device."""
        script = self._find(params)
        code = string(params, "code")
        if script.run is None:
            raise RpcError(FAILED_PRECONDITION, f"script {script.number} is not running in an engine")
        try:
            return {"result": script.run.eval(code)}
        except ScriptCrash as crash:
            self._crashed(script, crash)
            raise RpcError(FAILED_PRECONDITION, str(crash)) from crash
