"""The pages in docs/ name commands and settings that exist."""

from __future__ import annotations

import re
import shlex

import pytest

from bridge import cli
from bridge.config import take_flags
from bridge.settings import NOT_SETTINGS, SETTINGS

from .test_docs import ROOT

PAGES = sorted((ROOT / "docs").glob("*.md"))
VARIABLES = {alias for row in SETTINGS for alias in row.aliases}


def lines():
    """Return (page, line) of every sh block."""
    return [
        (page.name, line) for page in PAGES
        for block in re.findall(r"```sh\n(.*?)```", page.read_text("utf-8"), re.S)
        for line in block.strip().splitlines() if not line.startswith("#")
    ]


@pytest.mark.parametrize("page, line", [one for one in lines() if "sigen-bridge " in one[1]])
def test_command_lines_can_be_typed_as_they_stand(page, line):
    words = shlex.split(line)
    words = words[words.index("sigen-bridge") + 1:]
    _, _, rest = take_flags(words)
    module = cli.command(rest[0])
    assert module is not None, f"{page}: {line}"
    parser = cli._Parser(prog="x")
    module.arguments(parser)
    parser.parse_args(rest[1:])


def test_settings_named_on_the_apps_page_exist():
    text = (ROOT / "docs" / "sigen-app.md").read_text("utf-8")
    keys = {row.key for row in SETTINGS}
    named = set(re.findall(r"`(cloud\.[a-z_]+)", text))
    assert named and named <= keys
    assert set(re.findall(r"\b(SIGEN_[A-Z_]+|STATION_ID)\b", text)) <= VARIABLES | set(NOT_SETTINGS)
