"""A hand-written Shelly client on raw sockets, for the simulator's own tests.

Never shares code with the bridge's client: what both get wrong together would stay unseen.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import socket
import struct
import time

TIMEOUT_S = 5.0
HA2_FRAME = hashlib.sha256(b"dummy_method:dummy_uri").hexdigest()


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def connect(sim, timeout_s=TIMEOUT_S):
    return socket.create_connection(("127.0.0.1", sim.port), timeout_s)


def read_all(sock):
    """Return everything until the other side closes."""
    received = b""
    while True:
        more = sock.recv(65_536)
        if not more:
            return received
        received += more


def exchange(sim, raw, timeout_s=TIMEOUT_S):
    """Send raw bytes and return everything that comes back until the device closes."""
    with connect(sim, timeout_s) as sock:
        sock.sendall(raw)
        return read_all(sock)


class Reply:
    """One HTTP reply, taken apart."""

    def __init__(self, raw):
        head, _, self.body = raw.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.raw = raw
        self.status = int(lines[0].split(" ")[1])
        fields = (line.split(": ", 1) for line in lines[1:])
        self.headers = {name.lower(): value for name, value in fields}

    def json(self):
        return json.loads(self.body)


def wait_until(condition):
    """Wait for what another thread is about to do."""
    deadline = time.monotonic() + 3
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def request_bytes(verb, target, body=None, headers=()):
    lines = [f"{verb} {target} HTTP/1.1", "Host: shelly"]
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    if body is not None:
        lines.append(f"Content-Length: {len(content)}")
    lines += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + content


def ask(sim, verb, target, body=None, headers=(), timeout_s=TIMEOUT_S):
    """Make one HTTP request on a connection of its own."""
    return Reply(exchange(sim, request_bytes(verb, target, body, headers), timeout_s))


def get(sim, target, **more):
    return ask(sim, "GET", target, **more)


def call(sim, method, params=None, **more):
    """Call a method in the frame form and return the frame; HTTP status 200 is asserted."""
    reply = ask(sim, "POST", "/rpc", {"id": 7, "src": "t", "method": method, "params": params or {}}, **more)
    assert reply.status == 200, reply.raw
    return reply.json()


def challenge_of(reply):
    """Return the fields of a 401's WWW-Authenticate."""
    return {name: quoted or bare for name, quoted, bare
            in re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,]+))', reply.headers["www-authenticate"])}


def signed_header(challenge, password, verb, target, count, user="admin"):
    """Return an Authorization header as RFC 7616 wants it."""
    realm, nonce, cnonce = challenge["realm"], challenge["nonce"], "c0ffee"
    nc = format(count, "08x")
    ha1, ha2 = sha256(f"{user}:{realm}:{password}"), sha256(f"{verb}:{target}")
    response = sha256(f"{ha1}:{nonce}:{nc}:{cnonce}:auth:{ha2}")
    return ("Authorization", f'Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{target}", '
            f'qop=auth, nc={nc}, cnonce="{cnonce}", response="{response}", algorithm=SHA-256')


def signed_get(sim, target, challenge, password, count):
    return get(sim, target, headers=[signed_header(challenge, password, "GET", target, count)])


def frame_auth(challenge, password, count):
    """Return the ``auth`` object of a frame."""
    realm, nonce, cnonce = challenge["realm"], challenge["nonce"], 815
    response = sha256(f"{sha256(f'admin:{realm}:{password}')}:{nonce}:{count}:{cnonce}:auth:{HA2_FRAME}")
    return {"realm": realm, "username": "admin", "nonce": nonce, "nc": count, "cnonce": cnonce,
            "response": response, "algorithm": "SHA-256"}


class WebSocket:
    """A client side of RFC 6455, just enough."""

    def __init__(self, sim, src="tester", timeout_s=TIMEOUT_S):
        self.sock = connect(sim, timeout_s)
        self.src = src
        self.notifications = []
        self._buffer = b""
        self._id = 0
        key = base64.b64encode(os.urandom(16)).decode()
        self.sock.sendall(request_bytes("GET", "/rpc", headers=[
            ("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", key)]))
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        self.handshake = Reply(head + b"\r\n\r\n")

    def __enter__(self):
        assert self.handshake.status == 101, self.handshake.raw
        return self

    def __exit__(self, *exc):
        self.sock.close()

    def _more(self):
        received = self.sock.recv(65_536)
        if not received:
            raise ConnectionError("the device closed the connection")
        self._buffer += received

    def _take(self, size):
        while len(self._buffer) < size:
            self._more()
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def send_frame(self, opcode, payload, final=True):
        mask = os.urandom(4)
        size = len(payload)
        head = bytes([(0x80 if final else 0) | opcode])
        head += bytes([0x80 | size]) if size < 126 else struct.pack(">BH", 0x80 | 126, size)
        self.sock.sendall(head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload)))

    def read_frame(self):
        first, size = self._take(2)
        if size == 126:
            size = struct.unpack(">H", self._take(2))[0]
        elif size == 127:
            size = struct.unpack(">Q", self._take(8))[0]
        return first & 0x0F, self._take(size)

    def read(self):
        """Return the next frame as JSON."""
        opcode, payload = self.read_frame()
        assert opcode == 1, (opcode, payload)
        return json.loads(payload)

    def send(self, method, params=None, **fields):
        """Send a request and return its id."""
        self._id += 1
        frame = {"id": self._id, "src": self.src, "method": method, **fields}
        if params is not None:
            frame["params"] = params
        self.send_frame(1, json.dumps(frame).encode())
        return self._id

    def call(self, method, params=None, **fields):
        """Send a request and return the reply frame; notifications on the way are kept."""
        number = self.send(method, params, **fields)
        while True:
            frame = self.read()
            if frame.get("id") == number:
                return frame
            self.notifications.append(frame)

    def next_notification(self):
        return self.notifications.pop(0) if self.notifications else self.read()
