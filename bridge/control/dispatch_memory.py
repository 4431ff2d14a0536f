"""What of the loads' state outlives the process: who owns what, since when, how often, how long today.

Pure. Never saves what a look at the device tells better, and never trusts a clock that was not set.
"""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional

from bridge.control.dispatch_config import Config
from bridge.control.dispatch_state import HOUR_S, LoadState, Now, State

SCHEMA = 1
OLD_S = 86_400.0


def saved(state: State, now: Now) -> Dict[str, Any]:
    """Return the state as JSON, with unix times."""

    def unix(mono: Optional[float]) -> Optional[float]:
        return None if mono is None else round(now.at + mono - now.mono, 1)

    loads = {}
    for name, held in state.loads.items():
        loads[name] = {
            "ours": held.ours, "paused": held.paused, "why_on": held.why_on, "changed": unix(held.changed),
            "manual_until": unix(held.manual_until), "manual_on": held.manual_on,
            "starts": [unix(start) for start in held.starts], "ran_s": round(held.ran_s, 1), "ran_from": held.ran_from,
            "undone": held.undone,
        }
    return {"schema": SCHEMA, "at": now.at, "synced": now.synced, "loads": loads}


def signature(state: State) -> Any:
    """Return what, when it changes, is worth a write to flash."""
    return tuple((name, held.ours, held.paused, held.manual_until, held.starts, held.ran_from, held.undone)
                 for name, held in sorted(state.loads.items()))


def restored(content: Any, config: Config, now: Now) -> State:
    """Return the state that was saved, as far as it can be believed; else an empty one."""
    if not isinstance(content, dict) or content.get("schema") != SCHEMA or not now.synced or not content.get("synced"):
        return State()
    saved_at = content.get("at")
    if not isinstance(saved_at, (int, float)) or not -60.0 <= now.at - saved_at <= OLD_S:
        return State()
    loads = content.get("loads")
    rows = loads if isinstance(loads, dict) else {}
    return State({load.name: _load(rows[load.name], now) for load in config.loads
                  if isinstance(rows.get(load.name), dict)})


def _load(row: Mapping[str, Any], now: Now) -> LoadState:
    def mono(key: str) -> Optional[float]:
        told = row.get(key)
        return now.mono + told - now.at if isinstance(told, (int, float)) else None

    until = mono("manual_until")
    starts = tuple(now.mono + start - now.at for start in row.get("starts") or () if isinstance(start, (int, float)))
    return LoadState(
        ours=row.get("ours") is True, paused=str(row.get("paused") or ""), why_on=str(row.get("why_on") or ""),
        changed=mono("changed"), manual_until=until if until is not None and until > now.mono else None,
        manual_on=row.get("manual_on") is True, starts=tuple(start for start in starts if now.mono - start < HOUR_S),
        ran_s=float(row.get("ran_s") or 0.0), ran_from=row.get("ran_from"), undone=int(row.get("undone") or 0),
    )
