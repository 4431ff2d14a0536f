"""The manual holds together: every block is of a known kind and right for it, every link leads somewhere."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys

import pytest

from bridge import ini
from tests.commands.conftest import Bridge, bridge, one_line  # noqa: F401  (the fixture)
from tests.doc_world import blocks_of
from tests.test_docs import ROOT
from tests.test_vendor import meter  # noqa: F401  (the fixture)

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
EVERYWHERE = (*PAGES, ROOT / "ARCHITECTURE.md", ROOT / "firmware_targets" / "cloudflare" / "README.md")
TEXTS = {page: page.read_text("utf-8") for page in EVERYWHERE}

# What each kind of fenced block is held to, and by whom.
KINDS = {
    "sh": "run line by line by tests/test_docs_run.py",
    "console": "not run, for the reasons in CONSOLE; syntax by sh and shellcheck, here",
    "python": "run, here",
    "ini": "read by our own reader, here",
    "json": "read, here",
    "yaml": "promtool and the pages of tests/test_docs_mqtt.py; tabs and indentation, here",
    "toml": "tests/test_docs_mqtt.py",
    "conf": "a real mosquitto in tests/test_docs_mqtt.py",
    "acl": "a real mosquitto in tests/test_docs_mqtt.py",
}

# Why a line of a console block cannot be run by a test.
CONSOLE = {
    "scp": "needs a router", "ssh": "needs a router", "sudo": "changes the machine", "systemctl": "needs systemd as process 1",
    "make": "sets up its own environment from a package registry (the tests run inside of one)",
    "sigen-bridge": "names a file of the reader's own", ".venv/bin/sigen-bridge": "what make run has set up",
    ".venv/bin/pip": "needs a package registry", "python3": "sets up an environment", "~/assist/bin/pip": "needs a package registry",
    "PYTHONPATH=/usr/lib/sigen-bridge": "needs the .deb and a key",
}

# Where the manual may lead to outside of the repository.
HOSTS = {"127.0.0.1:8502", "entrez.enphaseenergy.com"}
COMMAND = re.compile(r"^(sudo |\$ )?(sigen-bridge|scp|ssh|curl|make|git|apt|uci|systemctl|python3?|pip|cd|export|sh) \S")
PICTURE_MAX = 300_000


def of_kind(kind):
    return [pytest.param(page, block, id=f"{page.stem}-{number}") for page in PAGES
            for number, block in enumerate(blocks_of(TEXTS[page], kind))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_is_of_a_kind_that_is_looked_after(page):
    fences = re.findall(r"^```(.*)$", TEXTS[page], re.M)
    assert len(fences) % 2 == 0 and not any(fences[1::2]), "a fence is not closed"
    assert set(fences[::2]) <= set(KINDS), page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_command_hides_in_an_indented_block(page):
    plain = re.sub(r"^```.*?^```$", "", TEXTS[page], flags=re.S | re.M)
    hidden = [line for line in re.findall(r"^(?: {4}|\t)(.*)$", plain, re.M) if COMMAND.match(line)]
    assert not hidden, "commands belong into a sh or console block"


@pytest.mark.needs("shellcheck")
@pytest.mark.parametrize("page, block", of_kind("console"))
def test_what_cannot_run_here_has_a_reason_and_no_mistake(page, block, tmp_path):
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        assert words and words[0] in CONSOLE, f"{page.name}: {line}"
    script = tmp_path / "block.sh"
    script.write_text("#!/bin/sh\n" + block)
    assert subprocess.run(["sh", "-n", script], check=False).returncode == 0
    # SC2164: cd may fail, which a reader sees; SC2035, SC2144: names with a star are the reader's
    done = subprocess.run(["shellcheck", "-s", "sh", "-e", "SC2164,SC2035", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_nobody_is_sent_to_a_registry_for_a_package_of_our_name():
    """This program is in none: who did as told would get nothing, or a stranger's."""
    told = [*PAGES, *(ROOT / "bridge").rglob("*.py"), *(ROOT / "bridge" / "data").glob("*.*")]
    wrong = [path.name for path in told if path.suffix in (".py", ".md", ".json", ".js")
             and re.search(r"pip install [^\n`(]*\bsigen[-_]bridge\b", path.read_text("utf-8"))]
    assert not wrong


def test_every_reason_is_still_needed():
    used = {shlex.split(line, comments=True)[0] for page in PAGES for block in blocks_of(TEXTS[page], "console")
            for line in block.replace("\\\n", " ").splitlines()}
    assert used == set(CONSOLE)


@pytest.mark.parametrize("page, block", of_kind("python"))
def test_python_examples_run(page, block, tmp_path):
    script = tmp_path / "example.py"
    script.write_text(block)
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, env=Bridge().environment(), capture_output=True,
                          text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page, block", of_kind("ini"))
def test_ini_examples_can_be_read(page, block):
    assert ini.parse(block)


def test_yaml_and_json_examples_are_well_formed():
    for page in PAGES:
        for block in blocks_of(TEXTS[page], "json"):
            json.loads(block)
        for block in blocks_of(TEXTS[page], "yaml"):
            for line in block.splitlines():
                assert "\t" not in line and (len(line) - len(line.lstrip())) % 2 == 0, f"{page.name}: {line}"
                assert re.match(r"^ *(- )?[\w.-]+:( |$)|^ *- |^ *#", line), f"{page.name}: {line}"


