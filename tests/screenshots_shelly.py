"""``python -m tests.screenshots_shelly``: the five values as an app would show them, as docs/images/shelly.png.

Drawn from what ``shelly setup`` left on the simulated device (names, units, views, ranges, group) and from what the
bridge then wrote to it. It is a drawing of ours, not a picture of the vendor's app. Not run by any test.
"""

from __future__ import annotations

import html
import json
import sys
import tempfile
import urllib.request
from pathlib import Path

from bridge.clock import Clock
from bridge.sim.plant import PlantSim
from bridge.sim.shelly import ShellySim
from tests.browser import Browser
from tests.commands.conftest import Bridge

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "shelly.png"
STYLE = """
body { margin: 0; padding: 20px; background: #eceff3; font: 16px sans-serif; color: #1d2530; }
main { width: 420px; background: #fff; border-radius: 14px; padding: 16px 20px; box-shadow: 0 1px 4px #0003; }
h1 { font-size: 17px; margin: 0 0 10px; } section { padding: 9px 0; border-top: 1px solid #e4e8ee; }
p { display: flex; justify-content: space-between; margin: 0; } small { color: #65707f; } b { font-variant-numeric: tabular-nums; }
.bar { height: 6px; background: #e4e8ee; border-radius: 3px; margin-top: 7px; } .bar i { display: block; height: 6px; border-radius: 3px; background: #2f7de1; }
footer { margin-top: 10px; color: #65707f; font-size: 12px; }
"""


def page(configs, values):
    """Return the drawing as HTML."""
    rows = []
    for key in sorted(configs):
        config, value = configs[key], values[key]
        ui = config["meta"]["ui"]
        bar = ""
        if ui["view"] == "progressbar":
            share = 100 * (value - config["min"]) / (config["max"] - config["min"])
            bar = f'<div class="bar"><i style="width:{share:.1f}%"></i></div>'
        rows.append(f"<section><p><span>{html.escape(config['name'])} <small>{key}</small></span>"
                    f"<b>{value:g} {html.escape(ui['unit'])}</b></p>{bar}</section>")
    return (f"<!doctype html><meta charset=utf-8><meta name=viewport content=width=device-width><style>{STYLE}</style><main><h1>Sigenergy</h1>{''.join(rows)}"
            "<footer>Drawn by the tests of sigen-bridge from the simulated device</footer></main>")


def asked(shelly):
    """Return configuration and value of each number, as the device tells them."""
    url = f"http://127.0.0.1:{shelly.port}/rpc/Shelly.GetComponents?dynamic_only=true&include=%5B%22config%22%2C%22status%22%5D"
    with urllib.request.urlopen(url, timeout=10) as answer:
        found = [one for one in json.load(answer)["components"] if one["key"].startswith("number:")]
    return {one["key"]: one["config"] for one in found}, {one["key"]: one["status"]["value"] for one in found}


def main():
    """Set a simulated Shelly up, show the measured house on it, and take the picture."""
    run, clock = Bridge(), Clock()
    with tempfile.TemporaryDirectory() as path, PlantSim(clock, scenario="s3") as plant, ShellySim(clock) as shelly:
        where = ("--shelly-host", f"127.0.0.1:{shelly.port}", "--run-state-dir", path)
        for words in (("shelly", "setup"), ("once", "--host", f"127.0.0.1:{plant.port}")):
            done = run(*words, *where)
            assert done.returncode == 0, done.stderr
        configs, values = asked(shelly)
        drawing = Path(path) / "page.html"
        drawing.write_text(page(configs, values), "utf-8")
        with Browser() as browser:
            tab = browser.tab(500, 300)
            tab.go(drawing.as_uri())
            tab.picture(PICTURE)
            tab.close()
    sys.stdout.write(f"{PICTURE}\n")


if __name__ == "__main__":
    main()
