"""A simulated Enphase home for tests: Envoy, Enlighten, and our parts put together with short time-outs."""

from __future__ import annotations

import contextlib
import socket

from bridge.clock import Clock
from bridge.link.cloud import CloudHttp
from bridge.link.envoy_http import EnvoyHttp
from bridge.link.envoy_tls import EnvoyDoor, address_of
from bridge.link.proxy_server import ProxyServer
from bridge.peers.enphase_cloud import Account, Enlighten
from bridge.peers.enphase_envoy import Envoy
from bridge.peers.enphase_keeper import TokenKeeper
from bridge.peers.enphase_pin import CertificatePin
from bridge.peers.enphase_proxy import EnvoyProxy, Rules
from bridge.sim.enphase import EnphaseSim
from bridge.sim.enphase_world import EnphaseWorld
from bridge.state import StateDir

LOCAL = "127.0.0.1:0"


class Home:
    """``clock`` is the one that tokens and the cloud go by; sockets keep real time."""

    def __init__(self, tmp_path, clock=None, **world):
        self.clock = clock or Clock()
        self.sim = EnphaseSim(self.clock, EnphaseWorld(**world))
        self.world, self.cloud, self.device = self.sim.world, self.sim.cloud, self.sim.envoy
        self.state = StateDir(str(tmp_path / "state"))
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        self.stack.enter_context(self.sim)
        return self

    def __exit__(self, *problem):
        self.stack.close()

    def keeper(self, pasted="", way="auto", **account):
        who = Account(self.world.account.username, self.world.account.password, self.world.serial)._replace(**account)
        http = CloudHttp(self.clock, connect_timeout_s=1.0, read_timeout_s=2.0, total_timeout_s=4.0)
        enlighten = Enlighten(http, who, self.cloud.url + "/", self.cloud.url, way)
        return TokenKeeper(enlighten, self.state, self.clock, f"{who.username}\n{who.serial}", pasted)

    def envoy(self, keeper=None, answer_s=3.0, quiet_s=3.0, **pin):
        address = address_of(self.device.url + "/")
        door = EnvoyDoor(address, CertificatePin(self.state, f"{address.host}:{address.port}", **pin), timeout_s=2.0)
        http = EnvoyHttp(door, Clock(), answer_s, quiet_s)
        return Envoy(http, (keeper or self.keeper()) if address.tls else None)

    def proxy(self, envoy=None, **rules):
        """Serve and return host:port."""
        proxy = EnvoyProxy(envoy or self.envoy(), Rules(LOCAL, **rules), self.clock)
        server = ProxyServer(LOCAL, proxy.handle)
        server.start()
        self.stack.callback(server.close)
        return server.address


def raw(address, request, timeout_s=5.0):
    """Send bytes to host:port and return everything that comes until the other end closes."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout_s) as tcp:
        tcp.sendall(request)
        content = b""
        while True:
            piece = tcp.recv(65536)
            if not piece:
                return content
            content += piece
