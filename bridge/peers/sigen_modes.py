"""Operating modes by the words people use for them, and why some cannot be set from outside.

Never guesses: a word that is not known is refused with the list of those that are.
"""

from __future__ import annotations

import re
from typing import List, Mapping, Optional, Tuple

from bridge.errors import ConfigError
from bridge.peers.sigen_codes import MODES, ModeRow

# fmt: off
ALIASES: Mapping[str, Tuple[str, ...]] = {
    "msc":    ("self", "self consumption", "max self consumption", "maximum self powered"),
    "ai":     ("sigen ai mode", "ai mode"),
    "tou":    ("time based control", "time of use mode"),
    "ffg":    ("feed in", "full feed in", "fully feed in to grid", "full feed in to grid"),
    "vpp":    ("virtual power plant", "vpp scheduling"),
    "remote": ("remote ems mode", "ems"),
    "nbi":    ("northbound", "north bound", "northbound interface", "northbound integration"),
    "custom": ("custom mode", "profile", "energy profile"),
}
REASONS: Mapping[str, str] = {
    "ai":     "only the owner's mySigen app selects it",
    "tou":    "only the owner's mySigen app selects it",
    "vpp":    "only a VPP's provider sets it, by onboarding; the owner then cannot change the mode",
    "remote": "it follows from a Modbus master that took over control, and ends with it",
    "custom": "only the owner's mySigen app selects it, with the profile",
}
# fmt: on


def folded(text: str) -> str:
    """Return a label in lower case with single blanks for whatever is no letter or digit."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


def names(row: ModeRow) -> List[str]:
    """Return every folded name of a mode: word, label and what else it is called."""
    return [row.word, folded(row.label), *ALIASES.get(row.word, ())]


def mode_named(label: str) -> ModeRow:
    """Return the mode of a number, word or label; raises ConfigError that lists the choices."""
    wanted = folded(label)
    for row in MODES:
        if label.strip() == str(row.number) or wanted in names(row):
            return row
    choices = ", ".join(f"{row.word} ({row.number} {row.label})" for row in MODES)
    raise ConfigError(f"mode {label!r} is not known; the choices are: {choices}")


def hindrance(row: ModeRow) -> Optional[str]:
    """Return why the OpenAPI cannot set a mode; None where it can."""
    return None if row.settable else REASONS.get(row.word, "it is not one that the OpenAPI takes")
