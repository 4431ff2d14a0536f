"""Self-signed certificates for the simulated Envoy, made by the openssl program.

Never ships a key: each simulator gets one of its own, in a directory that ends with it.
"""

from __future__ import annotations

import os
import ssl
import subprocess

OPENSSL = "openssl"
LIFE_DAYS = "3650"
MAKE_TIMEOUT_S = 30.0


def make_certificate(directory: str, name: str) -> str:
    """Make a key and a self-signed certificate for it; returns the path of the file that holds both.

    Raises OSError with a clear text where openssl is missing or fails.
    """
    path = os.path.join(directory, f"{name}.pem")
    command = [
        OPENSSL, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-days", LIFE_DAYS, "-subj", "/O=Enphase Energy Inc./CN=envoy.local", "-keyout", path + ".key", "-out", path,
    ]
    try:
        done = subprocess.run(command, capture_output=True, timeout=MAKE_TIMEOUT_S, check=False)
    except FileNotFoundError:
        raise OSError(f"the program {OPENSSL} is needed for the Envoy's certificate; install it") from None
    if done.returncode:
        raise OSError(f"{OPENSSL} made no certificate: {done.stderr.decode('utf-8', 'replace').strip()[-200:]}")
    with open(path, "ab") as whole, open(path + ".key", "rb") as key:
        whole.write(key.read())
    return path


def server_context(path: str) -> ssl.SSLContext:
    """Return the TLS settings of a server with that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
