"""From what was seen of the Envoy, its token and Enlighten to findings.

Pure. Never asks anybody: sources/envoy_look does.
"""

from __future__ import annotations

from typing import List, Optional, Protocol

from bridge.control.diagnosis import Finding, finding

DAY_S = 86_400.0


class EnvoySeen(Protocol):
    """One look at an Envoy, as ``sources/envoy_look`` (of another router package) returns it."""

    @property
    def outcome(self) -> str: ...

    @property
    def peer(self) -> str: ...

    @property
    def text(self) -> str: ...

    @property
    def serial(self) -> Optional[str]: ...

    @property
    def told_serial(self) -> str: ...

    @property
    def firmware(self) -> Optional[str]: ...

    @property
    def pasted(self) -> bool: ...

    @property
    def ends_in_s(self) -> Optional[float]: ...

    @property
    def ending(self) -> bool: ...


def envoy_findings(seen: EnvoySeen) -> List[Finding]:
    """Return what is to be said of the Envoy, or that it is fine."""
    found = []
    if seen.serial and seen.told_serial and seen.serial != seen.told_serial:
        what = f"enphase: {seen.peer} is Envoy {seen.serial}, the settings say {seen.told_serial}"
        found.append(finding("enphase_serial", what, serial=seen.serial))
    if seen.outcome != "ok":
        return [*found, finding(f"enphase_{seen.outcome}", f"enphase: {seen.text}")]
    if seen.pasted and seen.ending and seen.ends_in_s is not None:
        days = int(seen.ends_in_s // DAY_S)
        found.append(finding("enphase_ending", f"enphase: the pasted token ends in {days} days"))
    if not found:
        what = f"enphase: {seen.peer} answers, Envoy {seen.serial}, firmware {seen.firmware}"
        found.append(finding("enphase_ok", what))
    return found
