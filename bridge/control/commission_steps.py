"""The steps of a commissioning, decided from what was answered and what was seen.

Pure. Never calls a step done that was not seen to be so; each failed one says what to do.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from bridge.control.commission import Answers, Device
from bridge.model import grid_text

DONE, ALREADY, FAILED, WOULD = "done", "already so", "failed", "would be done"
CLEAR_W = 300.0  # from here on a phase's sign and size say something
NAMES = ("A", "B", "C")

Three = Tuple[Optional[float], Optional[float], Optional[float]]
Judge = Callable[[Three, Optional[float], Three, Optional[float]], Sequence[Any]]


class Step(NamedTuple):
    """One step: ``what`` came out, and ``advice`` where something is left to do."""

    code: str
    title: str
    status: str
    what: str
    advice: str = ""


class Mode(NamedTuple):
    """How to go about it: ``writes`` False changes nothing; then ``dry`` tells what would be done."""

    writes: bool
    dry: bool

    def change(self, code: str, title: str, what: str, advice: str) -> Step:
        """Return the step for a change that is not to be made in this mode."""
        return Step(code, title, WOULD, what) if self.dry else Step(code, title, FAILED, what, advice)


class Inverter(NamedTuple):
    """What an inverter says of itself; ``error`` is why it did not."""

    unit: int
    model: str = ""
    serial: str = ""
    firmware: str = ""
    error: str = ""


class Phases(NamedTuple):
    """Power by phase in W, + into the house, and the totals of the same look."""

    grid: Three = (None, None, None)
    grid_w: Optional[float] = None
    inverter: Three = (None, None, None)
    inverter_w: Optional[float] = None
    error: str = ""


def gateway_step(where: str, by: str, grid_w: Optional[float]) -> Step:
    """Return the step of a gateway that has answered."""
    return Step("gateway", "Gateway", ALREADY, f"{where} answers as a plant ({by}): {grid_text(grid_w)}")


def network_step(warned: Sequence[str]) -> Step:
    """Return whether one Sigenergy device alone is on the network, as far as this machine knows."""
    if warned:
        return Step("network", "Network", FAILED, warned[0], "leave only the gateway on the home network")
    return Step("network", "Network", ALREADY, "no second Sigenergy device is known on this network")


def inverter_step(answers: Answers, seen: Sequence[Inverter]) -> Step:
    """Return whether the inverters say who they are, and are the expected ones."""
    silent = [each for each in seen if each.error or not each.serial]
    told = "; ".join(f"unit {each.unit}: {each.model} {each.serial}, firmware {each.firmware}"
                     for each in seen if each not in silent)
    if silent:
        why = "; ".join(f"unit {each.unit}: {each.error or 'no serial number'}" for each in silent)
        return Step("inverters", "Inverters", FAILED, "; ".join(part for part in (told, why) if part),
                    "correct [gateway] inverters, the Modbus units of the inverters (mySigen shows them)")
    if answers.serials:
        found = {each.serial for each in seen}
        wrong = sorted(set(answers.serials) ^ found)
        if wrong:
            return Step("inverters", "Inverters", FAILED, f"{told}; expected {' '.join(answers.serials)}",
                        f"check {' '.join(wrong)}: another house's file, or a replaced inverter?")
    return Step("inverters", "Inverters", ALREADY, told)


def phases_step(seen: Phases, judge: Judge) -> Step:
    """Return whether the phases can be true; says so where too little flows to tell."""
    if seen.error:
        return Step("phases", "Phases", FAILED, f"could not be read: {seen.error}", "run this again")
    known = [power for power in seen.grid if power is not None]
    if len(known) != 3:
        return Step("phases", "Phases", ALREADY, "the plant tells no power of three phases (single-phase?)")
    shown = ", ".join(f"{name} {power:.0f} W" for name, power in zip(NAMES, known))
    findings = judge(seen.grid, seen.grid_w, seen.inverter, seen.inverter_w)
    if findings:
        return Step("phases", "Phases", FAILED, f"{shown}: {'; '.join(each.what for each in findings)}",
                    "check the direction and the phase of each current transformer at the gateway or meter")
    if min(abs(power) for power in known) < CLEAR_W:
        return Step("phases", "Phases", ALREADY, f"{shown}: no contradiction, but too little flows to be sure",
                    "run this again with --check while each phase carries more than 300 W")
    return Step("phases", "Phases", ALREADY, f"{shown}: agree with their total")


def consent_step(answers: Answers, enabled: bool, record: Mapping[str, Any], mode: Mode) -> Step:
    """Return whether the owner's consent to control is on record and agrees with the settings."""
    code, title = "consent", "Control consent"
    if answers.consent is None or not answers.given_by:
        return Step(code, title, FAILED, "not answered", "answer [consent] control = yes or no, and given_by")
    if enabled and not answers.consent:
        return Step(code, title, FAILED, f"{answers.given_by} said no, but control.enabled is yes",
                    "set control.enabled = no")
    what = f"{answers.given_by} said {'yes' if answers.consent else 'no'}"
    what += "; control.enabled is " + ("yes" if enabled else "no")
    if record.get("consent") == answers.consent and record.get("given_by") == answers.given_by:
        return Step(code, title, ALREADY, what)
    if not mode.writes:
        return mode.change(code, title, f"{what}: not on record", "run this without --check to record it")
    return Step(code, title, DONE, what)


