"""Plays a scenario: a house, what happens in it, what is decided and why, and whether that was expected.

Pure. Never looks at a clock or a device; the same file always gives the same decisions.
"""

from __future__ import annotations

import datetime
import re
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from bridge.control.dispatch import Decision, decide
from bridge.control.dispatch_config import Config, read
from bridge.control.dispatch_house import House
from bridge.control.dispatch_state import Now, State
from bridge.control.dispatch_time import Price, local
from bridge.errors import ConfigError

MONO_0 = 1000.0
_SPAN = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")
EXPECTATIONS = ("at", "load", "is", "rule")


class Step(NamedTuple):
    """One decision round: seconds since the start, the local time, the decisions, the truth of the house."""

    after_s: float
    clock: str
    decisions: Tuple[Decision, ...]
    changed: Tuple[Decision, ...]  # those that are not what they were in the round before
    load_w: float
    phases: Optional[Tuple[float, ...]]
    warnings: Tuple[str, ...]


class Result(NamedTuple):
    """What came of a scenario; ``failures`` is empty when everything was as expected."""

    steps: Tuple[Step, ...]
    failures: Tuple[str, ...]
    longest_over_s: float
    switches: int


def span_s(text: Any) -> float:
    """Return "1h30m", "90s" or a number of seconds as seconds; raises ValueError."""
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        return float(text)
    found = _SPAN.fullmatch(str(text))
    if found is None or not any(found.groups()):
        raise ValueError(f"{text!r} is not a time such as 90s, 5m or 1h30m")
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return hours * 3600.0 + minutes * 60.0 + seconds


class Scenario:
    """A scenario file that was read; ``parse`` reads its INI lines. Raises ConfigError for what it cannot mean."""

    def __init__(self, content: Mapping[str, Any], parse: Callable[[str], Any], where: str) -> None:
        try:
            self.about = str(content["about"])
            lines = "\n".join(content["loads"])
            self.config: Config = read(parse(lines), where)
            self.start = _moment(content["start"], self.config.tz)
            self.for_s, self.step_s = span_s(content["for"]), span_s(content.get("step", 1))
            self.house = House(self.config, content.get("house", {}))
            self.house.prices = tuple(
                Price(_moment(row["start"], self.config.tz), _moment(row["end"], self.config.tz), row["buy_c_kwh"])
                for row in content.get("prices", ()))
            self.events = sorted(content.get("events", ()), key=lambda event: span_s(event["at"]))
            self.expect = sorted(content.get("expect", ()), key=lambda row: span_s(row["at"]))
            for row in self.expect:
                _check(row, self.config, self.for_s)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"scenario {where}: {type(error).__name__}: {error}; see docs/loads.md") from error

    def play(self) -> Result:
        """Play it from start to end."""
        failures: List[str] = []
        steps: List[Step] = []
        over_s = longest_s = 0.0
        switches = 0
        waiting = list(self.expect)
        for step in self._steps():
            steps.append(step)
            switches += sum(decision.act for decision in step.decisions)
            over_s = over_s + self.step_s if self._over(step) else 0.0
            longest_s = max(longest_s, over_s)
            while waiting and span_s(waiting[0]["at"]) <= step.after_s:
                failures += self._compare(waiting.pop(0), step)
        if longest_s > self.config.rules.reaction_s + 1e-9:
            most_s = self.config.rules.reaction_s
            failures.append(f"a limit was exceeded for {longest_s:.0f} s, longer than {most_s:g} s")
        return Result(tuple(steps), tuple(failures), longest_s, switches)

    def _steps(self) -> Iterator[Step]:
        house, state = self.house, State()
        events = list(self.events)
        before: Dict[str, Decision] = {}
        for number in range(int(self.for_s / self.step_s) + 1):
            after_s = number * self.step_s
            now = Now(MONO_0 + after_s, self.start + after_s)
            while events and span_s(events[0]["at"]) <= after_s:
                house.change(events.pop(0))
            house.pass_time(now)
            load_w, phases = house.load_w, house.phases
            outcome = decide(self.config, state, house.look(now), now)
            state = outcome.state
            house.obey(outcome.decisions, state, now)
            changed = tuple(each for each in outcome.decisions if _news(each, before.get(each.load)))
            before = {each.load: each for each in outcome.decisions}
            clock = f"{local(now.at, self.config.tz):%a %H:%M:%S}"
            yield Step(after_s, clock, outcome.decisions, changed, load_w, phases, outcome.warnings)

    def _over(self, step: Step) -> bool:
        rules = self.config.rules
        if rules.limit_w is not None and step.load_w > rules.limit_w:
            return True
        return rules.phase_limit_w is not None and any(power > rules.phase_limit_w for power in step.phases or ())

    def _compare(self, row: Mapping[str, Any], step: Step) -> List[str]:
        name = row["load"]
        decision = next(each for each in step.decisions if each.load == name)
        is_on = self.house.outputs[name].on
        found = []
        if "is" in row and is_on != (row["is"] == "on"):
            found.append(f"{row['at']}: {name} is {'on' if is_on else 'off'}, expected {row['is']} ({decision.reason})")
        if "rule" in row and decision.rule != row["rule"]:
            found.append(f"{row['at']}: {name} by rule {decision.rule}, expected {row['rule']} ({decision.reason})")
        return found


def _news(decision: Decision, before: Optional[Decision]) -> bool:
    """Say whether a decision is worth a line: reasons count seconds, so they alone are none."""
    return decision.act or before is None or (decision.want, decision.rule) != (before.want, before.rule)


def _moment(text: str, tz: Any) -> float:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=tz).timestamp()


def _check(row: Mapping[str, Any], config: Config, for_s: float) -> None:
    unknown = [key for key in row if key not in EXPECTATIONS]
    if unknown or ("is" not in row and "rule" not in row):
        raise ValueError(f"an expectation has at, load, and is or rule, not {', '.join(unknown) or 'neither'}")
    if row.get("is", "on") not in ("on", "off"):
        raise ValueError(f"is on or off, not {row['is']!r}")
    config.load(row["load"])
    if span_s(row["at"]) > for_s:
        raise ValueError(f"{row['at']} is behind the end, so it would never be looked at")
