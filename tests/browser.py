"""A real Chromium for tests, spoken to by its DevTools protocol: what it shows, says, complains about and reads aloud.

Never leaves this machine and keeps nothing: a fresh profile each time, removed with the browser.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import tempfile
from collections import deque
from pathlib import Path

from bridge.clock import Clock

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-port=0",
)
START_S, ANSWER_S = 30.0, 20.0


class Browser:
    """Starts with ``with``; ``tab()`` opens a page."""

    def __enter__(self):
        self._profile = tempfile.mkdtemp(prefix="chromium-")
        self._process = subprocess.Popen(
            [shutil.which("chromium"), *FLAGS, f"--user-data-dir={self._profile}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace")
        self._address = self._listening()
        return self

    def __exit__(self, *exc):
        self._process.terminate()
        try:
            self._process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        shutil.rmtree(self._profile, ignore_errors=True)

    def _listening(self):
        """Return host:port once the browser has written where it can be reached."""
        clock, written = Clock(), Path(self._profile, "DevToolsActivePort")
        end = clock.monotonic() + START_S
        while clock.monotonic() < end and self._process.poll() is None:
            lines = written.read_text().split() if written.exists() else []
            if len(lines) == 2:
                return f"127.0.0.1:{lines[0]}", lines[1]
            clock.wait(0.02)
        raise AssertionError("chromium did not start: " + self._process.stderr.read(2000))

    def tab(self, width=1180, height=900, dark=False, script=True):
        """Open an empty page of that size."""
        root = Speech(f"ws://{self._address[0]}{self._address[1]}")
        target = root.ask("Target.createTarget", url="about:blank")["targetId"]
        root.close()
        return Tab(f"ws://{self._address[0]}/devtools/page/{target}", width, height, dark, script)


class Speech:
    """One DevTools connection: questions with answers, and the events that came meanwhile."""

    def __init__(self, url):
        import websocket

        self._socket = websocket.create_connection(url, timeout=ANSWER_S, suppress_origin=True)
        self._number = 0
        self.events = deque()

    def ask(self, method, **params):
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == self._number:
                assert "error" not in message, (method, message["error"])
                return message["result"]
            self.events.append(message)

    def close(self):
        self._socket.close()


class Tab:
    """One page; ``complaints`` are console errors, exceptions and violated policies so far."""

    def __init__(self, url, width, height, dark, script):
        self._speech = Speech(url)
        self.ask, self._clock = self._speech.ask, Clock()
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            self.ask(f"{domain}.enable")
        self.resize(width, height)
        self.media(dark)
        self.ask("Emulation.setScriptExecutionDisabled", value=not script)

    def resize(self, width, height):
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)

    def media(self, dark, calm=False):
        self.ask("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if calm else "no-preference"}])

    def go(self, url):
        """Load a page and wait until it is there."""
        self._speech.events.clear()
        self.ask("Page.navigate", url=url)
        assert self.until(lambda: any(event["method"] == "Page.loadEventFired" for event in self._speech.events)), url

    def run(self, expression):
        """Return what a JavaScript expression gives."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def text(self, selector):
        return self.run(f"document.querySelector({json.dumps(selector)})?.textContent")

    def until(self, condition, timeout_s=15.0):
        end = self._clock.monotonic() + timeout_s
        while not condition():
            if self._clock.monotonic() > end:
                return False
            self.ask("Browser.getVersion")  # takes in the events that came
            self._clock.wait(0.03)
        return True

    def requests(self):
        """Return the URLs that the page has asked for since ``go``."""
        return [event["params"]["request"]["url"] for event in self._speech.events
                if event["method"] == "Network.requestWillBeSent"]

    @property
    def complaints(self):
        self.ask("Browser.getVersion")
        found = []
        for event in self._speech.events:
            params = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                found.append(params["exceptionDetails"]["text"])
            elif event["method"] == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
                found.append(str(params["args"]))
            elif event["method"] == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                found.append(params["entry"]["text"])
        return found

    def named(self):
        """Return (role, name) of everything that a screen reader meets."""
        nodes = self.ask("Accessibility.getFullAXTree")["nodes"]
        return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]

    def press_tab(self):
        """Press the tabulator; returns what has the focus then."""
        for kind in ("rawKeyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        return self.run("document.activeElement?.textContent")

    def picture(self, path, whole=True):
        """Write a screenshot; the whole page, however long."""
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}} if whole else {}
        shot = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **clip)
        Path(path).write_bytes(base64.b64decode(shot["data"]))

    def close(self):
        self.ask("Page.close")
        self._speech.close()


def loopback_only(urls):
    """Say whether all addresses are of this machine."""
    return all(re.match(r"(https?|ws)://127\.0\.0\.1[:/]|data:|about:", url) for url in urls)