def link_loss_step(answers: Answers, record: Mapping[str, Any], mode: Mode) -> Step:
    """Return whether the answer about the plant's own link-loss protection is on record."""
    code, title = "link_loss", "Link-loss protection"
    if answers.link_loss is None:
        return Step(code, title, FAILED, "not answered",
                    "look at mySigen (installer) > Modbus TCP Server, then answer [link_loss] set = yes or no")
    what = "set at the plant" if answers.link_loss else (
        "not set at the plant: only the bridge's own lease ends a command whose link is lost")
    if record.get("link_loss") == answers.link_loss:
        return Step(code, title, ALREADY, what)
    if not mode.writes:
        return mode.change(code, title, f"{what}: not on record", "run this without --check to record it")
    return Step(code, title, DONE, what)


def name_step(device: Device, code: str, now: str, mode: Mode) -> Optional[Step]:
    """Return the step where nothing is to be written, None where the name has to be set."""
    title = f"Shelly {device.name}"
    if now == device.name:
        return Step(code, title, ALREADY, "has this name")
    if mode.writes:
        return None
    return mode.change(code, title, f"is called {now or 'nothing'}", "run this without --check to name it")


def loads_text(answers: Answers, places: Mapping[str, Tuple[str, str]]) -> str:
    """Return the skeleton of a loads file; ``places`` has host and MAC of each load that was found."""
    lines = ["# Loads of this house, written by sigen-bridge commission. See: sigen-bridge loads plan", "[rules]"]
    lines += [f"limit_w = {answers.limit_w:g}"] if answers.limit_w is not None else ["# limit_w = 10000"]
    for device in loads(answers):
        host, mac = places.get(device.name, (device.host, device.mac))
        lines += ["", f"[{device.name}]", f"device = {host}", f"channel = {device.channel}"]
        lines += [f"mac = {mac}"] if mac else []
        lines += [f"power_w = {device.power_w:g}", *([f"phase = {device.phase}"] if device.phase else []),
                  f"priority = {device.priority}", f"kind = {device.kind}"]
        lines += ["# password = ..., as in the answers' password_file"] if device.password_file else []
        lines += ["essential = yes"] if device.essential else []
        lines += ["# windows = 22:00-06:00", "# needs_surplus_w = 500"] if device.kind != "oven" else []
    return "\n".join(lines) + "\n"


def loads(answers: Answers) -> List[Device]:
    """Return the devices that are loads."""
    return [device for device in answers.devices if device.role == "load"]


def loads_step(answers: Answers, path: str, sections: Optional[Sequence[str]], mode: Mode) -> Step:
    """Return what becomes of the loads file; ``sections`` are those of the file, None without one.

    A file that is there is the owner's: it is never written over.
    """
    code, title = "loads", "Loads file"
    wanted = [device.name for device in loads(answers)]
    if sections is not None:
        missing = [name for name in wanted if name not in sections]
        if missing:
            return Step(code, title, FAILED, f"{path} is there, without {', '.join(missing)}",
                        "add them by hand, or move the file away and run this again")
        return Step(code, title, ALREADY, f"{path} has {len(wanted)} of these loads")
    if not mode.writes:
        return mode.change(code, title, f"{path} with {', '.join(wanted)}", "run this without --check to write it")
    return Step(code, title, DONE, f"{path} with {', '.join(wanted)}; set loads.file = {path}")


def record_of(answers: Answers, steps: Sequence[Step], at: float) -> Dict[str, Any]:
    """Return what is kept of this commissioning."""
    return {"schema": 1, "at": at, "consent": answers.consent, "given_by": answers.given_by,
            "link_loss": answers.link_loss, "failed": [step.code for step in steps if step.status == FAILED]}
