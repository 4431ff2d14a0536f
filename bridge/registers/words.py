"""A register's row in words: how it is read, its unit and sign, what its values mean, who may write it.

Never decodes a value: that is ``meaning``.
"""

from __future__ import annotations

from typing import Any, Iterator, List, Mapping, Optional, Tuple

from bridge.registers import Register, Vendor

ACCESS: Mapping[str, str] = {
    "ro": "read only",
    "rw": "writable; the bridge writes only what is on its allow-list, and only with control.enabled",
    "wo": "write only; the bridge never writes it",
}


def register_facts(row: Register, plant: Vendor) -> Iterator[Tuple[str, str]]:
    """Yield (label, text) for what the table knows about a row."""
    yield "name", row.name
    yield "address", f"{row.address} (0x{row.address + plant.address_offset:04X} on the wire)"
    unit = f"unit {plant.unit_tcp} over TCP" if row.scope == "plant" else "the device's own unit"
    yield "belongs to", f"{row.scope.replace('_', ' ')} ({unit})"
    words = f"{row.count} word{'s' if row.count > 1 else ''}"
    function = 4 if row.space == "input" else 3
    yield "read by", f"function {function} ({row.space} register), {words}, {row.kind}"
    yield "unit", _unit(row)
    sign = _sign(plant.meanings.get(row.means))
    if sign:
        yield "sign", sign
    values = _values(plant.meanings.get(row.means))
    if values:
        yield "values", values
    limits = _limits(row)
    if limits:
        yield "range", limits
    yield "since", f"protocol V{row.since}"
    yield "access", ACCESS[row.access]
    roles = [role for role, name in plant.roles.items() if name == row.name and row.scope == "plant"]
    if roles:
        yield "used as", ", ".join(roles)


def register_text(row: Register, address: Optional[int]) -> List[str]:
    """Return remarks: which word of the row ``address`` is, when it is not the first."""
    if address is None or address == row.address:
        return []
    return [f"{address} is word {address - row.address + 1} of this register, which is read as a whole."]


def _unit(row: Register) -> str:
    unit = row.unit or "no unit"
    return unit if row.gain == 1 else f"{unit}, raw value / {row.gain}"


def _sign(meaning: Any) -> str:
    if isinstance(meaning, tuple) and meaning[0] == "sign":
        return f"+ is {meaning[1]}, - is {meaning[2]}"
    return ""


def _values(meaning: Any) -> str:
    if isinstance(meaning, tuple) and meaning[0] == "bits":
        return ", ".join(f"bit {bit} {name}" for bit, name in enumerate(meaning[1:]) if name)
    if isinstance(meaning, tuple) and meaning[0] == "epoch":
        return "unix seconds"
    if isinstance(meaning, Mapping):
        return ", ".join(
            f"{'no value' if value is None else value} {name}" for value, name in meaning.items()
        )
    return ""


def _limits(row: Register) -> str:
    if row.lo is None and row.hi is None:
        return ""
    low = "" if row.lo is None else f"from {row.lo:g}"
    high = "" if row.hi is None else f"to the value of {row.hi}"
    if isinstance(row.hi, (int, float)):
        high = f"to {row.hi:g}"
    return " ".join(part for part in (low, high, row.unit) if part)
