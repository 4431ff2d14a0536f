"""From what was seen of the Envoy, its token and Enlighten to findings.

Pure. Never asks anybody: sources/envoy_look does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, List

from bridge.control.diagnosis import Finding, finding

if TYPE_CHECKING:
    from bridge.sources.envoy_look import EnvoySeen  # of another router package

DAY_S = 86_400.0


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
