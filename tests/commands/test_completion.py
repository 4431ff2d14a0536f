"""Completion scripts in a real bash and a real zsh, and their tables against the parsers."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import subprocess

import pytest

from bridge import cli
from bridge.clock import Clock
from bridge.commands import completion
from bridge.config import flag_names

from .conftest import one_line

ASK = """
source {script}
complete -p sigen-bridge
COMP_WORDS=({words}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_sigen_bridge
printf '%s\\n' "${{COMPREPLY[@]}}"
"""

CASES = [
    ("", {"battery", "cloud", "config", "doctor", "dump", "explain", "run"}, {"flow", "--host"}),
    ("bat", {"battery"}, {"dump"}),
    ("--ver", {"--version"}, {"--host"}),
    ("cloud ", {"flow", "systems", "onboard"}, {"battery", "charge"}),
    ("cloud flow --", {"--json", "--via", "--host", "--config"}, {"--yes", "--dry-run"}),
    ("cloud onboard ABC --", {"--yes", "--dry-run"}, {"--via"}),
    ("--host 192.0.2.1 battery charge --ma", {"--max-export-w", "--max-import-w"}, {"--kw"}),
    ("battery charge --via ", {"auto", "modbus", "openapi", "mqtt"}, {"charge", "--kw"}),
    ("battery ch", {"charge"}, {"discharge"}),
    ("battery charge --kw ", set(), {"charge", "auto"}),
    ("dump --sc", {"--scope"}, {"--json"}),
    ("dump --scope ", {"plant", "inverter"}, {"--json"}),
    ("help ba", {"battery"}, {"bash"}),
    ("help cloud ", {"flow", "systems"}, {"battery", "cloud"}), ("help shelly scr", {"scripts"}, {"setup"}),
    ("run --source ", {"auto", "modbus", "cloud", "mqtt"}, {"flow"}), ("--control-enabled ", {"yes", "no"}, {"run"}),
    ("run --run-log-level d", {"debug"}, {"info"}), ("--modbus-host ", set(), {"yes", "run"}),
    ("mode set --via o", {"openapi"}, {"app"}),
    ("explain s", {"signs", "shelly", "serial_swapped"}, {"1502"}), ("explain 15", {"1502", "1503"}, {"signs"}),
    ("loads cloud ", {"list", "on", "off"}, {"plan"}),
    ("completion ", {"bash", "zsh"}, {"fish"}),
    ("--unit cloud ba", {"battery"}, {"bash"}),  # "cloud" is the value of a flag here, not a verb
]


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("completion")
    (folder / "sigen-bridge.bash").write_text(completion.bash() + "\n")
    (folder / "_sigen-bridge").write_text(completion.zsh() + "\n")
    return folder


def in_bash(scripts, words, cwd="/"):
    typed = ["sigen-bridge", *words]
    text = ASK.format(script=scripts / "sigen-bridge.bash", words=" ".join(map(shlex.quote, typed)))
    done = subprocess.run(["bash", "--norc", "-c", text], capture_output=True, text=True, timeout=30, check=False,
                          cwd=cwd)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    first, *offered = done.stdout.splitlines()
    assert first == "complete -F _sigen_bridge sigen-bridge"
    return {word for word in offered if word}


@pytest.mark.needs("bash")
@pytest.mark.parametrize("typed, offered, not_offered", CASES)
def test_bash_offers(scripts, typed, offered, not_offered):
    found = in_bash(scripts, typed.split(" "))
    assert offered <= found and not not_offered & found
    assert offered or not found


@pytest.mark.needs("bash")
@pytest.mark.parametrize("typed", ["--config ru", "battery schedule ru", "--amber-token-file ru", "serial probe ru"])
def test_bash_offers_files_where_a_file_is_wanted(scripts, tmp_path, typed):
    (tmp_path / "rules.txt").write_text("")
    assert "rules.txt" in in_bash(scripts, typed.split(" "), tmp_path)


@pytest.mark.needs("bash")
def test_bash_splits_a_flag_at_its_equals_sign(scripts):
    assert in_bash(scripts, ["battery", "charge", "--via", "=", "mo"]) == {"modbus"}
    assert in_bash(scripts, ["battery", "charge", "--via", "="]) == {"auto", "modbus", "openapi", "mqtt"}


@pytest.mark.needs("bash", "shellcheck")
def test_shellcheck_has_nothing_to_say_about_the_bash_script(scripts):
    done = subprocess.run(["shellcheck", "-s", "bash", str(scripts / "sigen-bridge.bash")], capture_output=True,
                          text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


class Zsh:
    """An interactive zsh on a terminal of its own, as a person uses it."""

    def __init__(self, scripts, home):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.environ.update(HOME=str(home), ZDOTDIR=str(home), TERM="dumb", PS1="", LC_ALL="C")
            os.chdir(home)
            os.execvp("zsh", ["zsh", "-f", "-i"])
        self.do("PS1='rea''dy> '; unsetopt prompt_cr; setopt no_always_last_prompt; LISTMAX=9999")
        self.do(f"fpath=({shlex.quote(str(scripts))} $fpath); autoload -U compinit; compinit -u -D")

    def do(self, line):
        """Run a line and wait until zsh reads the next one: what is typed earlier is the terminal's, not zsh's."""
        self.type(f"{line}\n")
        self.until("ready> ")

    def type(self, text):
        os.write(self.terminal, text.encode())

    def until(self, wanted, timeout_s=20.0):
        clock, text = Clock(), ""
        end = clock.monotonic() + timeout_s
        while wanted not in text:
            assert clock.monotonic() < end, f"zsh did not show {wanted!r}: {text!r}"
            if select.select([self.terminal], [], [], 0.2)[0]:
                text += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", os.read(self.terminal, 65536).decode("utf-8", "replace"))
        return text

    def offers(self, typed):
        """Press Ctrl-D at the end of ``typed``, which lists what fits, and return the words that were shown."""
        self.type(f"sigen-bridge {typed}\x04")
        self.type("\x15print en''d\n")
        return set(self.until("end\r\nready> ").replace("\r", " ").split())

    def close(self):
        os.write(self.terminal, b"\x15exit\n")
        os.close(self.terminal)
        os.waitpid(self.pid, 0)


@pytest.mark.needs("zsh")
def test_zsh_offers(scripts, tmp_path):
    (tmp_path / "rules.txt").write_text("")
    zsh = Zsh(scripts, tmp_path)
    try:
        for typed, offered, not_offered in CASES:
            if offered and len(offered) > 1:
                found = zsh.offers(typed) - set(typed.split())
                assert offered <= found and not not_offered & found, (typed, found)
        assert "rules.txt" in zsh.offers("battery schedule ")
    finally:
        zsh.close()


@pytest.mark.needs("zsh")
@pytest.mark.parametrize("typed, line", [
    ("bat", "battery "), ("cloud sy", "cloud systems "), ("dump --sc", "dump --scope "),
    ("battery charge --via op", "battery charge --via openapi "),
])
def test_zsh_completes_a_single_word_by_tab(scripts, tmp_path, typed, line):
    zsh = Zsh(scripts, tmp_path)
    try:
        zsh.do("show() { print -r -- \"<$BUFFER>\"; BUFFER=; }; zle -N show; bindkey '^X' show")
        zsh.type(f"sigen-bridge {typed}\t\x18")
        assert f"<sigen-bridge {line}>" in zsh.until(">\r\n")
    finally:
        zsh.close()


def test_every_verb_option_and_setting_is_in_the_tables():
    found = completion.places()
    for verb in cli.command_names():
        text = cli.parser_of(verb, cli.command(verb)).format_help()
        assert set(re.findall(r"^  (?:-h, )?(--[a-z0-9-]+)", text, re.M)) <= set(found[verb].flags)
    paths, plain = completion.setting_flags()
    assert set(paths) | set(plain) == {*flag_names(), "--config"}
    assert {"cloud flow", "mode set", "sim plant", "serial probe"} <= set(found)


def test_the_scripts_hold_no_value_of_a_setting(bridge):
    done = bridge("completion", "bash", env={"SIGEN_APP_SECRET": "canary-7731", "SIGEN_PASS": "canary-7732"})
    assert done.returncode == 0 and "canary" not in done.stdout and done.stderr == ""


def test_another_shell_is_one_line(bridge):
    done = bridge("completion", "fish")
    assert done.returncode == 2 and "fish" in one_line(done.stderr)


