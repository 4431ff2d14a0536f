"""``python -m tests.screenshots [SECONDS]``: the page of the demo as docs/images/page.png, for the README.

Not run by any test: a picture is looked at, not compared.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from bridge.clock import Clock
from bridge.link.bridge_http import somebody_listens
from tests.browser import Browser
from tests.ports import free_port

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
RUN_S = 75.0  # so that the charts have something to show


def main(run_s):
    """Run the demo for a while and take its picture."""
    clock, port = Clock(), free_port()
    IMAGES.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen([sys.executable, "-m", "bridge", "demo", "--status-listen", f"127.0.0.1:{port}"], cwd=ROOT,
                               stdout=subprocess.DEVNULL)
    try:
        while not somebody_listens(f"127.0.0.1:{port}", 1.0):
            assert process.poll() is None, "the demo ended"
            clock.wait(0.2)
        clock.wait(run_s)
        with Browser() as browser:
            for name, width, dark in (("page", 1180, False), ("page-dark", 1180, True), ("page-phone", 390, False)):
                tab = browser.tab(width, 844, dark)
                tab.go(f"http://127.0.0.1:{port}/")
                clock.wait(1.0)
                tab.picture(IMAGES / f"{name}.png")
                assert tab.complaints == []
                tab.close()
                sys.stdout.write(f"{(IMAGES / f'{name}.png').relative_to(ROOT)}\n")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else RUN_S)
