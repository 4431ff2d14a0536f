"""``env make`` as a user runs it: on a terminal, from the environment, from a browser's recording."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import stat
import subprocess
import sys
import termios

import pytest

from bridge.clock import Clock
from bridge.commands import env as env_command
from bridge.commands.env import write_private
from bridge.errors import ConfigError
from bridge.peers import sigen_password
from bridge.peers.sigen_app_env import checked, merged, quoted
from tests.commands.app_desk import AMBER, ENCODED, PASSWORD, STATION, USER, in_process, shows_no_secret
from tests.commands.conftest import ROOT, Bridge, one_line
from tests.peers.har import har

FULL = {"SIGEN_REGION": "aus", "SIGEN_USER": USER, "SIGEN_PASS": PASSWORD, "AMBER_TOKEN": AMBER}


def make(tmp_path, *argv, **variables):
    """Run ``env make`` in the directory and return it finished; its output must hold no secret."""
    before = os.getcwd()
    os.chdir(tmp_path)
    try:
        return shows_no_secret(in_process(("env", "make", *argv), variables))
    finally:
        os.chdir(before)


def lines(path):
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line and line[0] != "#")


def test_from_the_environment_the_file_is_private_and_holds_the_encoded_password(tmp_path):
    out = tmp_path / "made.env"
    done = make(tmp_path, "--non-interactive", "--out", str(out), **FULL, STATION_ID=str(STATION))
    assert done.returncode == 0 and stat.S_IMODE(out.stat().st_mode) == 0o600
    assert lines(out) == {
        "SIGEN_REGION": "aus", "SIGEN_USER": USER, "SIGEN_PASS_ENC": ENCODED, "AMBER_TOKEN": AMBER,
        "STATION_ID": str(STATION)}
    assert "SIGEN_PASS_ENC=24 characters, not shown" in done.stdout and "920***001" in done.stdout
    assert USER not in done.stdout and "***@example.invalid" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["made.env"]


@pytest.mark.parametrize("root, systemd, path", [
    (True, True, "/etc/default/sigen-bridge"), (True, False, "sigen-bridge.env"), (False, True, "sigen-bridge.env")])
def test_the_systems_own_file_is_written_only_where_something_reads_it(tmp_path, monkeypatch, root, systemd, path):
    """OpenWrt's root would otherwise get a file in /etc/default that nobody there looks at."""
    monkeypatch.setattr(env_command, "SYSTEMD", str(tmp_path) if systemd else str(tmp_path / "none"))
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
    assert f"would write {path} (" in make(tmp_path, "--non-interactive", "--dry-run", **FULL).stdout


def test_without_a_station_number_the_three_ways_are_told(tmp_path):
    out = make(tmp_path, "--non-interactive", "--dry-run", **FULL).stdout
    assert all(way in out for way in ("1. leave", "2. sign in", "3. save", "/device/owner/station/home", "--from-har"))


def test_a_dry_run_writes_nothing(tmp_path):
    done = make(tmp_path, "--non-interactive", "--dry-run", "--out", str(tmp_path / "x"), **FULL)
    assert done.returncode == 0 and "would write" in done.stdout and not list(tmp_path.iterdir())


@pytest.mark.parametrize("left, words", [
    (("SIGEN_REGION",), "SIGEN_REGION is missing"), (("SIGEN_PASS",), "SIGEN_PASS or SIGEN_PASS_ENC is missing"),
    (("SIGEN_USER", "SIGEN_PASS"), "SIGEN_USER, SIGEN_PASS or SIGEN_PASS_ENC are missing"),
])
def test_what_is_missing_is_named_all_at_once(tmp_path, left, words):
    done = make(tmp_path, "--non-interactive", **{name: text for name, text in FULL.items() if name not in left})
    assert done.returncode == 2 and words in one_line(done.stderr) and not list(tmp_path.iterdir())


def test_a_bearer_stands_for_user_and_password(tmp_path):
    out = tmp_path / "made.env"
    done = make(tmp_path, "--non-interactive", "--out", str(out), SIGEN_REGION="eu", SIGEN_BEARER="eyJh.x.y")
    assert done.returncode == 0 and lines(out) == {"SIGEN_REGION": "eu", "SIGEN_BEARER": "eyJh.x.y"}
    assert "eyJh" not in done.stdout


