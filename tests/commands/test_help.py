"""``help``: a list, one command with its examples, and that every example can be typed as it stands."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

from bridge import cli
from bridge.commands.help import examples
from bridge.config import take_flags

from .conftest import ROOT, one_line

EXAMPLES = examples()


def known_rows():
    """Yield the examples of the verbs that are there."""
    for verb in cli.command_names():
        for line, says in EXAMPLES.get(verb, ()):
            yield verb, line, says


def test_every_verb_has_an_example():
    for verb in cli.command_names():
        assert EXAMPLES.get(verb), f"{verb}: put an example into bridge/data/examples.json"


def test_examples_are_of_verbs_that_exist_or_are_to_come():
    assert set(EXAMPLES) == set(cli.command_names())


@pytest.mark.parametrize("verb, line, says", list(known_rows()))
def test_an_example_is_read_by_the_real_parsers(verb, line, says):
    words = shlex.split(line)
    assert words[:2] == ["sigen-bridge", verb]
    assert says and len(says) <= 94 and len(line) <= 98
    _, config, rest = take_flags(words[1:])
    assert rest[0] == verb
    cli.parser_of(verb, cli.command(verb)).parse_args(rest[1:])


def test_examples_that_write_say_how_to_look_first():
    """A verb that writes and has --dry-run shows it in an example."""
    for verb in cli.command_names():
        text = cli.parser_of(verb, cli.command(verb)).format_help()
        if "--dry-run" in text.partition("\nexamples:")[0]:
            assert any("--dry-run" in line for line, _ in EXAMPLES[verb]), verb


def test_help_of_a_verb_ends_with_its_examples(bridge):
    asked = bridge("help", "battery")
    flagged = bridge("battery", "--help")
    assert asked.returncode == flagged.returncode == 0 and asked.stderr == ""
    assert asked.stdout == flagged.stdout
    assert "--max-export-w" in asked.stdout
    assert "examples:\n  sigen-bridge battery status\n" in asked.stdout


def test_help_of_a_verb_within_a_verb_shows_its_own_examples_only(bridge):
    done = bridge("help", "cloud", "flow")
    assert done.returncode == 0
    assert "sigen-bridge cloud flow --json" in done.stdout and "onboard" not in done.stdout


def test_help_lists_every_command(bridge):
    lists = [bridge(*words).stdout for words in ((), ("help",), ("--help",))]
    assert lists[0] == lists[1] == lists[2]
    for verb in cli.command_names():
        assert f"\n  {verb} " in lists[0]


@pytest.mark.parametrize("words, said", [
    (("nope",), "no command 'nope'"), (("batery",), "did you mean battery?"),
    (("cloud", "flou"), "invalid choice: 'flou'"),
])
def test_help_for_what_there_is_not_is_one_line(bridge, words, said):
    done = bridge("help", *words)
    assert done.returncode == 2 and said in one_line(done.stderr)


def test_help_works_while_the_configuration_is_broken(bridge, tmp_path):
    broken = tmp_path / "broken.ini"
    broken.write_text("[modbus]\nhots = 1\n")
    done = bridge("help", "doctor", env={"SIGEN_BRIDGE_CONFIG": str(broken)})
    assert done.returncode == 0 and "examples:" in done.stdout


def test_the_one_second_process_does_not_import_help_or_completion():
    code = (
        "import sys; from bridge.cli import main; main(['config', 'show']);"
        "print([name for name in sys.modules if name.rpartition('.')[2] in ('help', 'completion', 'pkgutil')"
        " and name.startswith(('bridge', 'pkgutil'))], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30,
                          check=False, env={"PATH": ""})
    assert done.returncode == 0 and done.stderr.strip() == "[]", done.stderr


def test_a_flag_that_is_known_but_lacks_its_value_is_not_guessed_at(bridge):
    done = bridge("battery", "charge", "--kw", "3", "--for", "-5m")
    assert done.returncode == 2 and one_line(done.stderr).endswith("argument --for: expected one argument")
