"""Make the file with the credentials for the Sigen app and Amber: asked for, from the environment, or a HAR file.

Never shows a secret, on the screen or on the way to it, and never leaves a file that others can read.
"""

from __future__ import annotations

import argparse
import os
import sys
from getpass import getpass
from typing import Callable, Dict, List, NamedTuple, Optional

from bridge.config import Settings
from bridge.errors import EXIT_OK, ConfigError
from bridge.peers import sigen_password
from bridge.peers.sigen_app_env import PASSTHROUGH, checked, merged, missing
from bridge.peers.sigen_app_har import found_in, redacted
from bridge.peers.sigen_app_identity import THREE_WAYS

HELP = "make the file with the credentials of the Sigen app and Amber: make"
SYSTEM_FILE, OWN_FILE = "/etc/default/sigen-bridge", "sigen-bridge.env"
SYSTEMD = "/run/systemd/system"  # there while systemd runs, whose services are all that read SYSTEM_FILE
TRIES = 3  # answers to one question


class Question(NamedTuple):
    """One variable of the file, the setting it gives, and what is asked."""

    variable: str
    key: str
    text: str
    secret: bool = False


# fmt: off
QUESTIONS = (
    Question("SIGEN_REGION",    "cloud.region",           "Sigenergy region (aus, eu, apac, us, cn, jp)"),
    Question("SIGEN_USER",      "cloud.username",         "mySigen user (an e-mail address)"),
    Question("SIGEN_PASS_ENC",  "cloud.password_encoded", "mySigen password", secret=True),
    Question("SIGEN_DEVICE_ID", "cloud.device_id",        "device id, 13 digits (empty: one is made and kept)"),
    Question("STATION_ID",      "cloud.station_id",       "station number (empty: found by itself)"),
    Question("AMBER_TOKEN",     "amber.token",            "Amber token, psk_... (empty: none)", secret=True),
    Question("SIGEN_BEARER",    "cloud.bearer",           "bearer instead of user and password", secret=True),
)
# fmt: on
NOT_ASKED = ("SIGEN_BEARER",)
FROM_HAR = (("cloud.region", "region"), ("cloud.username", "username"), ("cloud.device_id", "device_id"),
            ("cloud.password_encoded", "password_encoded"), ("cloud.station_id", "station_id"))


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of each verb."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="make")
    make = verbs.add_parser("make", help="ask for the credentials and write the file", allow_abbrev=False)
    make.add_argument("--out", metavar="FILE",
                      help=f"where to (default {SYSTEM_FILE} as root with systemd, else {OWN_FILE} in this directory)")
    make.add_argument("--from-har", metavar="FILE", help="take what a recording of the browser's sign-in holds")
    make.add_argument("--non-interactive", action="store_true",
                      help="ask nothing: take what the environment and the settings hold")
    make.add_argument("--dry-run", action="store_true", help="show what would be written, without secrets")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Make the file; exit 2 for what is missing or cannot be right."""
    values = {one.variable: str(settings[one.key] or "") for one in QUESTIONS}
    plain = settings["cloud.password"] or ""
    if plain and not values["SIGEN_PASS_ENC"]:
        values.update(password_lines(plain))
    if args.from_har:
        values.update(_from_har(args.from_har))
    if not args.non_interactive:
        _interview(values)
    values = {name: text for name, text in values.items() if text}
    lacking = missing(values)
    if lacking:
        raise ConfigError(
            f"env make: {', '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} missing; set the environment"
            " variables of these names, or run it on a terminal without --non-interactive"
        )
    for name, text in values.items():
        checked(name, text)
    values.update({name: _text(settings[key]) for name, key in PASSTHROUGH if settings.is_set(key)})
    path = args.out or (SYSTEM_FILE if os.geteuid() == 0 and os.path.isdir(SYSTEMD) else OWN_FILE)
    if args.dry_run:
        print(f"would write {path} (only its owner can read it):")
    else:
        write_private(path, merged(_old(path), values))
        print(f"wrote {path}, which only its owner can read:")
    for name, text in values.items():
        print(f"  {name}={_shown(name, text)}")
    for line in advice(values, path):
        print(line)
    return EXIT_OK


def password_lines(plain: str) -> Dict[str, str]:
    """Return the variable that holds a password: encoded as the app sends it, or plain without the cipher."""
    if sigen_password.available():
        return {"SIGEN_PASS_ENC": sigen_password.encode(plain)}
    return {"SIGEN_PASS": plain}


def advice(values: Dict[str, str], path: str) -> List[str]:
    """Return what is worth knowing about the file."""
    lines = []
    if "STATION_ID" not in values:
        lines.append(f"STATION_ID is not set; ways to it: {THREE_WAYS}")
    if "SIGEN_PASS" in values:
        lines.append(
            "the password stands there as it is: pycryptodome, which encodes it for the app, is not installed here"
            " (encode it elsewhere: sigen-bridge cloud encode-password, and set SIGEN_PASS_ENC)"
        )
    if not values.get("AMBER_TOKEN"):
        lines.append("AMBER_TOKEN is not set: tariffs need it (Amber app, settings, developers)")
    elif not values["AMBER_TOKEN"].startswith("psk_"):
        lines.append("AMBER_TOKEN does not begin with psk_ as Amber's do; check it")
    if path == SYSTEM_FILE:
        lines.append("systemd reads it as root; by hand only root can: sudo sigen-bridge ...")
    lines.append(f"try it: sigen-bridge cloud systems --via app --config {path}")
    return lines


def write_private(path: str, content: str) -> None:
    """Replace a file by one that only its owner may read; a power cut leaves the old one or the new one."""
    target = os.path.realpath(path)
    temporary = f"{target}.{os.getpid()}.tmp"
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                os.fchmod(stream.fileno(), 0o600)
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, target)
        except OSError:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise ConfigError(f"env make --out {path}: cannot be written ({error.strerror}); choose another file") from None


def _from_har(path: str) -> Dict[str, str]:
    try:
        with open(path, encoding="utf-8-sig") as handle:
            found = found_in(handle.read())
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise ConfigError(f"env make --from-har {path}: cannot be read ({reason})") from None
    print(f"found in {path} (delete it afterwards: it holds your session):")
    variables = {one.key: one.variable for one in QUESTIONS}
    values: Dict[str, str] = {}
    for key, name in FROM_HAR:
        text = found._asdict()[name]
        print(f"  {name.replace('_', ' '):<17} {redacted(name, text) if text else 'not in it'}")
        if text:
            values[variables[key]] = text
    return values


def _interview(values: Dict[str, str]) -> None:
    if not sys.stdin.isatty():
        raise ConfigError("env make: there is no terminal to ask on; use --non-interactive with the environment")
    for one in QUESTIONS:
        if one.variable in NOT_ASKED or (values["SIGEN_BEARER"] and one.variable in ("SIGEN_USER", "SIGEN_PASS_ENC")):
            continue
        kept = values.get(one.variable) or ("set" if one.secret and values.get("SIGEN_PASS") else "")
        hint = f" [Enter keeps {_shown(one.variable, kept)}]" if kept else ""
        answer = _answer(one, f"{one.text}{hint}: ")
        if answer and one.variable == "SIGEN_PASS_ENC":
            values.update({"SIGEN_PASS_ENC": "", "SIGEN_PASS": "", **password_lines(answer)})
        elif answer:
            values[one.variable] = answer


def _answer(question: Question, prompt: str) -> str:
    ask: Callable[[str], str] = getpass if question.secret else input
    last: Optional[ConfigError] = None
    for _ in range(TRIES):
        try:
            # a password keeps its blanks; everything else was copied with some
            answer = ask(prompt)
            answer = answer if question.variable == "SIGEN_PASS_ENC" else answer.strip()
            if answer and question.variable != "SIGEN_PASS_ENC":
                checked(question.variable, answer)
            return answer
        except EOFError:
            raise ConfigError("env make: the answers ended before the questions") from None
        except ConfigError as error:
            last = error
            print(error)
    raise last or ConfigError("env make: no answer")


def _old(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as handle:
            return handle.read()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise ConfigError(f"env make --out {path}: is there and cannot be read ({reason})") from None


def _shown(name: str, text: str) -> str:
    kinds = {"SIGEN_PASS_ENC": "password", "SIGEN_PASS": "password", "SIGEN_BEARER": "bearer", "AMBER_TOKEN": "token"}
    kinds.update({"SIGEN_USER": "username", "SIGEN_DEVICE_ID": "device_id", "STATION_ID": "station_id"})
    return redacted(kinds.get(name, ""), text)


def _text(value: object) -> str:
    return "1" if value is True else "0" if value is False else str(value)
