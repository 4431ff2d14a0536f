"""A simulated Sigenergy cloud on a loopback port, OpenAPI and app API: limits, expiry, lock-out, faults.

Never reaches beyond this machine and never sleeps for the service's own times: hours pass as fast as the
clock that it is given. Plain HTTP; made for tests, demonstrations and other people's clients.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, Callable, Deque, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Union

from bridge.clock import Clock
from bridge.sim.sigen_cloud_app import AppService, app_route
from bridge.sim.sigen_cloud_app_world import AppWorld
from bridge.sim.sigen_cloud_bodies import DOUBLE_STANDARD, SCENARIOS, Five, flow_of
from bridge.sim.sigen_cloud_faults import Answer, Fault, FaultPlan, Outcome, blocked, damaged, is_library
from bridge.sim.sigen_cloud_routes import Request, Service, route
from bridge.sim.sigen_cloud_server import ServedPort
from bridge.sim.sigen_cloud_world import Account, App, Station, World

LOG_MAX = 20_000  # requests remembered; the simulator may run for days
DEFAULT_APPS = (App(),)
DEFAULT_ACCOUNTS = (Account(),)
Answerer = Union[Service, AppService]


class Entry(NamedTuple):
    """One request in the log: when by both clocks, what, and what it got; ``body`` holds test data only."""

    at: float
    mono: float
    endpoint: str
    method: str
    path: str
    status: int
    code: Optional[int]
    user_agent: str
    headers: Mapping[str, str]
    body: bytes


class SigenCloudSim:
    """The service; ``values`` returns (pv_w, soc_pct, battery_w, grid_w, load_w) in the model's signs.

    Without ``values`` the power flow is that of ``scenario`` (a name in SCENARIOS). ``firewall`` refuses
    the User-Agents of libraries, ``double`` names the fields that are JSON inside a string.
    """

    def __init__(
        self, clock: Clock, host: str = "127.0.0.1", port: int = 0, *,
        values: Optional[Callable[[], Five]] = None, scenario: str = "home",
        apps: Sequence[App] = DEFAULT_APPS, accounts: Sequence[Account] = DEFAULT_ACCOUNTS,
        stations: Optional[Sequence[Station]] = None, firewall: bool = True,
        double: Iterable[str] = DOUBLE_STANDARD,
    ) -> None:
        self._clock = clock
        self.values, self.scenario, self.firewall = values, scenario, firewall
        self.flow_override: Optional[Mapping[str, Any]] = None
        self.world = World(apps, accounts, (Station(),) if stations is None else stations)
        self.service = Service(self.world, self.flow)
        self.service.double = frozenset(double)
        self.app_world = AppWorld(self.world)
        self.app = AppService(self.app_world, self.flow, self.service.disabled)
        self.faults = FaultPlan()
        self.log: Deque[Entry] = deque(maxlen=LOG_MAX)
        self._turn = threading.Lock()
        self._served = ServedPort(host, port, self.handle)

    def start(self) -> "SigenCloudSim":
        """Open the port; raises OSError when it is taken."""
        self._served.start()
        return self

    def stop(self) -> None:
        """Close the port and end hanging calls."""
        self._served.stop()

    def __enter__(self) -> "SigenCloudSim":
        return self.start()

    def __exit__(self, *_problem: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port in use."""
        return self._served.port

    @property
    def base_url(self) -> str:
        """What to set cloud.base_url and cloud.app_base_url to."""
        return self._served.address

    def count(self, endpoint: str) -> int:
        """Return how many requests an endpoint has got, refused ones included."""
        return sum(1 for entry in self.log if entry.endpoint == endpoint)

    def counts(self) -> Dict[str, int]:
        """Return the number of requests of every endpoint that was called."""
        return {name: self.count(name) for name in sorted({entry.endpoint for entry in self.log})}

    def times(self, endpoint: str) -> List[float]:
        """Return the monotonic times of an endpoint's requests."""
        return [entry.mono for entry in self.log if entry.endpoint == endpoint]

    def fail(self, endpoint: str, kind: str, times: int = 1, **details: Any) -> None:
        """Let the next ``times`` calls of ``endpoint`` ("*" = any) meet a fault; 0 = until cleared."""
        self.faults.add(endpoint, Fault(kind, **details), times)

    def revoke_tokens(self) -> None:
        """Make every token invalid before its time, as a password change does; refresh tokens too."""
        self.world.tokens.clear()
        self.app_world.tokens.clear()

    @property
    def saved_tariffs(self) -> List[Mapping[str, Any]]:
        """The tariff payloads that were accepted, oldest first."""
        return self.app_world.saved_tariffs

    def approve(self, system_id: str) -> None:
        """Play the owner who confirms an onboarding."""
        self.world.approve(system_id, next(iter(self.world.apps.values())))

    def switch_off(self, endpoint: str, status: int = 404) -> None:
        """Let an endpoint not exist (404) or not take its method (405), as one of two spellings may not."""
        self.service.disabled[endpoint] = status

    def flow(self) -> Mapping[str, Any]:
        """Return the energyFlow body of this moment (kW; gridPower + = export)."""
        if self.flow_override is not None:
            return self.flow_override
        return flow_of(self.values()) if self.values is not None else SCENARIOS[self.scenario]

    def handle(self, request: Request) -> Outcome:
        """Judge one request; faults and firewall stand in front of the service."""
        endpoint, _ids = route(request.method, request.target)
        service: Answerer = self.service
        if endpoint == "unknown":
            endpoint, _ids = app_route(request.method, request.target)
            service = self.app
        with self._turn:
            fault = self.faults.take(endpoint)
            agent = request.headers.get("user-agent", "")
            if self.firewall and is_library(agent):
                answer = blocked()
            elif fault is not None and fault.kind not in ("truncated", "slow", "hang", "drop"):
                answer = damaged(fault, Answer(200, ""))
            else:
                answer = service.answer(request, self._clock.monotonic(), self._clock.now())
                answer = answer if fault is None else damaged(fault, answer)
            self.log.append(Entry(
                self._clock.now(), self._clock.monotonic(), endpoint, request.method, request.target,
                answer.status, answer.code, agent, dict(request.headers), request.body,
            ))
        return Outcome(answer, fault)
