"""Battery commands in lines for people: what would be written, how things stand, what was done.

Pure. Unknown stays unknown; times are local.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any, List, Mapping, Optional, Sequence

from bridge.control.battery import lasting

STATES = {
    "entering": "being put in force", "held": "in force", "releasing": "being given back",
    "elsewhere": "held by another process", "left": "left behind by a process that is gone",
}


def plan_lines(plan: Mapping[str, Any]) -> List[str]:
    """Return a dry run: every register before and after, in the order of writing, and the way back."""
    lines = [f"{plan['command']}: nothing is written (dry run)"]
    lines += [f"  note: {note}" for note in plan["notes"]]
    for title, rows in (("would write", plan["enter"]), ("and at the end", plan["release"])):
        lines.append(f"  {title}:")
        lines += [f"    {row['register']}  {row['name']:<16} {row['text']}" for row in rows]
    if not plan["enabled"]:
        lines.append("  control.enabled is no: without --dry-run this would be refused")
    return lines


def back_lines(report: Mapping[str, Any]) -> List[str]:
    """Return the dry run of a release: what would be put back, in the order of writing."""
    rows = report.get("back") or ()
    to_come = len(report.get("schedule") or ())
    lines = [f"would drop {to_come} commands to come"] if to_come else []
    if not rows:
        return [*lines, "nothing would be written"]
    return [*lines, "would write (where the plant still holds what was last read):",
            *(f"    {one['register']}  {one['name']:<16} {one['text']}" for one in rows)]


def status_lines(report: Mapping[str, Any], zone: Optional[tzinfo] = None) -> List[str]:
    """Return how things stand."""
    lines = []
    if report["state"] == "none":
        lines.append(report["text"] if report.get("enabled", True) else f"{report['text']}; control.enabled is no")
    else:
        left = report.get("ends_in_s")
        lines.append(f"{report['text']}: {STATES.get(report['state'], report['state'])}, asked for by {report['who']}")
        within = f" (in {lasting(left)})" if left is not None else ""
        if report["state"] != "left":
            lines.append(f"  ends {clock_text(report['ends_at'], zone)}{within}")
        elif not report.get("error"):
            lines.append("  given back by the bridge's next start, battery watch, or: sigen-bridge battery release")
        for name in ("effect", "reason", "error"):
            if report.get(name):
                lines.append(f"  {name}: {report[name]}")
        lines += [f"  note: {note}" for note in report.get("notes", ())]
    for entry in report.get("schedule", ()):
        lines.append(f"to come: {clock_text(entry['start'], zone)} {entry['text']}")
    lines += last_lines(report.get("last"), zone)
    return lines


def last_lines(last: Optional[Mapping[str, Any]], zone: Optional[tzinfo] = None) -> List[str]:
    """Return how the last command ended, and what the owner has to do."""
    if not last:
        return []
    lines = [f"last: {last['command']}, {last['how']} {clock_text(last['at'], zone)}: {last['why']}"]
    if last.get("mode"):
        lines.append(f"  {last['mode']}")
    return lines + [f"  to do by hand: {one}" for one in last.get("by_hand", ())]


def history_lines(entries: Sequence[Mapping[str, Any]], zone: Optional[tzinfo] = None) -> List[str]:
    """Return the journal, oldest first."""
    lines = []
    for entry in entries:
        when = clock_text(entry.get("at"), zone)
        if entry.get("what") == "write":
            what = f"write {entry['register']} {entry['name']}: {entry['text']} ({entry['result']})"
            lines.append(f"{when}  {entry['who']:<9} {what}")
            continue
        lines.append(f"{when}  {entry.get('who', '?'):<9} {entry.get('what', '?')}: {entry.get('text', '')}")
        lines += [f"{'':<21}by hand: {one}" for one in entry.get("by_hand", ())]
    return lines


def clock_text(seconds: Any, zone: Optional[tzinfo] = None) -> str:
    """Return a unix time as local date and time."""
    if not isinstance(seconds, (int, float)):
        return "at an unknown time"
    moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=seconds)
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")
