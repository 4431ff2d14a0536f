"""The Sigenergy cloud's side of MQTT, played into a real broker: activation, telemetry, changes, alarms.

Never answers what is wrong: an activation with a bad token or a foreign station is followed by silence, as
at the vendor. It needs a broker (mosquitto) and may publish there what a client must not.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Mapping, Optional, Set, Tuple

from bridge.clock import Clock
from bridge.errors import LinkError
from bridge.link.broker import NOBODY, Broker, Login, Message
from bridge.sim.sigen_cloud_commands import command_problem
from bridge.sim.sigen_cloud_world import Station, World

KINDS = ("period", "change", "alarm")
ASK = "openapi/subscription/"
NOTHING: Mapping[str, str] = {}
TICK_S = 0.05  # how late an answer to an activation may be
LOG_MAX = 1000
# names of the vendor's telemetry for the keys of an energyFlow body, with sign and factor to W
FLOW_NAMES: Tuple[Tuple[str, str, float], ...] = (
    ("pvPowerW", "pvPower", 1000.0), ("gridActivePowerW", "gridPower", -1000.0),
    ("storageChargeDischargePowerW", "batteryPower", 1000.0), ("storageSOC%", "batterySoc", 1.0),
)


class SigenMqttSim:
    """One application's pushes. ``flow`` returns the cloud's energyFlow body (kW, gridPower + = export).

    ``layout`` is how topics are spelled: openapi (openapi/period/KEY/ID) or appkey (KEY/openapi/period/ID).
    ``renamed`` plays names changed in the portal, ``nested`` a value object that arrives as a JSON text.
    """

    def __init__(
        self, clock: Clock, broker: Broker, world: World, flow: Callable[[], Mapping[str, Any]], *,
        login: Login = NOBODY, layout: str = "openapi", period_s: float = 300.0, partial_s: float = 0.0,
        renamed: Mapping[str, str] = NOTHING, nested: bool = False, numeric: bool = False, turn: Any = None,
    ) -> None:
        from bridge.link.mqtt import MqttLink

        self._clock, self._world, self._flow, self._login = clock, world, flow, login
        self.layout, self.period_s, self.partial_s = layout, period_s, partial_s
        self.renamed, self.nested, self.numeric = renamed, nested, numeric
        self._turn = turn or threading.Lock()
        self._link = MqttLink("simulated cloud", broker, "sigen-cloud-sim", on_message=self._came)
        self._inbox: Deque[Message] = deque(maxlen=LOG_MAX)
        self._wake = threading.Event()
        self._closing = False
        self._thread: Optional[threading.Thread] = None
        self.active: Set[Tuple[str, str, str]] = set()  # kind, application, station
        self.activations: Deque[Tuple[str, bool]] = deque(maxlen=LOG_MAX)
        self.commands: Deque[Tuple[int, Dict[str, Any]]] = deque(maxlen=LOG_MAX)
        self._due: Dict[str, float] = {}
        self._last: Dict[str, Dict[str, str]] = {}

    def start(self) -> "SigenMqttSim":
        """Connect and begin; raises MqttError when the broker does not take us."""
        self._link.connect(self._login)
        self._link.subscribe([ASK + "+", "openapi/instruction/+"])
        self._thread = threading.Thread(target=self._run, name="sigen-mqtt-sim", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Disconnect."""
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(5.0)
        self._link.close()

    def __enter__(self) -> "SigenMqttSim":
        return self.start()

    def __exit__(self, *_problem: object) -> None:
        self.stop()

    def alarm(self, station: str, code: str = "1010", status: str = "generation") -> None:
        """Push an alarm of a station to everybody who asked for alarms."""
        row = {"systemId": station, "alarmCode": code, "status": status, "changeTime": int(self._clock.now() * 1000)}
        self._push("alarm", station, [row])

    def _came(self, message: Message) -> None:
        self._inbox.append(message)
        self._wake.set()

    def _run(self) -> None:
        while not self._closing and self._link.connected:
            self._wake.clear()
            try:
                while self._inbox:
                    self._take(self._inbox.popleft())
                self._push_due()
            except LinkError:
                return  # the broker is gone, and the simulator with it
            self._wake.wait(TICK_S)

    def _take(self, message: Message) -> None:
        try:
            body = json.loads(message.payload)
        except ValueError:
            return
        if not isinstance(body, dict):
            return
        with self._turn:
            token = self._world.token(str(body.get("accessToken")), self._clock.monotonic())
        if message.topic.startswith(ASK):
            self._activate(message.topic[len(ASK):], body, token)
        elif message.topic == "openapi/instruction/command":
            code = 401 if token is None else command_problem(body, token.text)
            self.commands.append((code, {key: body[key] for key in body if key != "accessToken"}))

    def _activate(self, kind: str, body: Mapping[str, Any], token: Any) -> None:
        good = kind in KINDS and token is not None and token.app is not None
        stations = body.get("systemIdList")
        for system_id in stations if good and isinstance(stations, list) else ():
            station = self._world.stations.get(system_id)
            if station is None or not self._world.sees(token, station):
                good = False
                continue
            self.active.add((kind, token.app.key, system_id))
            if kind == "period":
                self._due[system_id] = self._clock.monotonic()
                self._last.pop(system_id, None)
            elif kind == "change":
                self._push("change", system_id, [self._row(system_id, self._status(station))])
        self.activations.append((kind, good))

    def _push_due(self) -> None:
        now = self._clock.monotonic()
        for system_id, due in list(self._due.items()):
            if now < due:
                continue
            values = self._telemetry()
            last = self._last.get(system_id)
            changed = {name: text for name, text in values.items() if last is None or last.get(name) != text}
            self._last[system_id] = values
            self._due[system_id] = now + (self.partial_s or self.period_s)
            content = changed if self.partial_s else values
            if content:
                row = self._row(system_id, content)
                row["statisticsTime"] = int(self._clock.now())
                self._push("period", system_id, [row])

    def _telemetry(self) -> Dict[str, str]:
        flow = self._flow()
        values = {
            name: float(flow[key]) * factor + 0.0 for name, key, factor in FLOW_NAMES if flow.get(key) is not None
        }
        if "pvPowerW" in values and "storageChargeDischargePowerW" in values:
            values["inverterActivePowerW"] = values["pvPowerW"] - values["storageChargeDischargePowerW"]
        return {self.renamed.get(name, name): f"{number:.1f}" for name, number in values.items()}

    def _status(self, station: Station) -> Dict[str, str]:
        words = {"systemStatus": "1.0", "onOffGridStatus": "0.0"} if self.numeric else {
            "systemStatus": "running", "onOffGridStatus": "on"}
        return {**words, "operationalMode": f"{station.mode:.1f}", "chargeCutOffSOC%": "100.0",
                "dischargeCutOffSOC%": "5.0", "backupCutOffSOC%": "15.0"}

    def _row(self, system_id: str, values: Mapping[str, str]) -> Dict[str, Any]:
        value: Any = json.dumps(values) if self.nested else dict(values)
        return {"deviceType": "system", "systemId": system_id, "snCode": system_id, "value": value}

    def _push(self, kind: str, system_id: str, rows: List[Dict[str, Any]]) -> None:
        payload = json.dumps(rows, separators=(",", ":")).encode()
        for each, app_key, station in sorted(self.active):
            if each != kind or station != system_id:
                continue
            words = (app_key, "openapi", kind) if self.layout == "appkey" else ("openapi", kind, app_key)
            self._link.publish(Message("/".join((*words, system_id)), payload))
