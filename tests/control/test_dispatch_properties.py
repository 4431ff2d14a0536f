"""What holds in every house whatever happens in it: limits, minimum times, no oscillation, hands have their way."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bridge import ini
from bridge.control.dispatch import decide
from bridge.control.dispatch_config import read
from bridge.control.dispatch_house import House
from bridge.control.dispatch_state import HOUR_S, LOCAL, REMOTE, Now, State

SUNDAY = 1_795_910_400.0  # 2026-11-29 00:00 UTC
FEW = settings(max_examples=25, deadline=None, derandomize=True, database=None, phases=(Phase.explicit, Phase.generate),
               suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
LOADS = """
[rules]
limit_w = 10000
phase_limit_w = 5000
timezone = UTC
manual_hold = 20m
starts_per_hour = 4
[oven]
kind = oven
device = a
power_w = 4000
phase = 1
priority = 1
[heater one]
kind = heater
device = b
power_w = 3000
phase = 1
priority = 2
windows = 00:00-24:00
min_on = 4m
min_off = 2m
[heater two]
kind = heater
device = c
power_w = 3000
phase = 2
priority = 3
needs_surplus_w = 3200
needs_soc_pct = 80
min_on = 8m
min_off = 3m
[pump]
device = d
power_w = 900
phase = 123
priority = 4
needs_surplus_w = 1000
over_battery = yes
min_on = 10m
min_off = 5m
[car]
kind = ev
device = e
power_w = 7000
phase = 123
priority = 5
windows = 00:10-02:00
min_on = 5m
min_off = 5m
"""
NAMES = ("heater one", "heater two", "pump", "car")
CONFIG = read(ini.parse(LOADS), "here")

spread = st.lists(st.integers(0, 2600), min_size=3, max_size=3)
events = st.one_of(
    st.builds(lambda powers: {"base_phases": powers}, spread),
    st.builds(lambda power: {"pv_w": power}, st.integers(0, 12_000)),
    st.builds(lambda soc: {"soc_pct": soc}, st.integers(60, 100)),
    st.builds(lambda power: {"battery_w": power}, st.integers(-4000, 4000)),
    st.builds(lambda on: {"runs": {"oven": on}}, st.booleans()),
    st.builds(lambda name, on: {"hand": {name: on}}, st.sampled_from(NAMES), st.sampled_from(("on", "off"))),
    st.builds(lambda data: {"data": data}, st.sampled_from(("local", "local", "cloud", "none"))),
)


def traces(most_gap, most):
    return st.lists(st.tuples(st.integers(5, most_gap), events), min_size=5, max_size=most)


class Watch:
    """Plays a trace second by second and remembers every move of every relay, and who made it."""

    def __init__(self, trace, step_s=1.0, metered=False):
        self.house = House(CONFIG, {"base_phases": [300, 200, 100], "metered": dict.fromkeys(NAMES, metered)})
        self.state, self.step_s = State(), step_s
        self.moves = []  # (at, load, want, rule, fresh)
        self.changed = dict.fromkeys(NAMES)
        self.before = {}
        self.held = {}  # load -> (until, on) since the last hand
        at = 0.0
        for gap, event in trace:
            while at < gap:
                at += step_s
                self.step()
            at = 0.0
            if "hand" in event:
                (name, told), = event["hand"].items()
                if self.house.outputs[name].on != (told == "on"):
                    self.held[name] = (self.now.mono + 1200.0 - 2 * step_s, told == "on")
            self.house.change(event)
        for _ in range(int(300 / step_s)):
            self.step()

    ticks = 0

    @property
    def now(self):
        return Now(1000.0 + self.ticks * self.step_s, SUNDAY + self.ticks * self.step_s)

    def step(self):
        self.ticks += 1
        now, house = self.now, self.house
        house.pass_time(now)
        before = {name: house.outputs[name].on for name in NAMES}
        for name in NAMES:
            if before[name] != self.before.get(name, before[name]):
                self.changed[name] = now.mono
        outcome = decide(CONFIG, self.state, house.look(now), now)
        self.look(now, outcome)
        self.state = outcome.state
        house.obey(outcome.decisions, self.state, now)
        self.before = {name: house.outputs[name].on for name in NAMES}
        for name in NAMES:
            if self.before[name] != before[name]:
                self.changed[name] = now.mono

    def look(self, now, outcome):
        assert [each.load for each in outcome.decisions] == [load.name for load in CONFIG.loads]
        starts = [each for each in outcome.decisions if each.act and each.want == "on"]
        assert len(starts) <= 1, "one change at a time"
        for each in outcome.decisions:
            assert each.reason and each.rule
            if each.act:
                self.judge(now, each, outcome.fresh)
                self.moves.append((now.mono, each.load, each.want, each.rule, outcome.fresh))
        for name in NAMES:
            output = self.house.outputs[name]
            if output.on and output.source == "HTTP_in":
                assert output.off_at is not None, "what we switched on has a timer"

    def judge(self, now, each, fresh):
        load = CONFIG.load(each.load)
        assert not load.essential
        since = None if self.changed[each.load] is None else now.mono - self.changed[each.load]
        if each.want == "on":
            assert since is None or since >= load.min_off_s
            assert fresh == LOCAL or (fresh == REMOTE and each.rule in ("window", "deadline", "cheap", "back"))
        elif each.rule not in ("limit", "pause"):
            assert since is None or since >= load.min_on_s
        until, on = self.held.get(each.load, (0.0, False))
        if now.mono < until and (each.want == "on") != on:
            assert each.rule == "limit", f"{each} against a hand"


@given(traces(40, 25))
@FEW
def test_limits_are_never_exceeded_for_longer_than_the_reaction_time(trace):
    class Strict(Watch):
        over_s = 0.0

        def look(self, now, outcome):
            super().look(now, outcome)
            house, rules = self.house, CONFIG.rules
            phases = [phase for phase, power in enumerate(house.phases) if power > rules.phase_limit_w]
            could = any(
                house.outputs[name].power_w >= 20 and self.state.of(name).given_up is None
                and (house.load_w > rules.limit_w or set(phases) & set(CONFIG.load(name).phases)) for name in NAMES)
            over = house.data == "local" and could and (phases or house.load_w > rules.limit_w)
            self.over_s = self.over_s + 1.0 if over else 0.0
            assert self.over_s <= rules.reaction_s

    Strict([(gap + 5, event) for gap, event in trace])


@given(traces(400, 30), st.booleans())
@FEW
def test_minimum_times_hands_and_starts_an_hour_hold(trace, metered):
    watch = Watch(trace, step_s=5.0, metered=metered)
    for name in NAMES:
        starts = [at for at, load, want, _, _ in watch.moves if load == name and want == "on"]
        for at in starts:
            assert sum(at <= other < at + HOUR_S for other in starts) <= CONFIG.rules.starts_per_hour


@given(st.integers(60, 900), st.integers(0, 5000), st.integers(0, 9000), st.booleans())
@FEW
def test_a_house_that_swings_does_not_make_the_relays_swing(period, low, high, metered):
    """Sun and house jump to and fro for three hours; each load moves a bounded number of times."""
    swing = [(period, {"pv_w": high if number % 2 else low, "base_phases": [low // 3 if number % 2 else high // 4] * 3})
             for number in range(10_800 // period)]
    watch = Watch([(10, {"soc_pct": 95}), *swing], step_s=10.0, metered=metered)
    for name in NAMES:
        moves = [at for at, load, _, _, _ in watch.moves if load == name]
        for at in moves:
            assert sum(at <= other < at + HOUR_S for other in moves) <= 2 * CONFIG.rules.starts_per_hour + 1
    starts = [at for at, _, want, _, _ in watch.moves if want == "on"]
    assert all(later - earlier >= CONFIG.rules.settle_s for earlier, later in zip(starts, starts[1:]))
