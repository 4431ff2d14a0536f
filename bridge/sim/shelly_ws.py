"""One WebSocket client of a simulated Shelly.

Never goes beyond vendor pages "RPC Protocol" and "Notifications": text frames, no authentication at the
upgrade; each frame carries its own ``auth``; notifications only for a client that has sent a ``src``.
"""

from __future__ import annotations

import struct
import threading
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional

from bridge.sim.shelly_auth import TOO_MANY
from bridge.sim.shelly_device import Device
from bridge.sim.shelly_faults import GARBAGE, Faults, Plan
from bridge.sim.shelly_frames import BINARY, CLOSE, PING, PONG, TEXT, FrameReader, ProtocolError, encode
from bridge.sim.shelly_link import Connection
from bridge.sim.shelly_rpc import Outcome, RpcError, dumps, loads

RECEIVE_BYTES = 65_536


class Session:
    """One WebSocket client."""

    def __init__(self, connection: Connection, device: Device, faults: Faults,
                 wait_turn: Callable[[float], None], client_reply: Callable[[Dict[str, Any]], None]) -> None:
        self._connection = connection
        self._device = device
        self._faults = faults
        self._wait_turn = wait_turn
        self._client_reply = client_reply
        self._queue: Deque[bytes] = deque()
        self._sending = threading.Lock()
        self._name: Optional[str] = None  # its ``src``, once given

    def run(self, received: bytes) -> None:
        """Serve the client until either side ends it; ``received`` came with the upgrade."""
        reader = FrameReader()
        counters = self._device.board.counters
        try:
            while True:
                for opcode, payload in reader.feed(received):
                    if self._faults.on("ws_half_open") or self._faults.on("silent"):
                        continue
                    with counters.lock:
                        counters.ws_frames_in += 1
                    if not self._take(opcode, payload):
                        return
                received = self._connection.receive(RECEIVE_BYTES)
                if not received:
                    return
        except ProtocolError as error:
            self.close(error.code)

    def close(self, code: int) -> None:
        """Send a close frame and end the connection."""
        self._send(encode(CLOSE, struct.pack(">H", code)))
        self._connection.end()

    def drop(self, reset: bool = False) -> None:
        """End the connection without a close frame."""
        self._connection.end(reset=reset)

    def offer(self, method: str, params_text: str) -> None:
        """Queue a notification, if the client has said who it is."""
        if self._name is not None:
            text = (f'{{"src":{dumps(self._device.identity.id)},"dst":{dumps(self._name)},'
                    f'"method":"{method}","params":{params_text}}}')
            self._queue.append(encode(TEXT, text.encode()))

    def flush(self) -> None:
        """Send what is queued, in order."""
        if not self._queue:
            return
        with self._sending:
            frames = []
            while self._queue:
                frames.append(self._queue.popleft())
            self._transmit(frames)

    def ask(self, number: int, method: str, params: Any) -> None:
        """Send the client a request of the device's own."""
        frame = {"id": number, "src": self._device.identity.id, "dst": self._name, "method": method,
                 "params": params}
        self._send(encode(TEXT, dumps(frame).encode()))

    def _send(self, frame: bytes) -> None:
        self._queue.append(frame)
        self.flush()

    def _transmit(self, frames: List[bytes]) -> None:
        if frames and not (self._faults.on("ws_half_open") or self._faults.on("silent")):
            counters = self._device.board.counters
            with counters.lock:
                counters.ws_frames_out += len(frames)
            self._connection.send(b"".join(frames))

    def _take(self, opcode: int, payload: bytes) -> bool:
        """Handle one message; False ends the session."""
        if opcode == PING:
            self._send(encode(PONG, payload))
        elif opcode == CLOSE:
            self._send(encode(CLOSE, payload[:2]))
            return False
        elif opcode in (TEXT, BINARY):
            try:
                frame = loads(payload.decode("utf-8"))
            except ValueError:
                return True  # a bad frame is ignored; the channel stays (heritage behaviour)
            if isinstance(frame, dict):
                return self._take_frame(frame)
        return True

    def _take_frame(self, frame: Dict[str, Any]) -> bool:
        method = frame.get("method")
        if not isinstance(method, str):
            self._client_reply(frame)
            return True
        method = self._device.canonical(method)
        verdict = self._device.admit_frame(method, frame.get("auth"))
        if verdict.status != 200:
            message = TOO_MANY
            if verdict.status == 401:
                message = dumps(self._device.digest.frame_challenge(verdict))
            self._reply(frame, Outcome(None, RpcError(verdict.status, message)), "")
            self.flush()
            return True
        if isinstance(frame.get("src"), str) and frame["src"] and self._may_listen(frame):
            self._name = frame["src"]
        return self._carry_out(frame, method, self._faults.plan(method))

    def _may_listen(self, frame: Dict[str, Any]) -> bool:
        return self._device.digest.ha1 is None or "auth" in frame

    def _carry_out(self, frame: Dict[str, Any], method: str, plan: Plan) -> bool:
        self._wait_turn(plan.delay_s)
        if plan.drop == "before":
            return False
        if plan.hang:
            return True
        if plan.error is not None:
            self._reply(frame, Outcome(None, plan.error), plan.mangle)
            self.flush()
            return True
        if plan.drop == "after":
            self._connection.mute()
            self._device.call(method, frame.get("params"), "ws", lambda outcome: None)
            return False
        self._device.call(method, frame.get("params"), "ws",
                          lambda outcome: self._reply(frame, outcome, plan.mangle))
        self.flush()
        return plan.mangle != "truncated"

    def _reply(self, frame: Dict[str, Any], outcome: Outcome, mangle: str) -> None:
        if "id" not in frame:
            return  # a call without an id wants no answer
        reply: Dict[str, Any] = {"id": frame["id"], "src": self._device.identity.id}
        if "src" in frame:
            reply["dst"] = frame["src"]
        if outcome.error is None:
            reply["result"] = outcome.result
        else:
            reply["error"] = outcome.error.body()
        whole = encode(TEXT, dumps(reply).encode())
        if mangle == "garbage":
            whole = encode(TEXT, GARBAGE)
        elif mangle == "truncated":
            whole = whole[:len(whole) // 2]
        self._queue.append(whole)
