"""A crowd at a bridge's HTTP server: readers of streams, slow lorises, and one who only wants the numbers."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading

from bridge.clock import Clock

PAGES = ("/v1/snapshot", "/metrics", "/", "/v1/history?minutes=5", "/healthz")


class Crowd:
    """Use with ``with``; ``heard`` counts events of each stream, ``waits`` are the seconds each plain question took."""

    def __init__(self, port, streams=50, lorises=20, asks_s=0.2):
        self._address, self._clock, self._asks_s = ("127.0.0.1", port), Clock(), asks_s
        self._streams, self._lorises = streams, lorises
        self.heard = [0] * streams
        self.waits, self.refused, self.hung_up = [], 0, 0
        self._ending = threading.Event()

    def __enter__(self):
        self._readers = [self._open(f"/v1/stream{'?for=page' if number % 2 else ''}") for number in range(self._streams)]
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._read, self._crawl, self._ask)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self._ending.set()
        for thread in self._threads:
            thread.join(10)
        for reader in self._readers:
            reader.close()

    def _open(self, path):
        connection = socket.create_connection(self._address, 5)
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        return connection

    def _read(self):
        """Take in what the streams say."""
        waiting = selectors.DefaultSelector()
        for number, reader in enumerate(self._readers):
            waiting.register(reader, selectors.EVENT_READ, number)
        while not self._ending.is_set():
            for key, _ in waiting.select(0.2):
                chunk = key.fileobj.recv(65536)
                self.heard[key.data] += chunk.count(b"data: ")
                if not chunk:
                    waiting.unregister(key.fileobj)
                    self.hung_up += 1

    def _crawl(self):
        """Keep the number of slow lorises up: each sends a byte of a head now and then, and never ends it."""
        crawling = []
        while not self._ending.wait(0.3):
            while len(crawling) < self._lorises:
                with contextlib.suppress(OSError):
                    crawling.append(socket.create_connection(self._address, 5))
            alive = []
            for one in crawling:
                try:
                    one.send(b"G")
                    alive.append(one)
                except OSError:
                    one.close()
            crawling = alive
        for one in crawling:
            one.close()

    def _ask(self):
        """Ask as a household's other programs do, each time by a new connection."""
        count = 0
        while not self._ending.wait(self._asks_s):
            begun = self._clock.monotonic()
            try:
                with self._open(PAGES[count % len(PAGES)]) as connection:
                    if b" 200 " not in connection.recv(64):
                        self.refused += 1
            except OSError:
                self.refused += 1
            self.waits.append(self._clock.monotonic() - begun)
            count += 1
