"""The file of KEY=VALUE lines with the credentials: what has to be in it, and how a value is written.

Never written for a shell: systemd and the bridge read it, and a value with blanks or signs is quoted for both.
"""

from __future__ import annotations

import base64
import re
from typing import Dict, List, Mapping, Tuple

from bridge.errors import ConfigError
from bridge.peers.sigen_app_identity import bare_bearer, station_number
from bridge.peers.sigen_codes import region_named

PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")
LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=")
DEVICE_ID = re.compile(r"\d{13}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
PASSWORDS = ("SIGEN_PASS", "SIGEN_PASS_ENC")
# settings of the tariff that the same file may hold; written when they are set
PASSTHROUGH: Tuple[Tuple[str, str], ...] = (
    ("INTERVAL", "tariff.interval"), ("TZ_OVERRIDE", "tariff.timezone"), ("ALIGN", "tariff.align"),
    ("PLAN_NAME", "tariff.plan_name"), ("ADVANCED", "tariff.advanced"), ("USE_CURRENT", "tariff.use_current"),
    ("AMBER_SITE_ID", "amber.site_id"),
)


def missing(values: Mapping[str, str]) -> List[str]:
    """Return the variables without which nobody can log in."""
    lacking = [] if values.get("SIGEN_REGION") else ["SIGEN_REGION"]
    if values.get("SIGEN_BEARER"):
        return lacking
    if not values.get("SIGEN_USER"):
        lacking.append("SIGEN_USER")
    if not any(values.get(name) for name in PASSWORDS):
        lacking.append("SIGEN_PASS or SIGEN_PASS_ENC")
    return lacking


def checked(name: str, text: str) -> None:
    """Raise ConfigError for a value that cannot be right; a secret is not quoted."""
    if "\n" in text or "\r" in text or "\0" in text:
        raise ConfigError(f"env make: {name} must be one line")
    if name == "SIGEN_REGION":
        region_named(text)
    elif name == "STATION_ID":
        station_number(text)
    elif name == "SIGEN_BEARER":
        bare_bearer(text)
    elif name == "SIGEN_DEVICE_ID" and not DEVICE_ID.fullmatch(text):
        raise ConfigError("env make: SIGEN_DEVICE_ID must be 13 digits (or a UUID), as the browser sends it")
    elif name == "SIGEN_PASS_ENC" and not _is_encoded(text):
        raise ConfigError(
            "env make: SIGEN_PASS_ENC is not an encoded password (base64 of whole blocks); for a plain password"
            " use SIGEN_PASS, or sigen-bridge cloud encode-password"
        )


def _is_encoded(text: str) -> bool:
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError:
        return False
    return bool(content) and len(content) % 16 == 0


def quoted(text: str) -> str:
    """Return a value as it stands behind the sign of equality."""
    if PLAIN.fullmatch(text):
        return text
    return '"' + re.sub(r'([\\"$`])', r"\\\1", text) + '"'


def merged(old: str, values: Mapping[str, str]) -> str:
    """Return a file with ``values`` in place of what it said of them; other lines and comments stay.

    A password in another form than the new one is taken out: two of them would not agree for long. So is a bearer
    beside a new password: it would win, and nobody would log in.
    """
    left: Dict[str, str] = dict(values)
    gone = {*PASSWORDS, "SIGEN_BEARER"} if any(name in values for name in PASSWORDS) else set()
    lines = []
    for line in old.splitlines():
        found = LINE.match(line)
        name = found.group(1) if found else ""
        if name in left:
            lines.append(f"{name}={quoted(left.pop(name))}")
        elif name not in values and name not in gone:
            lines.append(line)
    lines += [f"{name}={quoted(text)}" for name, text in left.items()]
    return "\n".join(lines) + "\n"
