"""Settings from four places: flag > environment > file > default, each with where it came from.

The only module that reads the environment or a configuration file. Never prints a secret: ``shown``
is what may be seen. Never connects to anything.
"""

from __future__ import annotations

import os
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from bridge import envfile, ini, uci
from bridge.errors import ConfigError
from bridge.settings import ENV_PREFIX, NOT_SETTINGS, SETTINGS, Setting, variables
from bridge.values import did_you_mean

DEFAULT_FILES = (
    "/etc/config/sigen-bridge",
    "/etc/sigen-bridge/sigen-bridge.ini",
    "/etc/sigen-bridge.ini",
)
ENV_FILE = "--env-file"
REDACTED = "(set, not shown)"


class Origin(NamedTuple):
    """The raw text of a setting and where it stood."""

    raw: str
    where: str


class Settings:
    """Typed settings by key; parsing is done once, mistakes are ConfigErrors that name the place."""

    def __init__(self, origins: Mapping[str, Origin]) -> None:
        self._values: Dict[str, Any] = {}
        self._where: Dict[str, str] = {}
        for row in SETTINGS:
            origin = origins.get(row.key)
            if origin is None:
                self._values[row.key], self._where[row.key] = row.default, "default"
                continue
            try:
                self._values[row.key] = row.parse(origin.raw)
            except ValueError as error:
                reason = "the value is not accepted" if row.secret else str(error)
                raise ConfigError(f"setting {row.key} ({origin.where}): {reason}") from None
            self._where[row.key] = origin.where

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def where(self, key: str) -> str:
        """Say where the value of ``key`` came from: a flag, a variable, a file line or "default"."""
        return self._where[key]

    def is_set(self, key: str) -> bool:
        """True when somebody set ``key``, even to its default."""
        return self._where[key] != "default"

    def replaced(self, changes: Mapping[str, Any], where: str) -> Settings:
        """Return a copy with typed values put in place of those that nobody set."""
        copy = Settings({})
        copy._values, copy._where = dict(self._values), dict(self._where)
        for key, value in changes.items():
            if not self.is_set(key):
                copy._values[key], copy._where[key] = value, where
        return copy

    def shown(self) -> Iterator[Tuple[Setting, str, str]]:
        """Yield (row, value as text with secrets hidden, where it came from)."""
        for row in SETTINGS:
            value = self._values[row.key]
            text = REDACTED if row.secret and value else _as_text(value)
            yield row, text, self._where[row.key]


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def take_flags(argv: Sequence[str]) -> Tuple[Dict[str, Origin], Optional[str], List[str]]:
    """Take the setting flags out of ``argv``: returns settings, ``--config`` path, the rest.

    The path of ``--env-file`` is among the settings, under that name, for ``load``.
    A secret has no flag of its own but ``--section-name-file FILE``, so that it never stands in the
    process list. Raises ConfigError for a flag without its value.
    """
    by_flag = _flags()
    origins: Dict[str, Origin] = {}
    config: Optional[str] = None
    rest: List[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        if word == "--":
            rest += words
            break
        flag, equals, value = word.partition("=")
        if flag not in ("--config", ENV_FILE) and flag not in by_flag:
            rest.append(word)
            continue
        if not equals:
            if not words:
                raise ConfigError(f"{flag}: a value is missing behind it")
            value = words.pop(0)
        if flag == "--config":
            config = value
            continue
        if flag == ENV_FILE:
            origins[ENV_FILE] = Origin(value, flag)
            continue
        row = by_flag[flag]
        if row.secret:
            value = _first_line(value, flag)
        origins[row.key] = Origin(value, f"flag {flag}")
    return origins, config, rest


def _flags() -> Dict[str, Setting]:
    flags: Dict[str, Setting] = {}
    for row in SETTINGS:
        name = "--" + row.key.replace(".", "-").replace("_", "-")
        flags[name + "-file" if row.secret else name] = row
        if row.flag:
            flags[row.flag] = row
    return flags


def flag_names() -> List[str]:
    """Return every setting flag there is, for help and for "did you mean"."""
    return sorted(_flags())


def _first_line(path: str, flag: str) -> str:
    content = _read(path, f"{flag} {path}")
    return content.splitlines()[0].strip() if content.strip() else ""


def load(argv: Sequence[str]) -> Tuple[Settings, List[str]]:
    """Return the settings that hold for this command line, and what of it is not a setting."""
    flags, path, rest = take_flags(argv)
    origins = from_file(path)
    if ENV_FILE in flags:
        env_file = flags.pop(ENV_FILE).raw
        origins.update(_from_env_file(_read(env_file, f"{ENV_FILE} {env_file}"), env_file))
    origins.update(from_environment(os.environ))
    origins.update(flags)
    _split_host_port(origins)
    return Settings(origins), rest


def _split_host_port(origins: Dict[str, Origin]) -> None:
    host = origins.get("modbus.host")
    if host is not None and host.raw.count(":") == 1:
        name, _, port = host.raw.partition(":")
        origins["modbus.host"] = Origin(name, host.where)
        origins.setdefault("modbus.port", Origin(port, host.where))


def supervisor() -> Mapping[str, str]:
    """Return the variables by which systemd or procd says that it wants to hear from us."""
    names = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "STATE_DIRECTORY", "SIGEN_BRIDGE_INSTANCE")
    return {name: os.environ[name] for name in names if name in os.environ}


