"""Many small Shellys on 127.0.0.2, 127.0.0.3, ...: each answers /shelly and the list of its components."""

from __future__ import annotations

import json
import selectors
import socket
import threading
from typing import List

SIZE = 65_536


class ShellyCrowd:
    """``count`` web servers on addresses of their own and one common port, served by one thread."""

    def __init__(self, count: int, first: int = 2, net: str = "127.0.0") -> None:
        self.hosts = [f"{net}.{first + index}" for index in range(count)]
        self.requests = 0
        self._listeners: List[socket.socket] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> ShellyCrowd:
        self.port = 0
        for host in self.hosts:
            listener = socket.socket()
            listener.bind((host, self.port))
            self.port = listener.getsockname()[1]
            listener.listen(16)
            self._listeners.append(listener)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()
        for listener in self._listeners:
            listener.close()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as waiting:
            for number, listener in enumerate(self._listeners):
                waiting.register(listener, selectors.EVENT_READ, number)
            while not self._over.is_set():
                for key, _ in waiting.select(0.05):
                    connection, _ = self._listeners[key.data].accept()
                    with connection:
                        connection.settimeout(1.0)
                        self._answer(connection, key.data)

    def _answer(self, connection: socket.socket, number: int) -> None:
        try:
            request = connection.recv(SIZE)
        except socket.timeout:
            return
        if not request:
            return  # somebody only knocked
        self.requests += 1
        if request.startswith(b"GET /shelly "):
            told = {"name": f"Room {number:03}", "id": f"shellypro2-0000000000{number:02x}", "mac": f"0000000000{number:02X}",
                    "model": "SPSW-202XE16EU", "gen": 2, "ver": "1.7.5", "app": "Pro2", "auth_en": False}
        else:
            told = {"id": 1, "result": {"components": [{"key": "number:200"}], "offset": 0, "total": 1}}
        body = json.dumps(told).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode() + body)
