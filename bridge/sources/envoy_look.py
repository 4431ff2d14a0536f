"""Looks at the Envoy for doctor: its address, its certificate, its token.

Never pins a certificate, stores a token or asks Enlighten unless told to, and never judges:
diagnosis_enphase does.
"""

from __future__ import annotations

from typing import NamedTuple, Optional

from bridge.clock import Clock
from bridge.errors import BridgeError, LinkError, PeerError
from bridge.peers.enphase_envoy import Envoy
from bridge.peers.enphase_errors import CertificateChanged, LoginRejected, NoToken
from bridge.peers.enphase_keeper import TokenKeeper

OK, INCOMPLETE, UNREACHABLE, FOREIGN, CERTIFICATE = "ok", "incomplete", "unreachable", "foreign", "certificate"
NO_TOKEN, LOGIN, CLOUD, TOKEN = "no_token", "login", "cloud", "token"


class EnvoySeen(NamedTuple):
    """One look at an Envoy; ``outcome`` is one of the words above, ``text`` what came back.

    ``ends_in_s`` is how long its token still holds, ``pasted`` whether nobody renews it.
    """

    outcome: str
    peer: str
    text: str = ""
    serial: Optional[str] = None
    told_serial: str = ""
    firmware: Optional[str] = None
    pasted: bool = False
    ends_in_s: Optional[float] = None
    ending: bool = False


def look_at_envoy(envoy: Envoy, told_serial: str, clock: Clock, ask_cloud: bool) -> EnvoySeen:
    """Return how the Envoy and its token are; with ``ask_cloud`` a token is fetched when there is none."""
    seen = EnvoySeen(OK, envoy.peer, told_serial=told_serial)
    try:
        info = envoy.info()
        seen = seen._replace(serial=info.serial, firmware=info.firmware)
        if envoy.keeper is None:
            return seen
        return look_at_token(seen, envoy, envoy.keeper, clock, ask_cloud)
    except CertificateChanged as error:
        return seen._replace(outcome=CERTIFICATE, text=str(error))
    except LinkError as error:
        return seen._replace(outcome=UNREACHABLE, text=str(error))
    except PeerError as error:
        return seen._replace(outcome=FOREIGN, text=str(error))
    finally:
        envoy.close()


def look_at_token(seen: EnvoySeen, envoy: Envoy, keeper: TokenKeeper, clock: Clock, ask_cloud: bool) -> EnvoySeen:
    """Go on with the token at hand, or with a new one when Enlighten may be asked."""
    held, now = keeper.held, clock.now()
    ended = held is not None and clock.synced() and held.ended(now)
    if (held is None or ended) and not keeper.fixed:
        if not ask_cloud:
            return seen._replace(outcome=NO_TOKEN, text="there is no token for the Envoy yet")
        try:
            keeper.renew()
        except NoToken as error:
            return seen._replace(outcome=outcome_of(keeper.cause), text=str(error))
        held = keeper.held
    if held is None or ended and keeper.fixed or envoy.accepts(held.text) is False:
        return seen._replace(outcome=TOKEN, text=f"token refused by the Envoy at {envoy.peer} (401)")
    ends_in_s = None if held.expires_at is None else held.expires_at - now
    ending = clock.synced() and held.wants_notice(now)
    return seen._replace(pasted=keeper.fixed, ends_in_s=ends_in_s, ending=ending)


def outcome_of(cause: object) -> str:
    """Return the outcome that stands for what Enlighten did."""
    if isinstance(cause, LoginRejected):
        return LOGIN
    return CLOUD if isinstance(cause, BridgeError) else NO_TOKEN
