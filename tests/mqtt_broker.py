"""A real mosquitto with certificates of its own, for the tests of everything that speaks MQTT.

Never reaches beyond this machine. ``Pki`` makes a CA as plain ``openssl req -x509`` does: without keyUsage.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
from pathlib import Path

from bridge.clock import Clock
from tests.ports import free_port

MOSQUITTO = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
START_S = 10.0
CA_EXTENSIONS = "[v3_ca]\nbasicConstraints=critical,CA:true\nsubjectKeyIdentifier=hash\n"
PLUGINS = tuple(Path("/usr/lib").glob("*/mosquitto_dynamic_security.so"))


def openssl(*words, cwd):
    subprocess.run(["openssl", *words], cwd=cwd, check=True, capture_output=True, timeout=60)


class Pki:
    """A CA and the certificates it signed, in a directory; EC keys, because they are made in no time."""

    def __init__(self, path, name="test ca", key_usage=False):
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        extensions = CA_EXTENSIONS + ("keyUsage=critical,keyCertSign,cRLSign\n" if key_usage else "")
        (self.path / "ca.cnf").write_text(f"[req]\ndistinguished_name=dn\nx509_extensions=v3_ca\nprompt=no\n[dn]\nCN={name}\n{extensions}")
        self._key("ca")
        openssl("req", "-x509", "-new", "-key", "ca.key", "-days", "30", "-config", "ca.cnf", "-out", "ca.pem", cwd=self.path)
        self.ca = str(self.path / "ca.pem")

    def _key(self, name):
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key", cwd=self.path)

    def certificate(self, name, names="DNS:localhost,IP:127.0.0.1", days="30"):
        """Return (certificate, key) for CN=name."""
        self._key(name)
        (self.path / f"{name}.ext").write_text(
            "basicConstraints=CA:false\nauthorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n"
            f"keyUsage=digitalSignature\nsubjectAltName={names}\n")
        openssl("req", "-new", "-key", f"{name}.key", "-subj", f"/CN={name}", "-out", f"{name}.csr", cwd=self.path)
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", days,
                "-extfile", f"{name}.ext", "-out", f"{name}.pem", cwd=self.path)
        return str(self.path / f"{name}.pem"), str(self.path / f"{name}.key")


class Mosquitto:
    """One broker process; ``lines`` are its configuration beyond the listener."""

    def __init__(self, path, *lines, port=None):
        self.path, self.lines = Path(path), lines
        self.path.mkdir(parents=True, exist_ok=True)
        self.port = port or free_port()
        self.process = None

    def start(self):
        os.chmod(self.path, 0o755)
        config = self.path / "mosquitto.conf"
        head = ["user root", "persistence false", f"log_dest file {self.path}/mosquitto.log", "log_type all",
                f"listener {self.port} 127.0.0.1"]
        config.write_text("\n".join([*head, *self.lines]) + "\n")
        self.process = subprocess.Popen([MOSQUITTO, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        clock = Clock()
        deadline = clock.monotonic() + START_S
        while clock.monotonic() < deadline:
            with contextlib.closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            if self.process.poll() is not None:
                break
            clock.wait(0.02)
        raise AssertionError(f"mosquitto does not run: {self.log()}")

    def stop(self):
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None

    def log(self):
        path = self.path / "mosquitto.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.stop()

    def words(self, *more):
        return ["-h", "127.0.0.1", "-p", str(self.port), *more]

    def sub(self, topic, *more, count=1, wait_s=5):
        """Return what mosquitto_sub prints: (topic, payload) of ``count`` messages, or of fewer in ``wait_s``."""
        done = subprocess.run(
            ["mosquitto_sub", *self.words(*more), "-t", topic, "-C", str(count), "-W", str(wait_s), "-F", "%t %p"],
            capture_output=True, text=True, timeout=wait_s + 20, check=False)
        return [tuple(line.split(" ", 1)) for line in done.stdout.splitlines()]

    def retained(self, topic="#", *more, wait_s=1):
        """Return the retained messages below a topic."""
        done = subprocess.run(
            ["mosquitto_sub", *self.words(*more), "-t", topic, "-W", str(wait_s), "--retained-only", "-F", "%t %p"],
            capture_output=True, text=True, timeout=wait_s + 20, check=False)
        return dict(line.split(" ", 1) for line in done.stdout.splitlines())

    def pub(self, topic, payload, *more):
        if not isinstance(payload, str):
            payload = json.dumps(payload)
        subprocess.run(["mosquitto_pub", *self.words(*more), "-t", topic, "-m", payload, "-q", "1"], check=True, timeout=20,
                       capture_output=True)


def passwords(path, **users):
    """Write a password file and return its path."""
    file = Path(path) / "passwords"
    file.write_text("".join(f"{name}:{word}\n" for name, word in users.items()))
    os.chmod(file, 0o600)
    subprocess.run(["mosquitto_passwd", "-U", str(file)], check=True, timeout=20, capture_output=True)
    return str(file)


def access_rules(path, text):
    """Write an ACL file and return its path."""
    file = Path(path) / "acl"
    file.write_text(text)
    os.chmod(file, 0o600)
    return str(file)


def tls_lines(pki, *more, server=None):
    """Return the configuration of a TLS listener."""
    certificate, key = server or pki.server
    return (f"cafile {pki.ca}", f"certfile {certificate}", f"keyfile {key}", *more)


MUTUAL = ("require_certificate true", "use_identity_as_username true")


def until(condition, timeout_s=20.0):
    """Wait until ``condition()`` is true; returns whether it became so."""
    clock = Clock()
    deadline = clock.monotonic() + timeout_s
    while clock.monotonic() < deadline:
        if condition():
            return True
        clock.wait(0.02)
    return bool(condition())


def dynamic_security(path, user, word, topics):
    """Return the configuration of a broker that lets a user subscribe to these exact topics and nothing else."""
    assert PLUGINS, "mosquitto's dynamic security plugin belongs to the Debian package"
    file = Path(path) / "dynsec.json"
    subprocess.run(["mosquitto_ctrl", "dynsec", "init", str(file), "admin", "admin"], check=True, capture_output=True, timeout=20)
    made = subprocess.run(["mosquitto_ctrl", "dynsec", "init", str(Path(path) / "user.json"), user, word], check=True,
                          capture_output=True, timeout=20)
    assert made.returncode == 0
    content = json.loads(file.read_text())
    client = json.loads((Path(path) / "user.json").read_text())["clients"][0]
    client["roles"] = [{"rolename": "reader"}]
    content["clients"].append(client)
    rules = [{"acltype": "subscribeLiteral", "topic": topic, "allow": True} for topic in topics]
    rules += [{"acltype": "publishClientSend", "topic": "openapi/subscription/+", "allow": True},
              {"acltype": "publishClientReceive", "topic": "#", "allow": True}]
    content["roles"].append({"rolename": "reader", "acls": rules})
    content["defaultACLAccess"] = {"publishClientSend": False, "publishClientReceive": False, "subscribe": False, "unsubscribe": True}
    file.write_text(json.dumps(content))
    os.chmod(file, 0o600)
    return (f"plugin {PLUGINS[0]}", f"plugin_opt_config_file {file}")
