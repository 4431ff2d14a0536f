"""From settings to the Envoy: its token, its certificate, its requests; imported only when one is configured.

Never connects, and never imports requests: that happens when a token is fetched.
"""

from __future__ import annotations

import logging
from typing import Any, List, Optional

from bridge.clock import Clock
from bridge.config import Settings
from bridge.errors import ConfigError
from bridge.link.cloud import CloudHttp
from bridge.link.envoy_http import ANSWER_TIMEOUT_S, EnvoyHttp
from bridge.link.envoy_tls import EnvoyDoor, address_of
from bridge.peers.enphase_cloud import Account, Enlighten
from bridge.peers.enphase_envoy import Envoy
from bridge.peers.enphase_keeper import TokenKeeper
from bridge.peers.enphase_pin import CertificatePin
from bridge.peers.enphase_proxy import Rules
from bridge.sources.background import Background
from bridge.sources.envoy import EnvoySource
from bridge.sources.more_sun import MoreSun
from bridge.state import StateDir
from bridge.wiring_state import durable_dir

DOCTOR_S = 4.0  # an Envoy answers /info in well under a second


class Unkept:
    """A store that forgets, for --dry-run: reads what is there, writes nothing."""

    def __init__(self, store: StateDir) -> None:
        self._store = store

    def load(self, name: str) -> Optional[Any]:
        """Return what is stored."""
        return self._store.load(name)

    def save(self, name: str, content: Any, durable: bool = False) -> bool:
        """Write nothing and say that it went well."""
        return True


def account(settings: Settings) -> Account:
    """Return the Enlighten account that is set."""
    return Account(settings["enphase.username"], settings["enphase.password"], settings["enphase.serial"])


def pin(settings: Settings, store: Any, keep: bool = True) -> CertificatePin:
    """Return what judges the Envoy's certificate."""
    address = address_of(settings["enphase.local_url"])
    return CertificatePin(store, f"{address.host}:{address.port}", settings["enphase.cert_fingerprint"], keep)


def keeper(settings: Settings, clock: Clock, store: Any) -> TokenKeeper:
    """Return the keeper of the Envoy's token; raises ConfigError when there is no way to one."""
    who, pasted = account(settings), settings["enphase.jwt"]
    if not pasted:
        missing = [f"enphase.{name}" for name, value in zip(who._fields, who) if not value]
        if missing:
            raise ConfigError(
                f"the Envoy wants a token: set {', '.join(missing)}, or paste a token into enphase.jwt"
                " (docs/enphase.md tells where to get one)"
            )
    enlighten = Enlighten(
        CloudHttp(clock, settings["cloud.user_agent"]), who, settings["enphase.remote_url"],
        settings["enphase.token_url"], settings["enphase.token_way"],
    )
    return TokenKeeper(enlighten, store, clock, f"{who.username}\n{who.serial}", pasted)


def envoy(
    settings: Settings, clock: Clock, dry_run: bool = False, judge: Optional[CertificatePin] = None,
    answer_s: float = ANSWER_TIMEOUT_S,
) -> Envoy:
    """Return the Envoy of ``enphase.local_url``; raises ConfigError when none is set.

    ``judge`` is what decides about its certificate, by default ``pin``.
    """
    store: Any = Unkept(durable_dir(settings)) if dry_run else durable_dir(settings)
    address = address_of(settings["enphase.local_url"])
    door = EnvoyDoor(address, judge or pin(settings, store, keep=not dry_run))
    return Envoy(EnvoyHttp(door, clock, answer_s), keeper(settings, clock, store) if address.tls else None)


def rules(settings: Settings, listen: str, on_terminal: bool) -> Rules:
    """Return who may ask the proxy what."""
    allow = tuple(word.strip() for word in settings["enphase.allow"].split(",") if word.strip())
    wrong = [word for word in allow if not word.startswith("/")]
    if wrong:
        raise ConfigError(f"setting enphase.allow: {wrong[0]!r} is not a path; paths begin with /")
    wish = settings["enphase.access_log"]
    return Rules(listen, allow, settings["status.token"], wish == "on" or (wish == "auto" and on_terminal))


def more_sun(settings: Settings, clock: Clock, patience_s: float = 0.0, used: Optional[Envoy] = None) -> MoreSun:
    """Return what adds the Envoy's sun to the plant's readings."""
    source = EnvoySource(used or envoy(settings, clock), clock, settings["enphase.interval_s"])
    background = Background(source, clock, "envoy")  # type: ignore[arg-type]
    return MoreSun(background, clock, settings["enphase.topology"], patience_s)


def examine(settings: Settings, clock: Clock, ask_cloud: bool) -> List[Any]:
    """Return doctor's findings about the Envoy; pins nothing and stores nothing."""
    from bridge.control.diagnosis_enphase import envoy_findings  # of the package of the tools
    from bridge.sources.envoy_look import INCOMPLETE, EnvoySeen, look_at_envoy

    try:
        device = envoy(settings, clock, dry_run=True, answer_s=DOCTOR_S)
    except ConfigError as error:
        return envoy_findings(EnvoySeen(INCOMPLETE, settings["enphase.local_url"], str(error)))
    own = logging.getLogger("enphase")
    level = own.level
    own.setLevel(logging.CRITICAL)  # doctor says it in its own words
    try:
        return envoy_findings(look_at_envoy(device, settings["enphase.serial"], clock, ask_cloud))
    finally:
        own.setLevel(level)
