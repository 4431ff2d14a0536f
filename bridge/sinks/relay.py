"""The relay's answer: the five values in the display's signs, for scripts that poll (keys of the S3 worker).

Never contains a value that is not known: the key is left out, a 0 would be a lie.
"""

from __future__ import annotations

from typing import Any, Dict

from bridge.model import Reading
from bridge.sinks.display import display_values

KEYS = ("pvW", "socPc", "batW", "griW", "loadW")  # in the order of the display: griW is + export


def latest(reading: Reading) -> Dict[str, Any]:
    """Return pvW, socPc, batW, griW, loadW where known, and ``ts``, unix milliseconds of the reading."""
    values = display_values(reading, 0)
    content: Dict[str, Any] = {key: values[offset] for offset, key in enumerate(KEYS) if values[offset] is not None}
    content["ts"] = int(reading.at * 1000)
    return content