def test_a_new_password_takes_out_the_bearer_that_would_win(tmp_path):
    out = tmp_path / "made.env"
    out.write_text("SIGEN_REGION=aus\nSIGEN_BEARER=used-up\n# kept\n")
    assert make(tmp_path, "--non-interactive", "--out", str(out), **FULL).returncode == 0
    assert "SIGEN_BEARER" not in out.read_text() and "# kept" in out.read_text() and "SIGEN_USER" in out.read_text()


@pytest.mark.parametrize("name, text, words", [
    ("SIGEN_REGION", "mars", "aus"), ("STATION_ID", "ABCDE1700000001", "three ways"),
    ("SIGEN_DEVICE_ID", "12", "13 digits"), ("SIGEN_PASS_ENC", "correct horse", "SIGEN_PASS"),
    ("SIGEN_PASS_ENC", "abcd", "encoded"), ("SIGEN_BEARER", "two words", "cloud.bearer"),
])
def test_what_cannot_be_right_is_refused(tmp_path, name, text, words):
    done = make(tmp_path, "--non-interactive", **{**FULL, "SIGEN_PASS": "", name: text,
                                                  **({"SIGEN_PASS_ENC": ENCODED} if name != "SIGEN_PASS_ENC" else {})})
    assert done.returncode == 2 and words in one_line(done.stderr) and not list(tmp_path.iterdir())


def test_without_the_cipher_the_plain_password_stands_there_and_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(sigen_password, "available", lambda: False)
    out = tmp_path / "made.env"
    done = make(tmp_path, "--non-interactive", "--out", str(out), **FULL)
    assert lines(out)["SIGEN_PASS"] == f'"{PASSWORD}"' and "pycryptodome" in done.stdout


def test_an_existing_file_keeps_its_other_lines_and_loses_the_old_password(tmp_path):
    out = tmp_path / "made.env"
    out.write_text("# mine\nexport OTHER=1\nSIGEN_PASS='old one'\nSIGEN_USER=old\n\nPLAN_NAME=Amber Live\nSIGEN_USER=two\n")
    out.chmod(0o644)
    make(tmp_path, "--non-interactive", "--out", str(out), **FULL)
    assert out.read_text() == (
        f"# mine\nexport OTHER=1\nSIGEN_USER={USER}\n\nPLAN_NAME=Amber Live\nSIGEN_REGION=aus\nSIGEN_PASS_ENC={ENCODED}\n"
        f"AMBER_TOKEN={AMBER}\n")
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


def test_settings_of_the_tariff_that_are_set_are_taken_along(tmp_path):
    out = tmp_path / "made.env"
    make(tmp_path, "--non-interactive", "--out", str(out), **FULL, PLAN_NAME="Amber Live", USE_CURRENT="no", INTERVAL="30")
    assert lines(out)["PLAN_NAME"] == '"Amber Live"' and lines(out)["USE_CURRENT"] == "0"
    assert lines(out)["INTERVAL"] == "30" and "ALIGN" not in lines(out)


@pytest.mark.parametrize("out", ["/proc/none/made.env", "/dev/null/made.env"])
def test_a_place_that_cannot_be_written_is_one_line(tmp_path, out):
    done = make(tmp_path, "--non-interactive", "--out", out, **FULL)
    assert done.returncode == 2 and "cannot be" in one_line(done.stderr)


def test_a_failed_write_leaves_the_old_file_and_no_temporary_one(tmp_path, monkeypatch):
    target = tmp_path / "made.env"
    target.write_text("old\n")

    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(env_command.os, "fsync", full)
    with pytest.raises(ConfigError, match="No space left"):
        write_private(str(target), "new\n")
    assert target.read_text() == "old\n" and [path.name for path in tmp_path.iterdir()] == ["made.env"]


def test_a_link_is_followed_and_not_replaced(tmp_path):
    (tmp_path / "real").write_text("old\n")
    (tmp_path / "link").symlink_to("real")
    write_private(str(tmp_path / "link"), "new\n")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_text() == "new\n"