def from_environment(environ: Mapping[str, str]) -> Dict[str, Origin]:
    """Return the settings that environment variables give; an unknown SIGEN_BRIDGE_ name is an error."""
    by_name = variables()
    origins: Dict[str, Origin] = {}
    for name, value in environ.items():
        found = by_name.get(name)
        if found is not None:
            preferred = name.startswith(ENV_PREFIX)
            if preferred or found.key not in origins:
                origins[found.key] = Origin(value, f"environment {name}")
        elif name.startswith(ENV_PREFIX) and name not in NOT_SETTINGS:
            raise ConfigError(f"environment {name}: there is no such setting{did_you_mean(name, by_name)}")
    return origins


def from_file(path: Optional[str]) -> Dict[str, Origin]:
    """Return the settings of a file: the one asked for, or the first default one that exists."""
    chosen = path or os.environ.get(ENV_PREFIX + "CONFIG")
    if not chosen:
        chosen = next((name for name in DEFAULT_FILES if os.path.exists(name)), None)
        if not chosen:
            return {}
    content = _read(chosen, "configuration file " + chosen)
    if envfile.looks_like_env(content):
        return _from_env_file(content, chosen)
    try:
        options = uci.parse(content) if uci.looks_like_uci(content) else ini.parse(content)
    except ValueError as error:
        raise ConfigError(f"configuration file {chosen}: {error}") from None
    return _known(options, chosen, os.environ.get("ENVIRONMENT", ""))


def _from_env_file(content: str, path: str) -> Dict[str, Origin]:
    try:
        found = envfile.settings_of(content)
    except ValueError as error:
        raise ConfigError(f"environment file {path}: {error}") from None
    return {one.name: Origin(one.value, f"{path}:{one.line}") for one in found}


def read_text(path: str, what: str) -> str:
    """Return a file that the settings name; raises ConfigError that says ``what`` it is."""
    return _read(path, what)


def _read(path: str, what: str) -> str:
    try:
        with open(path, encoding="utf-8") as handle:
            return handle.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise ConfigError(f"{what}: cannot be read ({reason}); check the path and its permissions") from None


def _known(options: List[uci.Option], path: str, environment: str) -> Dict[str, Origin]:
    """Return the settings of a file's options.

    A section may be named after an environment and hold variables (``[production] ENPHASE_LOCAL_API_URL = ...``):
    it counts when the variable ENVIRONMENT names it, and then beats the rest of the file.
    """
    rows = {row.key: row for row in SETTINGS}
    variables = {alias: row.key for row in SETTINGS for alias in row.aliases}
    origins: Dict[str, Origin] = {}
    chosen: Dict[str, Origin] = {}
    for option in options:
        if option.name in variables:
            if option.section == environment:
                chosen[variables[option.name]] = Origin(option.value, f"{path}:{option.line}")
            continue
        key = f"{option.section}.{option.name}"
        if key not in rows:
            if option.section == "main" and option.name in ("enabled", "tariff"):
                continue  # the init script's switches
            raise ConfigError(
                f"configuration file {path} line {option.line}: there is no setting {key}{did_you_mean(key, rows)}"
            )
        origins[key] = Origin(option.value, f"{path}:{option.line}")
    return {**origins, **chosen}
