"""What docs/shelly-scripts.md and docs/commissioning.md show is what the program takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from bridge import cli, ini
from bridge.config import take_flags
from bridge.control.commission import read
from bridge.peers.shelly_library import LIBRARY

DOCS = Path(__file__).parent.parent / "docs"
PAGES = {name: (DOCS / f"{name}.md").read_text("utf-8") for name in ("shelly-scripts", "commissioning")}


def blocks(kind):
    return [block for page in PAGES.values() for block in re.findall(rf"```{kind}\n(.*?)```", page, re.S)]


@pytest.mark.parametrize("line", [line for block in blocks("sh") for line in block.strip().splitlines()])
def test_command_lines_can_be_pasted(line):
    words = shlex.split(line)
    assert words[0] == "sigen-bridge"
    rest = take_flags(words[1:])[2]
    parser = cli._Parser(prog="x")
    cli.command(rest[0]).arguments(parser)
    parser.parse_args(rest[1:])


def test_the_answers_shown_are_answers():
    (block,) = blocks("ini")
    told = read(ini.parse(block), "docs")
    assert [device.role for device in told.devices] == ["display", "load"] and told.consent and told.link_loss


def test_every_script_and_setting_is_told():
    for script in LIBRARY:
        row = next(line for line in PAGES["shelly-scripts"].splitlines() if line.startswith(f"| `{script.name}` |"))
        assert f"`{script.slot}`" in row and all(f"`{option.name}`" in row for option in script.options)


def test_every_status_is_told():

    for status in ("done", "already so", "would be done", "failed"):
        assert f"`{status}`" in PAGES["commissioning"]
