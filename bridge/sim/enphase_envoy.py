"""The simulated Envoy: HTTPS with a certificate of its own, firmware 7's token rules, and an endless stream.

Never forgives what a real one does not: no token is 401 with a page of HTML, a page for installers is 401 for
an owner, POST to a page that is only read is 405. Firmware before 7 speaks plain HTTP and wants no token.
"""

from __future__ import annotations

import json
import shutil
import ssl
import tempfile
import threading
from collections import deque
from typing import Any, Callable, Deque, Dict, NamedTuple, Optional, Tuple

from bridge.clock import Clock
from bridge.errors import ConfigError
from bridge.sim import enphase_bodies as bodies
from bridge.sim.enphase_server import STREAM, EnvoyServer
from bridge.sim.enphase_tls import make_certificate, server_context
from bridge.sim.enphase_world import EnphaseWorld

FAULTS = ("slow", "hang", "gone", "refuse", "cut", "certificate", "revoke", "clock", "busy")
REFUSED = (
    '<!DOCTYPE html>\n<html lang="en"><head><title>Authentication Required</title>'
    '<meta http-equiv="refresh" content="0; url=/home"></head><body>401 Authorization Required</body></html>\n'
)
OPEN = ("/info", "/info.xml")
INSTALLER = ("/installer/", "/ivp/peb/devstatus", "/ivp/ensemble/submod", "/ivp/grest/")
WRITABLE = {"/admin/lib/tariff": "PUT", "/ivp/ensemble/relay": "POST", "/ivp/ss/dry_contact_settings": "POST",
            "/ivp/livedata/stream": "POST", "/ivp/sc/pvlimit": "PUT"}
STOP_POLL_S = 0.01


class Seen(NamedTuple):
    """One request as the Envoy got it."""

    method: str
    target: str
    headers: Dict[str, str]
    body: bytes
    status: int


class EnvoySim:
    """The device; ``files`` are further paths and their bytes, ``stream_s`` the pause between two events."""

    def __init__(self, world: EnphaseWorld, clock: Clock, host: str = "127.0.0.1", port: int = 0) -> None:
        self.world, self.clock, self._host, self._port = world, clock, host, port
        self.files: Dict[str, bytes] = {}
        self.stream_s, self.stream_events = 1.0, 0  # 0 events is endless
        self.event: Callable[[], bytes] = lambda: bodies.stream_event(world)
        self.faults: Dict[str, Any] = {}
        self.log: Deque[Seen] = deque(maxlen=10_000)
        self.connections = 0
        self.stopping = threading.Event()
        self.context: Optional[ssl.SSLContext] = None
        self._server: Optional[EnvoyServer] = None
        self._certificates = 0
        self._directory = ""

    def start(self) -> None:
        """Make a certificate once and open the port; raises OSError."""
        if self.world.wants_token and self.context is None:
            self._directory = tempfile.mkdtemp(prefix="sim-envoy-")
            self._new_certificate()
        self.stopping.clear()
        self._server = EnvoyServer((self._host, self._port), self)
        self._port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(STOP_POLL_S,), daemon=True).start()

    def stop(self) -> None:
        """Close the port and every connection; ``start`` opens the same one again."""
        self.stopping.set()
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            server.cut_all()

    def close(self) -> None:
        """Stop for good."""
        self.stop()
        if self._directory:
            shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def port(self) -> int:
        """The port in use."""
        return self._port

    @property
    def url(self) -> str:
        """What to set enphase.local_url to."""
        return f"{'https' if self.world.wants_token else 'http'}://{self._host}:{self._port}"

    def fault(self, name: str, **params: Any) -> None:
        """Misbehave from now on: see FAULTS."""
        if name not in FAULTS:
            raise ConfigError(f"sim enphase: unknown fault {name}; one of {', '.join(FAULTS)}")
        if name == "certificate":
            self._new_certificate()
            self.cut_connections()
        elif name == "revoke":
            self.world.revoke()
        elif name == "gone":
            self.stop()
        else:
            self.faults[name] = params

    def clear(self) -> None:
        """Behave again; a port that was closed is opened."""
        self.faults.clear()
        if self._server is None:
            self.start()

    def note(self, method: str, target: str, headers: Dict[str, str], body: bytes, status: int) -> None:
        """Write one request into the log."""
        self.log.append(Seen(method, target, headers, body, status))

    def cut_connections(self) -> None:
        """Break every connection that is open."""
        if self._server is not None:
            self._server.cut_all()

    def count(self, path: str) -> int:
        """Return how many requests a path got."""
        return sum(1 for seen in self.log if seen.target.partition("?")[0] == path)

    def now(self) -> float:
        """Return the Envoy's own time."""
        return self.clock.now() + float(self.faults.get("clock", {}).get("s", 0.0))

    def _new_certificate(self) -> None:
        self._certificates += 1
        self.context = server_context(make_certificate(self._directory, f"envoy-{self._certificates}"))

    def answer(self, method: str, target: str, headers: Dict[str, str], body: bytes) -> Tuple[int, str, bytes]:
        """Return status, media type and body for a request."""
        path = target.partition("?")[0]
        if "busy" in self.faults:
            return 503, "text/html", b"<html>503 Service Temporarily Unavailable</html>"
        if self.world.wants_token and path not in OPEN:
            user = self.world.user_of(headers.get("authorization", ""), self.now())
            if user is None or "refuse" in self.faults:
                return 401, "text/html", REFUSED.encode()
            if path.startswith(INSTALLER) and user != "installer":
                return 401, "text/html", REFUSED.encode()
        if path == "/auth/check_jwt":
            return 200, "text/html", b"<!DOCTYPE html><h2>Valid token.</h2>\n"
        wanted = WRITABLE.get(path)
        if wanted is not None and method == wanted:
            self.world.written[path] = _json(body)
            return 200, "application/json", json.dumps(self.world.written[path]).encode()
        if method not in ("GET", "HEAD"):
            return 405, "text/html", b"<html>405 Not Allowed</html>"
        return self._page(path)

    def _page(self, path: str) -> Tuple[int, str, bytes]:
        world, now = self.world, self.now()
        if path == "/stream/meter" and world.metered:
            return 200, STREAM, b""
        if path in self.files:
            return 200, "application/octet-stream", self.files[path]
        if path in OPEN:
            return 200, "text/xml", bodies.info(world, now).encode()
        if path in self.world.written:
            return 200, "application/json", json.dumps(self.world.written[path]).encode()
        found: Dict[str, Callable[[], Any]] = {
            "/production.json": lambda: bodies.production(world, now),
            "/production": lambda: bodies.production(world, now),
            "/api/v1/production": lambda: bodies.v1_production(world),
            "/api/v1/production/inverters": lambda: bodies.v1_inverters(world, now),
            "/ivp/meters": lambda: bodies.meters(world),
            "/ivp/meters/readings": lambda: bodies.readings(world, now),
            "/ivp/pdm/device_data": lambda: bodies.device_data(world, now),
            "/ivp/ensemble/inventory": list, "/inventory.json": list, "/ivp/ensemble/generator": dict,
            "/ivp/ss/gen_config": dict, "/ivp/ss/gen_mode": dict, "/ivp/ss/gen_schedule": dict,
            "/admin/lib/tariff": bodies.tariff,
            "/home": lambda: bodies.home(world, now), "/home.json": lambda: bodies.home(world, now),
        }
        make = found.get(path)
        if make is None or (not world.wants_token and path.startswith("/ivp/")):
            return 404, "text/html", b"<html>404 Not Found</html>"
        return 200, "application/json", json.dumps(make(), indent=1).encode()


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return {}
