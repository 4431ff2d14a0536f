"""From what was seen of this machine, of the running bridge and of the cloud's settings to findings.

Pure. Never looks at a file or a port itself.
"""

from __future__ import annotations

from typing import Any, List, Mapping, NamedTuple, Optional, Tuple

from bridge.control.diagnosis import Finding, finding

PYTHON_FROM = (3, 9)


class Module(NamedTuple):
    """A package that some setting needs: its import name, its name on PyPI and in the OpenWrt feed."""

    name: str
    package: str
    feed: str
    needed_for: str


class MachineSeen(NamedTuple):
    """This machine; ``missing`` are modules that settings need, ``flash`` that the state lies on a router's flash."""

    python: Tuple[int, int]
    missing: Tuple[Module, ...]
    websocket: bool
    clock_synced: bool
    state_path: str
    state_writable: bool
    flash: bool
    damaged: Tuple[str, ...]


class BridgeSeen(NamedTuple):
    """The running bridge; ``outcome`` is off, absent, silent, foreign, token or answers."""

    outcome: str
    listen: str = ""
    health: Mapping[str, Any] = {}
    snapshot: Mapping[str, Any] = {}

    @property
    def runs(self) -> bool:
        """True when a bridge answered."""
        return self.outcome == "answers"

    @property
    def reads_plant(self) -> bool:
        """True when it runs and is reading a plant by Modbus right now."""
        return self.runs and bool(self.health.get("ok")) and str(self.snapshot.get("source")).startswith("modbus")


def machine_findings(seen: MachineSeen) -> List[Finding]:
    """Return what this machine lacks."""
    version = ".".join(str(part) for part in seen.python)
    found = []
    if seen.python < PYTHON_FROM:
        found.append(finding("python_old", f"machine: Python {version}"))
    for module in seen.missing:
        what = f"machine: the Python module {module.name} is not there, {module.needed_for} needs it"
        found.append(finding("module_missing", what, package=module.package, feed=module.feed))
    if not seen.clock_synced:
        found.append(finding("clock_not_set", "machine: its clock is years behind; cloud and tariffs wait for it"))
    path = seen.state_path
    if not seen.state_writable:
        found.append(finding("state_not_writable", f"machine: state directory {path} cannot be written", path=path))
    if seen.flash:
        found.append(finding("state_on_flash", f"machine: state directory {path} is on the router's flash", path=path))
    for name in seen.damaged:
        found.append(finding("state_damaged", f"machine: {name} is not readable", path=name))
    if not found:
        found.append(finding("machine_ok", f"machine: Python {version}, modules, clock and state directory are fine"))
    if not seen.websocket:
        what = "machine: without the Python module websocket every value costs the Shelly a connection"
        found.append(finding("module_optional", what, package="websocket-client"))
    return found


def bridge_findings(seen: BridgeSeen) -> List[Finding]:
    """Return how the running bridge is."""
    if seen.outcome != "answers":
        code, what = ABSENT[seen.outcome]
        return [finding(code, what.format(listen=seen.listen))]
    found = []
    if not seen.health.get("ok"):
        reason = seen.health.get("reason") or "no reading"
        found.append(finding("bridge_unhealthy", f"bridge: runs, but shows no valid values ({reason})"))
    for sink in seen.health.get("sinks") or ():
        if not sink.get("ok") and sink.get("error"):
            code = "mqtt_sink_failing" if sink.get("name") == "mqtt" else "bridge_sink_failing"
            found.append(finding(code, f"bridge: sink {sink.get('name')} fails ({sink['error']})"))
    if not found:
        found.append(finding("bridge_ok", f"bridge: runs, version {seen.health.get('version')}"))
    return found


ABSENT = {
    "off":     ("status_off", "bridge: status.listen is off, so it is not known whether it runs"),
    "absent":  ("bridge_not_running", "bridge: nothing answers at {listen}"),
    "silent":  ("bridge_silent", "bridge: {listen} takes connections and answers nothing"),
    "foreign": ("status_foreign", "bridge: what answers at {listen} is another program"),
    "token":   ("status_token", "bridge: {listen} wants a token that these settings do not have"),
}


class CloudSettings(NamedTuple):
    """Which of the cloud's settings are there; values are not wanted here."""

    app_key: bool
    app_secret: bool
    username: bool
    password: bool
    region: bool
    system_id: bool


class CloudSeen(NamedTuple):
    """What asking the cloud once gave; ``outcome`` is ok, login, unreachable, limited or refused."""

    outcome: str
    text: str = ""
    wait_s: Optional[float] = None
    systems: Tuple[str, ...] = ()


def cloud_settings_findings(seen: CloudSettings) -> List[Finding]:
    """Return what is missing before the cloud can step in."""
    if not any((seen.app_key, seen.app_secret, seen.username, seen.password)):
        return [finding("cloud_not_set", "cloud: not configured")]
    missing = []
    if seen.app_key != seen.app_secret:
        missing.append("cloud.app_secret" if seen.app_key else "cloud.app_key")
    elif not seen.app_key and seen.username != seen.password:
        missing.append("cloud.password" if seen.username else "cloud.username")
    if not seen.region:
        missing.append("cloud.region")
    if not seen.system_id:
        missing.append("cloud.system_id")
    if missing:
        return [finding("cloud_incomplete", f"cloud: {', '.join(missing)} is missing", missing=" and ".join(missing))]
    return [finding("cloud_ok", "cloud: configured")]


def cloud_findings(seen: CloudSeen, system_id: str, by_key: bool) -> List[Finding]:
    """Return what one call of the cloud showed."""
    what = f"cloud: {seen.text}"
    if seen.outcome == "login":
        keys = "cloud.app_key and cloud.app_secret" if by_key else "cloud.username and cloud.password"
        return [finding("cloud_login", what, keys=keys)]
    if seen.outcome == "limited":
        wait_s = 300 if seen.wait_s is None else seen.wait_s
        wait = f"{wait_s / 60:.0f} min" if wait_s >= 60 else f"{wait_s:.0f} s"
        return [finding("cloud_limited", what, wait=wait)]
    if seen.outcome != "ok":
        return [finding(f"cloud_{seen.outcome}", what)]
    if system_id and system_id not in seen.systems:
        systems = ", ".join(seen.systems) or "none yet: onboard the plant first"
        return [finding("cloud_station", f"cloud: lists no system {system_id}", systems=systems)]
    return [finding("cloud_ok", f"cloud: answers, {len(seen.systems)} system(s)")]
