"""What an onboard or offboard answer means for each station.

Never takes code 1401 for success by itself: the vendor's list says "no permission", the S3 source says
"already so", and only a read of the system list can tell which it was.
"""

from __future__ import annotations

from typing import Any, Collection, Mapping, NamedTuple, Optional, Tuple

from bridge.peers.envelope import integer
from bridge.peers.sigen_codes import ALREADY_OR_FORBIDDEN, PENDING_APPROVAL, code_row
from bridge.peers.sigen_errors import clean


class BoardResult(NamedTuple):
    """What became of one station: ``done`` None = not known yet, ``pending`` = the owner has to approve."""

    system_id: str
    done: Optional[bool]
    pending: bool
    codes: Tuple[int, ...]
    note: str


def board_result(system_id: str, row: Optional[Mapping[str, Any]]) -> BoardResult:
    """Return the outcome for one station as its answer says it; None = the answer does not name it."""
    if row is None:
        return BoardResult(system_id, None, False, (), "the answer does not name this station")
    codes = board_codes(row)
    if row.get("result") is True and not codes:
        return BoardResult(system_id, True, False, (), "done")
    if not codes:
        return BoardResult(system_id, False, False, (), "refused without a code")
    rows = [code_row(code) for code in codes]
    note = "; ".join(f"code {one.code}: {one.meaning}; {one.advice}" for one in rows)
    return BoardResult(system_id, False, PENDING_APPROVAL in codes, codes, clean(note, limit=400))


def is_ambiguous(result: BoardResult) -> bool:
    """Say whether only a read can tell what the answer meant."""
    return ALREADY_OR_FORBIDDEN in result.codes and not result.pending


def proven(result: BoardResult, listed: Collection[str], wanted: bool) -> BoardResult:
    """Judge an ambiguous result by the system list: ``wanted`` says whether the station should be in it."""
    if is_ambiguous(result) and (result.system_id in listed) == wanted:
        return result._replace(done=True, note="was so already")
    return result


def unproven(result: BoardResult, reason: str) -> BoardResult:
    """Return an ambiguous result as unknown, because the system list could not be read."""
    if not is_ambiguous(result):
        return result
    return result._replace(done=None, note=f"code 1401: already so, or not permitted; not verified: {reason}")


def board_codes(row: Mapping[str, Any]) -> Tuple[int, ...]:
    """Return the codes of one station in an onboard or offboard answer, without the zeros of success."""
    listed = row.get("codeList")
    found = [integer(one) for one in listed] if isinstance(listed, list) else [integer(listed)]
    return tuple(code for code in found if code)
