"""Why an MQTT broker was not reached or did not want us: one kind and one sentence for each cause.

Pure. Never imports ssl or paho: it reads the texts and codes that they give.
"""

from __future__ import annotations

from typing import Optional

from bridge.errors import EXIT_CLOUD, AuthError, LinkError

NOT_AUTHORISED = 135
# CONNACK codes of MQTT 5 (3.2.2.2); paho gives those of 3.1.1 by the same numbers
LOGIN_CODES = (134, 135, 138, 140)  # bad user name or password, not authorised, banned, bad authentication
CLIENT_ALERTS = ("certificate required", "bad certificate", "unknown ca", "certificate unknown", "certificate expired",
                 "certificate revoked", "unsupported certificate", "access denied", "handshake failure")


class MqttError(LinkError):
    """The broker cannot be used now; ``kind`` names the cause.

    unreachable, ca, hostname, expired, tls (other), certificate (ours was refused), silent, lost, not_mqtt,
    version, refused, acl.
    """

    exit_code = EXIT_CLOUD

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class MqttLoginError(AuthError):
    """The broker is there and does not take this user name and password."""

    exit_code = EXIT_CLOUD
    kind = "login"


def refused_login(peer: str, code: int, text: str) -> Exception:
    """Return the error of a CONNACK that is no welcome."""
    if code in LOGIN_CODES:
        return MqttLoginError(f"{peer}: refused the login ({text}); check user name and password")
    return MqttError(f"{peer}: refused the connection ({text}); tried again later", "refused")


def tls_problem(peer: str, error: OSError, encrypted: bool) -> Optional[MqttError]:
    """Return what a failed handshake means, or None when the error is not about TLS."""
    verify = getattr(error, "verify_message", "")
    text = verify or getattr(error, "reason", None) or str(error)
    if verify:
        low = verify.lower()
        if "mismatch" in low or "doesn't match" in low or "not valid for" in low:
            return MqttError(f"{peer}: its certificate is for another name ({verify}); use the name that it is for",
                             "hostname")
        if "expired" in low or "not yet valid" in low:
            return MqttError(f"{peer}: its certificate is out of date ({verify}); check both clocks", "expired")
        return MqttError(f"{peer}: its certificate is of another CA than the trusted one ({verify}); check the CA file",
                         "ca")
    if not encrypted:
        return None
    alert = client_alert(str(text))
    if alert:  # TLS 1.2 says it in time
        return refused_certificate(peer, alert)
    if "wrong_version" in str(text).lower() or "record layer" in str(text).lower():
        return MqttError(f"{peer}: does not speak TLS at this port; check the port (8883 is usual)", "tls")
    if isinstance(error, ConnectionResetError):
        return MqttError(f"{peer}: hung up during the TLS handshake; check that this port speaks TLS", "tls")
    if "ssl" in type(error).__name__.lower() or "ssl" in str(error).lower() or "EOF" in str(error):
        return MqttError(f"{peer}: no TLS connection ({text}); check port and certificates", "tls")
    return None


def broken(peer: str, alert: str, lost: bool, encrypted: bool, own: bool, waited_s: float) -> MqttError:
    """Return why a connection ended, or said nothing, before it became a session; ``own``: we showed a certificate."""
    told = client_alert(alert)
    if told:
        # under TLS 1.3 the handshake is over for us before the broker has looked at our certificate
        if not own:
            return MqttError(f"{peer}: wants a client certificate ({told}), and none is set", "certificate")
        return refused_certificate(peer, told)
    if not lost:
        return MqttError(f"{peer}: no MQTT answer in {waited_s:g} s; check the port", "not_mqtt")
    if encrypted and own:
        return refused_certificate(peer, "hung up after the handshake")
    if encrypted:
        return MqttError(f"{peer}: hung up after the handshake; it may want a client certificate, and none is set",
                         "certificate")
    return MqttError(f"{peer}: hung up without an MQTT answer; check the port (with TLS 8883 is usual)", "not_mqtt")


def refused_certificate(peer: str, alert: str) -> MqttError:
    """Return the error of a broker that does not take our client certificate, or wants one."""
    return MqttError(
        f"{peer}: did not take our client certificate ({alert}); check that it is of this broker's CA and in date",
        "certificate",
    )


def client_alert(text: str) -> str:
    """Return the TLS alert within a text by which the other end refuses our certificate, or ''."""
    low = text.lower().replace("_", " ")
    if "alert" not in low:
        return ""
    return next((word for word in CLIENT_ALERTS if word in low), "")
