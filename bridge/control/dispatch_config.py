"""The loads of a house and the rules they are switched by, read from an INI text.

Never opens a file and never shows a password. ``[rules]`` is for all; every other section is one load.
"""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Optional, Tuple

from bridge.control.dispatch_keys import LOAD_KEYS, RULE_KEYS
from bridge.control.dispatch_time import Deadline, Window, zone
from bridge.errors import ConfigError
from bridge.values import KEY_LIKENESS, did_you_mean

DEFAULT_PAUSES = {"heater": ("oven",), "ev": ("oven",)}  # while such a load runs, these do not


class Load(NamedTuple):
    """One load. Priority 1 is the most important; ``device`` "" means that it can only be noticed."""

    name: str
    device: str = ""
    channel: int = 0
    mac: str = ""
    password: str = ""
    power_w: float = 0.0
    phases: Tuple[int, ...] = ()
    priority: int = 50
    essential: bool = False
    kind: str = "other"
    min_on_s: float = 300.0
    min_off_s: float = 300.0
    windows: Tuple[Window, ...] = ()
    cheapest_s: float = 0.0
    deadline: Optional[Deadline] = None
    needs_surplus_w: Optional[float] = None
    needs_soc_pct: Optional[float] = None
    over_battery: bool = False
    manual_hold_s: float = 3600.0
    pauses_for: Tuple[str, ...] = ()
    running_w: float = 300.0

    @property
    def has_rules(self) -> bool:
        """True when something of ours can want it on; else it is only paused and brought back."""
        return bool(self.windows or self.cheapest_s or self.deadline) or self.follows_sun

    @property
    def follows_sun(self) -> bool:
        """True when surplus or a full battery may switch it on."""
        return self.needs_surplus_w is not None or self.needs_soc_pct is not None


class Rules(NamedTuple):
    """What holds for all loads; powers in W, times in seconds."""

    limit_w: Optional[float] = None  # of the whole house, as a rule what the inverter can give
    phase_limit_w: Optional[float] = None
    phase_measure: str = "house"
    margin_w: float = 200.0
    reaction_s: float = 3.0
    surplus_after_s: float = 60.0
    surplus_until_s: float = 180.0
    import_w: float = 100.0
    settle_s: float = 30.0
    back_after_s: float = 120.0
    soc_hysteresis_pct: float = 5.0
    starts_per_hour: int = 6
    stale_after_s: float = 10.0
    lost_after_s: float = 60.0
    dead_man_s: float = 120.0
    relay_poll_s: float = 2.0
    manual_hold_s: float = 3600.0
    timezone: str = ""
    prices: str = ""
    em: str = ""


class Config(NamedTuple):
    """The rules, the loads by priority, and the zone their times belong to."""

    rules: Rules
    loads: Tuple[Load, ...]
    tz: Any = None

    def load(self, name: str) -> Load:
        """Return the load of a name; raises KeyError."""
        return {each.name: each for each in self.loads}[name]


def read(options: Any, where: str, timezone: str = "") -> Config:
    """Return the configuration in INI options (``bridge.ini.parse``); raises ConfigError naming the line."""
    given: Dict[str, Dict[str, Any]] = {}
    for option in options:
        keys = RULE_KEYS if option.section == "rules" else LOAD_KEYS
        if option.name not in keys:
            hint = _hint(option.name, option.section == "rules")
            raise ConfigError(f"{where} line {option.line}: [{option.section}] has no {option.name}{hint}")
        field, parse = keys[option.name]
        section = given.setdefault(option.section, {})
        if field in section:
            raise ConfigError(f"{where} line {option.line}: [{option.section}] {option.name} is there twice")
        try:
            section[field] = parse(option.value)
        except ValueError as error:
            reason = "the value is not accepted" if field == "password" else str(error)
            raise ConfigError(f"{where} line {option.line}: [{option.section}] {option.name}: {reason}") from None
    rules = Rules(**given.pop("rules", {}))
    rules = rules._replace(timezone=rules.timezone or timezone)
    loads = tuple(_load(name, fields, rules, where) for name, fields in given.items())
    _check(loads, rules, where)
    return Config(rules, tuple(sorted(loads, key=lambda each: each.priority)), zone(rules.timezone))


def _hint(name: str, in_rules: bool) -> str:
    """Say where a key belongs, else which one was meant, else which there are."""
    keys, others = (RULE_KEYS, LOAD_KEYS) if in_rules else (LOAD_KEYS, RULE_KEYS)
    if name in others:
        return f"; it belongs to {'a load' if in_rules else '[rules]'}"
    return did_you_mean(name, keys, KEY_LIKENESS) or f"; there are {', '.join(keys)}"


def _load(name: str, fields: Dict[str, Any], rules: Rules, where: str) -> Load:
    if "power_w" not in fields:
        raise ConfigError(f"{where}: [{name}] has no power_w; give what the load draws in W")
    fields.setdefault("manual_hold_s", rules.manual_hold_s)
    fields.setdefault("pauses_for", DEFAULT_PAUSES.get(fields.get("kind", ""), ()))
    fields.setdefault("essential", fields.get("kind") == "oven")
    return Load(name=name, **fields)


def _check(loads: Tuple[Load, ...], rules: Rules, where: str) -> None:
    if not loads:
        raise ConfigError(f"{where}: describes no load; add a section such as [boiler] with device and power_w")
    if rules.dead_man_s < 4 * rules.relay_poll_s or not rules.relay_poll_s > 0:
        raise ConfigError(f"{where}: [rules] dead_man must be at least four times relay_poll, and that above 0")
    taken: Dict[Tuple[str, int], str] = {}
    for load in loads:
        if rules.phase_limit_w is not None and not load.phases:
            raise ConfigError(f"{where}: [{load.name}] needs a phase (1, 2, 3 or 123), as there is a phase limit")
        if not load.device:
            if not load.essential:
                raise ConfigError(f"{where}: [{load.name}] needs a device, or essential = yes if it is only noticed")
            continue
        other = taken.setdefault((load.device, load.channel), load.name)
        if other != load.name:
            raise ConfigError(f"{where}: [{load.name}] and [{other}] are the same device and channel")
