"""The simulated Enlighten and token service: login, both ways to a token, and what goes wrong there.

Never reaches beyond this machine. Plain HTTP; the real ones are two hosts, here they are one.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from typing import Deque, Dict, NamedTuple, Optional
from urllib.parse import parse_qsl, urlsplit

from bridge.clock import Clock
from bridge.sim.enphase_world import EnphaseWorld
from bridge.sim.sigen_cloud_faults import Answer, Fault, Outcome
from bridge.sim.sigen_cloud_routes import Request
from bridge.sim.sigen_cloud_server import CloudServer

STOP_POLL_S = 0.01
FAULTS = ("down", "html", "blocked", "no-session-way", "no-tokens-way", "bare", "json", "garbage-token", "hang")
SIGN_IN = "<!DOCTYPE html><html><body>You are being <a href=\"https://enlighten.example/login\">redirected</a></body></html>"


class Entry(NamedTuple):
    """One request: ``form`` and ``content`` are what it carried (test data only)."""

    method: str
    path: str
    query: Dict[str, str]
    headers: Dict[str, str]
    form: Dict[str, str]
    content: object
    status: int


class EnlightenSim:
    """The cloud side; ``faults`` are the names of FAULTS that hold now."""

    def __init__(self, world: EnphaseWorld, clock: Clock, host: str = "127.0.0.1", port: int = 0) -> None:
        self.world, self._clock, self._host, self._port = world, clock, host, port
        self.faults: Dict[str, bool] = {}
        self.log: Deque[Entry] = deque(maxlen=10_000)
        self._stopping = threading.Event()
        self._server: Optional[CloudServer] = None

    def start(self) -> None:
        """Open the port; raises OSError when it is taken."""
        self._stopping.clear()
        self._server = CloudServer((self._host, self._port), self.handle, self._stopping)
        self._port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(STOP_POLL_S,), daemon=True).start()

    def stop(self) -> None:
        """Close the port; ``start`` opens the same one again."""
        self._stopping.set()
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            server.cut_all()

    @property
    def url(self) -> str:
        """What to set enphase.remote_url and enphase.token_url to."""
        return f"http://{self._host}:{self._port}"

    def count(self, path: str = "") -> int:
        """Return how many requests came, for one path or all."""
        return sum(1 for entry in self.log if path in ("", entry.path))

    def handle(self, request: Request) -> Outcome:
        """Judge one request."""
        parts = urlsplit(request.target)
        media = request.headers.get("content-type", "")
        text = request.body.decode("utf-8", "replace")
        form = dict(parse_qsl(text, keep_blank_values=True)) if "form-urlencoded" in media else {}
        content = _json(text) if "json" in media else None
        query = dict(parse_qsl(parts.query))
        answer = self._answer(request.method, parts.path, query, request.headers, form, content)
        self.log.append(Entry(request.method, parts.path, query, dict(request.headers), form, content, answer.status))
        return Outcome(answer, Fault("hang") if self.faults.get("hang") else None)

    def _answer(
        self, method: str, path: str, query: Dict[str, str], headers: object, form: Dict[str, str], content: object,
    ) -> Answer:
        if self.faults.get("down"):
            return Answer(503, "<html>Service Unavailable</html>", content_type="text/html")
        if self.faults.get("html"):
            return Answer(200, SIGN_IN, content_type="text/html")
        if method == "POST" and path == "/login/login.json":
            return self._login(form)
        if method == "GET" and path == "/entrez-auth-token":
            cookies = dict(pair.strip().partition("=")[::2] for pair in str(headers["cookie"]).split(";")) \
                if isinstance(headers, dict) and "cookie" in headers else {}
            return self._session_way(query.get("serial_num", ""), cookies.get("_enlighten_4_session", ""))
        if method == "POST" and path == "/tokens" and isinstance(content, dict):
            return self._tokens_way(content)
        return Answer(404, "<html>The page you were looking for doesn't exist</html>", content_type="text/html")

    def _login(self, form: Dict[str, str]) -> Answer:
        session = self.world.login(form)
        if session is None:
            return Answer(401, '{"message":"Invalid email or password"}')
        if self.faults.get("blocked"):
            return Answer(200, '{"success":true,"isBlocked":true}')
        if not session:
            return Answer(200, '{"success":true,"isBlocked":false}')
        body = {"message": "success", "session_id": session, "manager_token": "simulated", "is_consumer": True,
                "system_id": "1234567", "redirect_url": ""}
        return Answer(200, json.dumps(body))

    def _session_way(self, serial: str, session: str) -> Answer:
        if self.faults.get("no-session-way"):
            return Answer(404, SIGN_IN, content_type="text/html")
        if session not in self.world.sessions:
            return Answer(302, SIGN_IN, content_type="text/html", headers=(("Location", "https://enlighten.example/"),))
        if serial != self.world.serial:
            return Answer(403, '{"message":"Not authorized for this serial number"}')
        now = self._clock.now()
        token = self._token(now)
        if self.faults.get("bare"):
            return Answer(200, token, content_type="text/plain")
        body = {"generation_time": int(now), "token": token, "expires_at": int(now + self.world.life_s)}
        return Answer(200, json.dumps(body))

    def _tokens_way(self, content: Dict[str, object]) -> Answer:
        if self.faults.get("no-tokens-way"):
            return Answer(403, "Forbidden", content_type="text/plain")
        known = content.get("session_id") in self.world.sessions
        if not known or content.get("username") != self.world.account.username:
            return Answer(401, "Unauthorized", content_type="text/plain")
        if content.get("serial_num") != self.world.serial:
            return Answer(400, "Bad Request", content_type="text/plain")
        token = self._token(self._clock.now())
        if self.faults.get("json"):
            return Answer(200, json.dumps({"token": token}))
        return Answer(200, token, content_type="text/plain")

    def _token(self, now: float) -> str:
        return "this is no token" if self.faults.get("garbage-token") else self.world.issue(now)


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None
