"""From a proper reply to what really goes over the line while faults are in force.

Pure: bytes and waits in, bytes and waits out; who owns the line plays them.
"""

from __future__ import annotations

from typing import Callable, Mapping, NamedTuple, Tuple

from bridge.sim.modbus_frames import READ_HOLDING, READ_INPUT, Frame
from bridge.sim.plant_faults import FaultBoard, Params

Encode = Callable[[Frame], bytes]


class Reaction(NamedTuple):
    """What the line does about a request: ``chunks`` of (seconds to wait, bytes), and what then.

    ``then`` is keep, close (FIN), reset (RST) or stall (deaf from now on). With ``late_s`` the
    chunks follow that much later and the line goes on meanwhile.
    """

    chunks: Tuple[Tuple[float, bytes], ...] = ()
    then: str = "keep"
    late_s: float = 0.0


NOTHING = Reaction()


def react(
    reply: Frame, previous: bytes, met: Mapping[str, Params], encode: Encode, board: FaultBoard
) -> Reaction:
    """Return what the line does; ``previous`` is the PDU answered before this one, if any."""
    if "write_silent" in met:
        return NOTHING
    crash = met.get("crash_after_write")
    if crash is not None and not crash["answer"]:
        return Reaction(then="close")
    for then in ("reset", "close"):
        if then in met:
            return Reaction(then=then)
    raw = encode(_distorted(reply, previous, met))
    if "crc" in met:
        raw = raw[:-1] + bytes([raw[-1] ^ 0x5A])
    if "garbage" in met:
        raw = board.noise(met["garbage"]["length"])
    wait_s = sum(met[name]["s"] for name in ("delay", "slow_write") if name in met)
    late_s = met["late_reply"]["s"] if "late_reply" in met else 0.0
    if "truncate" in met:
        return Reaction(((wait_s, raw[:len(raw) // 2]),), "stall", late_s)
    if "duplicate" in met:
        raw += raw
    if "dribble" in met:
        gap_s = met["dribble"]["s"]
        drops = tuple((wait_s if index == 0 else gap_s, raw[index:index + 1]) for index in range(len(raw)))
        return Reaction(drops, late_s=late_s)
    return Reaction(((wait_s, raw),), "keep" if crash is None else "close", late_s)


def _distorted(reply: Frame, previous: bytes, met: Mapping[str, Params]) -> Frame:
    """Return the frame with its fields and its body as the faults want them."""
    pdu = reply.pdu
    if "stale_reply" in met and previous:
        pdu = previous
    if pdu[0] in (READ_HOLDING, READ_INPUT):
        if "short" in met:
            pdu = bytes([pdu[0], pdu[1] - 2]) + pdu[2:-2]
        if "bad_byte_count" in met:
            pdu = bytes([pdu[0], pdu[1] ^ 2]) + pdu[2:]
    if "wrong_function" in met:
        other = READ_HOLDING if pdu[0] == READ_INPUT else READ_INPUT
        pdu = bytes([other]) + pdu[1:]
    unit = reply.unit
    if "wrong_unit" in met:
        unit = 1 if unit != 1 else 2
    transaction = reply.transaction
    if "wrong_transaction" in met:
        transaction = (transaction + 1) & 0xFFFF
    protocol = 0x5347 if "wrong_protocol" in met else reply.protocol
    return Frame(unit, pdu, transaction, protocol)
