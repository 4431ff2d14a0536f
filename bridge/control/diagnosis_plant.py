"""From what was seen of a plant on Modbus TCP, and of its values, to findings.

Pure. Never guesses past the evidence: what was not looked at gives no finding.
"""

from __future__ import annotations

from typing import Any, List, Mapping, NamedTuple, Optional, Tuple

from bridge.control.diagnosis import Finding, finding
from bridge.control.phases import PhaseFinding

SIGENERGY_MACS = ("0C:47:A9:9", "BC:31:98:D")
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, BUSY, NO_PATH, NO_TARGET = 1, 2, 6, 10, 11
FLAKY_FAILURES = 2  # one lost answer in a dozen is the weather
CLOCK_OFF_S = 120.0
FROZEN_AFTER_S = 5.0  # the plant's clock has a step of one second
IDLE_S = 2.0
OLD_LEVEL = (2, 8)  # the protocol that brought the house load, 30284
REMOTE_EMS_MODE, VPP_MODE = 7, 6
METER_BITS = 0b111  # of 30280: gateway, meter and AC sensor communication


class LinkSeen(NamedTuple):
    """What knocking at the plant's port showed; ``outcome`` is a word of bridge.link.reach.

    ``answer`` is what a real read gave: ok, silent, garbled or exception. ``slow_s`` is set when an answer
    came after the configured time only, ``other_*`` when something else than the settings works.
    """

    peer: str
    host: str
    port: int
    unit: int
    outcome: str
    own_address: str = ""
    mac: str = ""
    usual_port: Optional[int] = None
    modbus: bool = True
    slow_s: Optional[float] = None
    answer: str = ""
    exception: int = 0
    other_unit: Optional[int] = None
    other_function: Optional[int] = None
    needs_gap: bool = False
    failures: int = 0


class Look(NamedTuple):
    """One look at the values: what plausibility says of it alone, and both clocks."""

    mono: float
    at: float
    kind: str = ""
    reason: str = ""
    inverted: Optional[bool] = None
    clock: Optional[float] = None


class DataSeen(NamedTuple):
    """What the plant's registers said; ``values`` by role, ``alarms`` in words, ``missing`` by name."""

    protocol: Optional[str] = None
    values: Mapping[str, Any] = {}
    looks: Tuple[Look, ...] = ()
    missing: Tuple[str, ...] = ()
    alarms: Tuple[str, ...] = ()
    remote_ems: Optional[int] = None
    control_mode: str = ""
    asked: int = 0
    failed: int = 0
    idle_closed: bool = False
    sign_set: bool = False
    clock_synced: bool = True
    phases: Tuple[PhaseFinding, ...] = ()


def link_findings(seen: LinkSeen) -> List[Finding]:
    """Return why the plant does not answer as it should; empty when it does."""
    peer = f"plant {seen.peer}"
    facts = {"host": seen.host, "own": seen.own_address, "peer": seen.peer}
    if seen.outcome == "refused":
        return [_refused(seen)]
    if seen.outcome != "answers":
        code, what = UNANSWERED[seen.outcome]
        if seen.outcome == "silent" and seen.other_unit is not None:
            return [_unit(seen, f"{peer}: unit {seen.unit} does not answer, unit {seen.other_unit} does")]
        return [finding(code, f"{peer}: {what}", **facts)]
    if not seen.modbus:
        return [finding("plant_not_modbus", f"{peer}: the answer is not Modbus TCP", **facts)]
    found = []
    if seen.slow_s is not None:
        found.append(finding("plant_slow", f"{peer}: answers, but only after {seen.slow_s:.1f} s"))
    if seen.needs_gap:
        found.append(finding("plant_gap", f"{peer}: ignores a question that comes within a second of the last one"))
    if seen.answer == "garbled":
        found.append(finding("plant_garbled", f"{peer}: the answers do not belong to the questions"))
    if seen.answer == "exception":
        found.append(_exception(seen))
    return found


UNANSWERED = {
    "no_name":     ("plant_name", "this name has no address"),
    "no_route":    ("plant_no_route", "this machine has no route to that address"),
    "unreachable": ("plant_unreachable", "nothing answers at that address"),
    "hangs_up":    ("plant_hangs_up", "closes the connection before it is asked anything"),
    "resets":      ("plant_resets", "resets the connection instead of answering"),
    "closes":      ("plant_closes", "closes the connection instead of answering"),
    "silent":      ("plant_silent", "takes connections and answers no question"),
}


def _refused(seen: LinkSeen) -> Finding:
    what = f"plant {seen.peer}: connection refused"
    if seen.usual_port is not None:
        return finding("plant_port", f"{what}, but port {seen.usual_port} is open", port=seen.usual_port)
    if not seen.mac:
        return finding("plant_refused", what)
    if is_sigenergy(seen.mac):
        return finding("modbus_off", f"{what} by a Sigenergy device (MAC {seen.mac}): Modbus TCP is off")
    return finding("plant_other_device", f"{what} by a device that is not Sigenergy's (MAC {seen.mac})")


def _exception(seen: LinkSeen) -> Finding:
    what = f"plant {seen.peer} unit {seen.unit}: answers with exception {seen.exception}"
    if seen.other_unit is not None:
        return _unit(seen, f"{what}, unit {seen.other_unit} has the plant's registers")
    if seen.other_function is not None:
        what = f"{what}, but function {seen.other_function} works"
        return finding("plant_function", what, function=seen.other_function)
    if seen.exception in (ILLEGAL_ADDRESS, NO_PATH, NO_TARGET):
        return finding("plant_no_registers", f"{what}, and no other unit has the plant's registers")
    return finding("plant_busy" if seen.exception == BUSY else "plant_exception", what)