# the examples of extending.md, each in the place it is meant for


def example(name):
    (found,) = re.findall(rf"`{name}`[^\n]*\n+```python\n(.*?)```", TEXTS[ROOT / "docs" / "extending.md"], re.S)
    return found


def test_the_vendor_of_the_manual_reads_a_meter(tmp_path, bridge, meter):  # noqa: F811
    (tmp_path / "sdm.py").write_text(example("sdm.py"))
    done = bridge("dump", "--modbus-vendor", "sdm", "--host", f"127.0.0.1:{meter.server_address[1]}", "30053", cwd=tmp_path,
                  env={"PYTHONPATH": f"{ROOT}:{tmp_path}"})
    # "sdm" alone is a module of bridge.registers; one's own has a dot or is put there
    assert done.returncode == 2 and "sdm" in one_line(done.stderr)
    (tmp_path / "mypackage").mkdir()
    (tmp_path / "mypackage" / "sdm.py").write_text(example("sdm.py"))
    done = bridge("run", "--modbus-vendor", "mypackage.sdm", "--host", f"127.0.0.1:{meter.server_address[1]}", "--cycles", "1",
                  "--print", "--status-listen", "off", cwd=tmp_path, env={"PYTHONPATH": f"{ROOT}:{tmp_path}"})
    assert done.returncode == 0 and "grid importing 1234 W" in done.stdout, done.stderr


def test_sink_and_source_of_the_manual_work_in_the_loop(tmp_path, clock):
    from bridge.faultlog import FaultLog
    from bridge.sinks.outbox import Outbox
    from tests.commands.conftest import until

    names = {}
    exec(example("mysink.py") + example("mysource.py"), names)  # code of our own page
    reading = names["Constant"](clock).read()
    outbox = Outbox(names["FileSink"](str(tmp_path / "grid")), clock, FaultLog(clock, "file"))
    outbox.offer(reading)
    assert until(lambda: outbox.written == 1)
    outbox.close(5.0)
    assert (tmp_path / "grid").read_text() == "8540\n"


def test_the_command_of_the_manual_is_a_command(tmp_path, monkeypatch, capsys):
    from bridge import cli, commands

    (tmp_path / "hello.py").write_text(example("hello.py"))
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])
    try:
        assert cli.main(["hello", "--loud", "--host", "192.168.8.105"]) == 0
        assert capsys.readouterr().out == "HELLO, 192.168.8.105\n" and "hello" in cli.command_names()
    finally:
        sys.modules.pop("bridge.commands.hello", None)


# links


def anchors(text):
    """Return what GitHub makes of the headings of a page."""
    plain = re.sub(r"^```.*?^```$", "", text, flags=re.S | re.M)
    found = []
    for heading in re.findall(r"^#+ +(.*)$", plain, re.M):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.append(slug + (f"-{found.count(slug)}" if slug in found else ""))
    return found


def links(text):
    """Return the targets of links and pictures, and bare addresses in angle brackets."""
    plain = re.sub(r"^```.*?^```$|`[^`\n]*`", "", text, flags=re.S | re.M)
    return re.findall(r"!?\[[^\]]*\]\(([^)\s]+)\)", plain) + re.findall(r"<(https?://[^>]+)>", plain) \
        + re.findall(r'(?:src|href)="([^"]+)"', plain)


@pytest.mark.parametrize("page", EVERYWHERE, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_every_link_leads_somewhere(page):
    for link in links(TEXTS[page]):
        if re.match(r"https?://", link):
            assert re.match(r"https?://([^/]+)", link).group(1) in HOSTS, link
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists() and ROOT in target.parents, f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(target.read_text("utf-8")), f"{page.name}: {link}"


def test_every_page_can_be_reached_from_the_index_and_every_picture_is_used():
    index = {(ROOT / "docs" / link.partition("#")[0]).resolve() for link in links(TEXTS[ROOT / "docs" / "README.md"])}
    assert {page for page in PAGES if page.parent.name == "docs" and page.name != "README.md"} <= index
    assert "docs/README.md" in links(TEXTS[ROOT / "README.md"])
    used = {(page.parent / link).resolve() for page in PAGES for link in links(TEXTS[page])}
    for picture in (ROOT / "docs" / "images").iterdir():
        assert picture in used, picture
        assert picture.stat().st_size < PICTURE_MAX and picture.read_bytes().startswith(b"\x89PNG"), picture


def test_make_help_and_the_readme_agree():
    told = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = {line.split()[0] for line in told.splitlines()}
    named = {name for page in PAGES for name in re.findall(r"(?:`|^)make ([a-z-]+)", TEXTS[page], re.M)}
    assert named <= targets and {"run", "test"} <= named


def test_the_installers_flags_are_those_of_the_readme():
    installer = (ROOT / "firmware_targets" / "scripts" / "installer.sh").read_text("utf-8")
    parts = set(re.findall(r"^\t\t(--[a-z0-9]+)\) add_part sigen-bridge-", installer, re.M))
    readme = TEXTS[ROOT / "README.md"]
    assert parts and all(f"`{flag}`" in readme for flag in parts | {"--all"})
    for words in re.findall(r"sigen-bridge\.run ([^\n`']+)", readme):
        for flag in re.findall(r"--[a-z0-9-]+", words):
            assert re.search(rf"^\t\t{flag}\b", installer, re.M), flag
