"""The result of a commissioning on paper: text, and one HTML page that needs nothing else.

Pure. Holds no secret, and escapes everything that somebody has typed.
"""

from __future__ import annotations

import html
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from bridge.control.commission_steps import ALREADY, DONE, FAILED, WOULD, Step

WIDTH = 96
SITE = (("name", "Site"), ("address", "Address"), ("installer", "Installer"), ("notes", "Notes"))
MARKS = {DONE: "done", ALREADY: "ok", FAILED: "failed", WOULD: "would"}
# Light paper by default; a dark screen is followed, a printer is not.
STYLE = """
:root{--ink:#1d2329;--soft:#5b6670;--line:#d9dfe4;--paper:#fff;--page:#eef1f3;--ok:#1f7a4d;--okbg:#e5f4ec;--bad:#b3261e;
--badbg:#fbe9e7;--do:#1c5fa8;--dobg:#e6f0fa}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:900px;margin:32px auto;padding:40px 48px;background:var(--paper);border-radius:10px;
box-shadow:0 1px 3px rgba(0,0,0,.12)}
header{display:flex;justify-content:space-between;align-items:flex-start;gap:24px;border-bottom:2px solid var(--ink);
padding-bottom:16px}
h1{font-size:26px;line-height:1.2;margin:0}h2{font-size:17px;margin:32px 0 8px}p{margin:4px 0}
.soft{color:var(--soft)}.verdict{font-weight:600;padding:6px 14px;border-radius:999px;white-space:nowrap}
.good{color:var(--ok);background:var(--okbg)}.bad{color:var(--bad);background:var(--badbg)}
dl{display:grid;grid-template-columns:110px 1fr;gap:2px 12px;margin:16px 0 0}dt{color:var(--soft)}dd{margin:0}
.wide{overflow-x:auto}table{width:100%;border-collapse:collapse}
th{text-align:left;font-weight:600;font-size:13px;color:var(--soft)}
th,td{padding:8px 10px 8px 0;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:break-word}
td:first-child{font-weight:600}.tag{display:inline-block;font-size:13px;font-weight:600;padding:1px 9px;
border-radius:999px;white-space:nowrap}.ok{color:var(--soft);background:var(--page)}.done{color:var(--ok);background:var(--okbg)}
.failed{color:var(--bad);background:var(--badbg)}.would{color:var(--do);background:var(--dobg)}
.todo{color:var(--bad);margin-top:2px}
pre{background:var(--page);padding:12px 14px;border-radius:6px;white-space:pre-wrap;
overflow-wrap:anywhere;font-size:13px}.sign{display:grid;grid-template-columns:1fr 1fr;gap:48px;margin-top:64px}
.sign div{border-top:1px solid var(--ink);padding-top:6px;color:var(--soft);font-size:13px}
footer{margin-top:32px;color:var(--soft);font-size:13px}
@media(max-width:640px){main{margin:0;padding:24px 16px;border-radius:0}header{flex-direction:column}}
@media print{body{background:#fff;font-size:12px}main{margin:0;padding:0;max-width:none;box-shadow:none}
tr,.sign{break-inside:avoid}*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
@page{margin:18mm}
"""


class Report(NamedTuple):
    """What goes on paper. ``when`` is local time in words; ``tables`` are (title, columns, rows)."""

    site: Mapping[str, str]
    when: str
    mode: str  # empty, "check" or "dry run"
    steps: Sequence[Step]
    tables: Sequence[Tuple[str, Sequence[str], Sequence[Sequence[str]]]]
    settings: Sequence[str]
    version: str

    @property
    def failed(self) -> int:
        """Return how many steps failed."""
        return sum(step.status == FAILED for step in self.steps)

    @property
    def verdict(self) -> str:
        """Return the outcome in a few words."""
        if self.failed:
            return f"{self.failed} of {len(self.steps)} steps failed"
        return "nothing failed (dry run)" if self.mode == "dry run" else f"all {len(self.steps)} steps are in order"


def text(report: Report) -> str:
    """Return the report as plain text."""
    mode = f" ({report.mode})" if report.mode else ""
    lines = [f"Commissioning report{mode}", f"{report.when}, sigen-bridge {report.version}", ""]
    lines += [f"{title:<10} {report.site[key]}" for key, title in SITE if report.site.get(key)]
    lines += [""]
    for step in report.steps:
        lines.append(f"{step.status.upper() if step.status == FAILED else step.status:<13} {step.title}: {step.what}")
        if step.advice:
            lines.append(f"{'':<13} -> {step.advice}")
    for title, columns, rows in report.tables:
        lines += ["", title, *_aligned([columns, *rows])]
    if report.settings:
        lines += ["", "Settings of the bridge", *(f"  {line}" for line in report.settings)]
    return "\n".join([*lines, "", report.verdict]) + "\n"


def _aligned(rows: Sequence[Sequence[str]]) -> List[str]:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def page(report: Report) -> str:
    """Return the report as one HTML page."""
    say = html.escape
    site = "".join(f"<dt>{title}</dt><dd>{say(report.site[key])}</dd>" for key, title in SITE if report.site.get(key))
    steps = "".join(_row(step) for step in report.steps)
    tables = "".join(_table(*each) for each in report.tables)
    settings = "\n".join(say(line) for line in report.settings)
    mode = f", {say(report.mode)}: nothing was written" if report.mode else ""
    head = say(report.site.get("name") or "Commissioning report")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><title>{head}: commissioning</title>'
        f"<style>{STYLE}</style></head><body><main>"
        f'<header><div><h1>{head}</h1><p class="soft">Commissioning report, {say(report.when)}{mode}</p></div>'
        f'<div class="verdict {"bad" if report.failed else "good"}">{say(report.verdict)}</div></header>'
        f"<dl>{site}</dl><h2>Steps</h2><div class=\"wide\"><table><thead><tr><th>Step</th><th>Result</th>"
        f"<th>What was found</th></tr></thead><tbody>{steps}</tbody></table></div>{tables}"
        + (f"<h2>Settings of the bridge</h2><pre>{settings}</pre>" if settings else "")
        + '<div class="sign"><div>Installer, date</div><div>Owner, date</div></div>'
        f"<footer>Made by sigen-bridge {say(report.version)} from what the devices answered.</footer>"
        "</main></body></html>\n"
    )


def _row(step: Step) -> str:
    say = html.escape
    todo = f'<div class="todo">To do: {say(step.advice)}</div>' if step.advice and step.status == FAILED else (
        f'<div class="soft">{say(step.advice)}</div>' if step.advice else "")
    return (f'<tr><td>{say(step.title)}</td><td><span class="tag {MARKS[step.status]}">{say(step.status)}</span></td>'
            f"<td>{say(step.what)}{todo}</td></tr>")


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return (f'<h2>{html.escape(title)}</h2><div class="wide"><table><thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>")


def data(report: Report) -> Dict[str, Any]:
    """Return the same for programs."""
    return {
        "schema": 1, "ok": not report.failed, "mode": report.mode or "commission", "site": dict(report.site),
        "steps": [step._asdict() for step in report.steps],
        "tables": [{"title": title, "rows": [dict(zip(columns, row)) for row in rows]}
                   for title, columns, rows in report.tables],
        "settings": list(report.settings),
    }
