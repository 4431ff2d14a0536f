"""From what was seen of the Envoy, its token and Enlighten to findings.

Pure. Never asks anybody: sources/examine_enphase does.
"""

from __future__ import annotations

from typing import List, NamedTuple, Optional

from bridge.control.diagnosis import Finding, finding

OK, INCOMPLETE, UNREACHABLE, FOREIGN, CERTIFICATE = "ok", "incomplete", "unreachable", "foreign", "certificate"
NO_TOKEN, LOGIN, CLOUD, TOKEN = "no_token", "login", "cloud", "token"
DAY_S = 86_400.0


class EnvoySeen(NamedTuple):
    """One look at an Envoy; ``outcome`` is one of the words above, ``text`` what came back.

    ``ends_in_s`` is how long its token still holds, ``pasted`` whether nobody renews it.
    """

    outcome: str
    peer: str
    text: str = ""
    serial: Optional[str] = None
    told_serial: str = ""
    firmware: Optional[str] = None
    pasted: bool = False
    ends_in_s: Optional[float] = None
    ending: bool = False


def envoy_findings(seen: EnvoySeen) -> List[Finding]:
    """Return what is to be said of the Envoy, or that it is fine."""
    found = []
    if seen.serial and seen.told_serial and seen.serial != seen.told_serial:
        what = f"enphase: {seen.peer} is Envoy {seen.serial}, the settings say {seen.told_serial}"
        found.append(finding("enphase_serial", what, serial=seen.serial))
    if seen.outcome != OK:
        return [*found, finding(f"enphase_{seen.outcome}", f"enphase: {seen.text}")]
    if seen.pasted and seen.ending and seen.ends_in_s is not None:
        days = int(seen.ends_in_s // DAY_S)
        found.append(finding("enphase_ending", f"enphase: the pasted token ends in {days} days"))
    if not found:
        what = f"enphase: {seen.peer} answers, Envoy {seen.serial}, firmware {seen.firmware}"
        found.append(finding("enphase_ok", what))
    return found
