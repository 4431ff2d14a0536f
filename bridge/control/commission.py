"""What an installer answers about a house, read from an INI text.

Pure. Never holds a password: a device's password is named by file. Facts: requirements of the installer's
source (S3.17), and the vendor's own link-loss setting ("mySigen App Installer Manual, Modbus TCP Server").
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from bridge.errors import ConfigError
from bridge.link.dial import split_host
from bridge.values import KEY_LIKENESS, OneOf, did_you_mean, mac_address, watts, whole, yes_no

ROLES = ("display", "load", "none")
KINDS = ("oven", "heater", "ev", "other")
NAME_MAX = 64  # characters of a device name that the firmware takes

TEMPLATE = """\
# Answers for: sigen-bridge commission FILE. Lines that begin with # are comments.
[site]
name =
address =
installer =

[gateway]
# host may be left out: then the gateway is looked for on this network.
# host = 192.168.8.105
# Modbus units of the inverters, and the serial numbers that they must have (may be left out).
inverters = 1
# serials = 110A11AB0001

# One section for each Shelly: the name behind the word shelly is what the device will be called.
# role: display shows the five numbers, load is switched (power_w, phase 1 2 3 or 123, kind oven heater ev other),
# none is only named. Give mac or host; a password goes into a file of its own: password_file = kitchen.pass
# [shelly Kitchen board]
# mac = AABBCCDDEEFF
# role = display
#
# [shelly Hall heater]
# host = 192.168.8.31
# role = load
# channel = 0
# power_w = 3000
# phase = 1
# priority = 20
# kind = heater

[loads]
# file = loads.ini
# limit_w = 10000

[consent]
# May the bridge command battery and loads? yes or no, and who said so.
control =
given_by =

[link_loss]
# Is the plant's own protection for a lost Modbus connection set (back to self-consumption)? yes or no.
# mySigen, as installer: Modbus TCP Server > communication loss; some countries do not have it.
set =
"""


class Device(NamedTuple):
    """A Shelly as the installer wants it; empty or None is not answered."""

    name: str
    host: str = ""
    mac: str = ""
    role: str = "none"
    password_file: str = ""
    channel: int = 0
    power_w: Optional[float] = None
    phase: str = ""
    priority: int = 50
    kind: str = "other"
    essential: bool = False


class Answers(NamedTuple):
    """The file; ``consent`` and ``link_loss`` are None where the question was not answered."""

    site: Mapping[str, str]
    host: str = ""
    inverters: Tuple[int, ...] = (1,)
    serials: Tuple[str, ...] = ()
    devices: Tuple[Device, ...] = ()
    loads_file: str = ""
    limit_w: Optional[float] = None
    consent: Optional[bool] = None
    given_by: str = ""
    link_loss: Optional[bool] = None


def _units(text: str) -> Tuple[int, ...]:
    return tuple(whole(1, 246)(word) for word in text.replace(",", " ").split())


def _words(text: str) -> Tuple[str, ...]:
    return tuple(text.replace(",", " ").split())


def _host(text: str) -> str:
    split_host(text, 1)
    return text


Row = Tuple[str, Callable[[str], Any]]  # field, how its text is read
# fmt: off
KEYS: Mapping[str, Mapping[str, Row]] = {
    "site":      {name: (name, str) for name in ("name", "address", "installer", "notes")},
    "gateway":   {"host": ("host", _host), "inverters": ("inverters", _units), "serials": ("serials", _words)},
    "loads":     {"file": ("loads_file", str), "limit_w": ("limit_w", watts)},
    "consent":   {"control": ("consent", yes_no), "given_by": ("given_by", str)},
    "link_loss": {"set": ("link_loss", yes_no)},
}
DEVICE_KEYS: Mapping[str, Row] = {
    "host":      ("host", _host),                   "mac":       ("mac", mac_address),
    "role":      ("role", OneOf(*ROLES)),           "channel":   ("channel", whole(0, 7)),
    "power_w":   ("power_w", watts),                "phase":     ("phase", OneOf("1", "2", "3", "123")),
    "priority":  ("priority", whole(1, 99)),        "kind":      ("kind", OneOf(*KINDS)),
    "essential": ("essential", yes_no),             "password_file": ("password_file", str),
}
# fmt: on


def read(options: Iterable[Any], where: str) -> Answers:
    """Return the answers in INI options (``bridge.ini.parse``); raises ConfigError naming the line."""
    fields: Dict[str, Any] = {}
    site: Dict[str, str] = {}
    devices: Dict[str, Dict[str, Any]] = {}
    for option in options:
        place = f"{where} line {option.line}"
        kind, _, name = option.section.partition(" ")
        rows = DEVICE_KEYS if kind == "shelly" else KEYS.get(option.section)
        if rows is None or (kind == "shelly" and not name.strip()):
            sections = ", ".join(f"[{section}]" for section in KEYS)
            raise ConfigError(f"{place}: [{option.section}] is not a section; there are {sections} and [shelly NAME]")
        if option.name not in rows:
            raise ConfigError(f"{place}: [{option.section}] has no {option.name}{_hint(option.name, rows)}")
        target = devices.setdefault(name.strip(), {}) if kind == "shelly" else (
            site if kind == "site" else fields)
        if not option.value:
            continue  # a question left open
        field, parse = rows[option.name]
        if field in target:
            raise ConfigError(f"{place}: [{option.section}] {option.name} is there twice")
        try:
            target[field] = parse(option.value)
        except ValueError as error:
            raise ConfigError(f"{place}: [{option.section}] {option.name}: {error}") from None
    answers = Answers(site, devices=tuple(Device(name, **each) for name, each in devices.items()), **fields)
    _check(answers, where)
    return answers


def _hint(name: str, rows: Mapping[str, Row]) -> str:
    """Say where a key belongs, else which one was meant, else which there are."""
    homes = [f"[{section}]" for section, keys in KEYS.items() if name in keys and section != "site"]
    homes += ["[shelly NAME]"] if name in DEVICE_KEYS else []
    if homes:
        return f"; it belongs to {' or '.join(homes)}"
    return did_you_mean(name, rows, KEY_LIKENESS) or f"; there are {', '.join(rows)}"


def _check(answers: Answers, where: str) -> None:
    macs: List[str] = []
    for device in answers.devices:
        place = f"{where}: [shelly {device.name}]"
        if len(device.name) > NAME_MAX:
            raise ConfigError(f"{place}: a name has at most {NAME_MAX} characters")
        if not (device.host or device.mac):
            raise ConfigError(f"{place}: say which device it is: mac = ... or host = ...")
        if device.role == "load" and device.power_w is None:
            raise ConfigError(f"{place}: a load needs power_w, what it draws in W")
        if device.mac and device.mac in macs:
            raise ConfigError(f"{place}: {device.mac} is there twice")
        macs.append(device.mac)
    shows = [device.name for device in answers.devices if device.role == "display"]
    if len(shows) > 1:
        raise ConfigError(f"{where}: {' and '.join(shows)} are both role = display; one Shelly shows the numbers")