def _unit(seen: LinkSeen, what: str) -> Finding:
    return finding("plant_unit", what, unit=seen.other_unit)


def is_sigenergy(mac: str) -> bool:
    """Say whether a MAC, with colons, is one of Sigenergy's."""
    return mac.upper().startswith(SIGENERGY_MACS)


def neighbour_findings(neighbours: Mapping[str, str]) -> List[Finding]:
    """Return the warning that more than the gateway is on the home network; ``neighbours`` are MACs by IP."""
    ours = {mac.upper(): ip for ip, mac in sorted(neighbours.items()) if is_sigenergy(mac)}
    if len(ours) < 2:
        return []
    return [finding("two_on_lan", f"{len(ours)} Sigenergy devices are on this network: {', '.join(ours.values())}")]


def data_findings(seen: DataSeen) -> List[Finding]:
    """Return what is wrong or worth knowing about the values, worst first."""
    found = [*_judgement(seen), *_states(seen), *_clock(seen)]
    found += _phases(seen)
    if seen.failed >= FLAKY_FAILURES:
        found.append(finding("plant_flaky", f"plant: {seen.failed} of {seen.asked} questions were not answered"))
    if seen.idle_closed:
        found.append(finding("plant_idle_close", f"plant: closes a connection that rests for {IDLE_S:g} s"))
    if seen.protocol is not None and level(seen.protocol) < OLD_LEVEL:
        found.append(finding("protocol_old", f"plant: firmware with protocol {seen.protocol}, which has no house load"))
    if seen.missing:
        what = f"plant: protocol {seen.protocol or 'unknown'}, but {', '.join(seen.missing)} cannot be read"
        found.append(finding("registers_missing", what))
    return found


def _phases(seen: DataSeen) -> List[Finding]:
    """Return what is wrong with single phases; without a meter that can be believed they mean nothing."""
    alarm = seen.values.get("plant_alarm") or 0
    doubtful = any(look.inverted or look.kind == "impossible value" for look in seen.looks)
    if doubtful or seen.values.get("grid_sensor") == 0 or alarm & METER_BITS:
        return []
    return [finding(each.code, f"plant: {each.what}") for each in seen.phases]


def level(protocol: str) -> Tuple[int, ...]:
    """Return a protocol level such as "2.8" in a form that compares."""
    return tuple(int(part) for part in protocol.split("."))


def _judgement(seen: DataSeen) -> List[Finding]:
    """Return what is true of every look: what one look alone shows may be chance."""
    looks = seen.looks
    if not looks:
        return []
    if all(look.inverted for look in looks):
        code = "grid_sign_setting" if seen.sign_set else "grid_sign"
        return [finding(code, "plant: the energy balance closes with the opposite sign of the grid")]
    found = []
    for kind, code in (("balance", "balance"), ("impossible value", "impossible")):
        if all(look.kind == kind for look in looks):
            found.append(finding(code, f"plant: {kind} {looks[-1].reason}"))
    clocks = {look.clock for look in looks}
    if len(clocks) == 1 and looks[-1].clock and looks[-1].mono - looks[0].mono >= FROZEN_AFTER_S:
        standing_s = looks[-1].mono - looks[0].mono
        found.append(finding("frozen", f"plant: its clock stood still for {standing_s:.0f} s"))
    return found


def _states(seen: DataSeen) -> List[Finding]:
    found = []
    values = seen.values
    alarm = values.get("plant_alarm") or 0
    if alarm & METER_BITS:
        found.append(finding("meter_alarm", f"plant: alarm {', '.join(_meter_words(alarm))}"))
    elif values.get("grid_sensor") == 0:
        found.append(finding("grid_sensor", "plant: no grid meter or gateway is connected (30004)"))
    if seen.alarms:
        found.append(finding("alarms", f"plant: alarm {', '.join(seen.alarms)}"))
    if seen.remote_ems == 1 or values.get("ems_mode") == REMOTE_EMS_MODE:
        mode = f", mode {seen.control_mode}" if seen.control_mode else ""
        found.append(finding("remote_ems", f"plant: remote control is on (40029 = 1{mode})"))
    if values.get("ems_mode") == VPP_MODE:
        found.append(finding("vpp", "plant: a virtual power plant controls the battery (30003 = 6)"))
    if values.get("off_grid"):
        found.append(finding("off_grid", "plant: runs off grid"))
    return found


def _meter_words(alarm: int) -> List[str]:
    names = ("gateway communication", "meter communication", "AC sensor communication")
    return [name for bit, name in enumerate(names) if alarm >> bit & 1]


def _clock(seen: DataSeen) -> List[Finding]:
    if not seen.looks or not seen.clock_synced or "clock" not in seen.values:
        return []
    look = seen.looks[-1]
    if look.clock == 0:
        return [finding("plant_clock_unset", "plant: its clock is not set")]
    if look.clock is None or abs(look.clock - look.at) <= CLOCK_OFF_S:
        return []
    return [finding("plant_clock", f"plant: its clock is {_span(look.clock - look.at)} of this machine's")]


def _span(seconds: float) -> str:
    side = "ahead" if seconds > 0 else "behind"
    minutes = abs(seconds) / 60
    return f"{minutes:.0f} min {side}" if minutes < 120 else f"{minutes / 60:.0f} h {side}"