def test_a_recording_gives_everything_and_shows_nothing(tmp_path):
    (tmp_path / "session.har").write_text(json.dumps(har()))
    out = tmp_path / "made.env"
    done = make(tmp_path, "--from-har", "session.har", "--non-interactive", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert lines(out) == {
        "SIGEN_REGION": "aus", "SIGEN_USER": USER, "SIGEN_PASS_ENC": ENCODED, "SIGEN_DEVICE_ID": "1767225600123",
        "STATION_ID": str(STATION)}
    assert "device id         176***123" in done.stdout and "station id        920***001" in done.stdout
    for secret in ("secret-token", "secret-cookie", "1767225600123", str(STATION), USER):
        assert secret not in done.stdout + done.stderr + ("" if secret != "secret-token" else out.read_text())


@pytest.mark.parametrize("content, words", [
    (None, "cannot be read"), (b"\xff\xfe\x00", "not a text file"), (b"<html>", "not JSON"), (b"{}", "no HAR file"),
    (b'{"log":{"entries":[]}}', "before you sign in"),
])
def test_a_file_that_is_no_recording_is_one_line(tmp_path, content, words):
    if content is not None:
        (tmp_path / "session.har").write_bytes(content)
    done = make(tmp_path, "--from-har", "session.har", "--non-interactive")
    assert done.returncode == 2 and words in one_line(done.stderr)


def test_without_a_terminal_it_says_so(tmp_path):
    done = Bridge()("env", "make", cwd=tmp_path)
    assert done.returncode == 2 and "--non-interactive" in one_line(done.stderr)


def on_a_terminal(tmp_path, answers, *argv):
    """Type ``answers`` one by one at the prompts; returns (exit code, everything the terminal showed)."""
    leader, follower = pty.openpty()
    environment = {**Bridge().environment(), "PYTHONPATH": str(ROOT), "TERM": "dumb"}
    process = subprocess.Popen([sys.executable, "-m", "bridge", "env", "make", *argv], cwd=tmp_path, env=environment,
                               stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
                               preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    os.close(follower)
    clock, shown, waiting = Clock(), "", list(answers)
    deadline, seen = clock.monotonic() + 30, 0
    while clock.monotonic() < deadline:
        if select.select([leader], [], [], 0.2)[0]:
            try:
                shown += os.read(leader, 4096).decode()
            except OSError:
                break  # the other end is closed
        if waiting and shown[seen:].endswith(": "):
            seen = len(shown)
            os.write(leader, (waiting.pop(0) + "\n").encode())
    code = process.wait(10)
    os.close(leader)
    return code, shown


@pytest.mark.timing
def test_on_a_terminal_everything_is_asked_and_no_secret_is_echoed(tmp_path):
    answers = ["mars", "aus", USER, "hunter 2 ", "", "ABC", "", AMBER]
    code, shown = on_a_terminal(tmp_path, answers, "--out", "made.env")
    assert code == 0, shown
    assert "mySigen password" in shown and "Amber token" in shown and "mars" in shown and USER in shown
    for secret in ("hunter", AMBER, sigen_password.encode("hunter 2 ")):
        assert secret not in shown
    assert lines(tmp_path / "made.env") == {
        "SIGEN_REGION": "aus", "SIGEN_USER": USER, "SIGEN_PASS_ENC": sigen_password.encode("hunter 2 "),
        "AMBER_TOKEN": AMBER}
    assert stat.S_IMODE((tmp_path / "made.env").stat().st_mode) == 0o600


@pytest.mark.parametrize("text, written", [
    ("plain-1_x@y.z", "plain-1_x@y.z"), ("a b", '"a b"'), ('a"b\\c$d`e', '"a\\"b\\\\c\\$d\\`e"'), ("#x", '"#x"'),
    ("", '""'), ("ä", '"ä"'), (ENCODED, ENCODED),
])
def test_a_value_is_written_as_systemd_reads_it(text, written):
    assert quoted(text) == written


@pytest.mark.needs("sh")
@pytest.mark.parametrize("text", ["a b", 'a"b\\c$d`e', "#x", "it's", "$(touch x)", "ä%"])
def test_a_value_survives_even_a_shell(tmp_path, text):
    (tmp_path / "made.env").write_text(merged("", {"SIGEN_PASS": text}))
    done = subprocess.run(["sh", "-c", '. ./made.env; printf %s "$SIGEN_PASS"'], cwd=tmp_path, capture_output=True)
    assert done.stdout.decode() == text and [path.name for path in tmp_path.iterdir()] == ["made.env"]


def test_a_value_of_several_lines_is_refused():
    with pytest.raises(ConfigError, match="one line"):
        checked("SIGEN_PASS", "a\nSIGEN_USER=x")
