"""Files are replaced whole, with owner and mode; commands end in time and their failures are one line."""

from __future__ import annotations

import os
import stat

import pytest

from bridge.errors import ConfigError
from bridge.link.host import Change, Host, init_files, replace_file, run_command


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_has_the_mode_asked_for_and_an_old_one_keeps_its_own(tmp_path):
    path = tmp_path / "file"
    replace_file(str(path), b"one", 0o600)
    assert (path.read_bytes(), mode(path)) == (b"one", 0o600)
    path.chmod(0o640)
    replace_file(str(path), b"two", 0o600)
    assert (path.read_bytes(), mode(path)) == (b"two", 0o640)
    assert os.listdir(tmp_path) == ["file"]


def test_a_link_is_followed_and_stays_a_link(tmp_path):
    (tmp_path / "real").write_text("one")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    replace_file(str(tmp_path / "link"), b"two", 0o600)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "two"


def test_a_failure_leaves_the_old_file_and_nothing_beside_it(tmp_path, mocker):
    (tmp_path / "file").write_text("old")
    mocker.patch("os.replace", side_effect=OSError(28, "No space left on device"))
    with pytest.raises(OSError, match="No space"):
        replace_file(str(tmp_path / "file"), b"new", 0o600)
    assert (tmp_path / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_change_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "etc").write_text("a file where a directory belongs")
    with pytest.raises(ConfigError, match="write /etc/x: .*; what was done so far stays"):
        Host(str(tmp_path)).apply(Change("file", "/etc/x", "write /etc/x", b"x", 0o600))


def test_what_is_gone_already_is_no_error(tmp_path):
    host = Host(str(tmp_path))
    for kind in ("remove", "rmdir", "rmtree"):
        host.apply(Change(kind, "/absent", "remove /absent"))


def test_a_directory_with_something_in_it_stays(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine").touch()
    Host(str(tmp_path)).apply(Change("rmdir", "/a", "remove /a"))
    assert (tmp_path / "a" / "mine").exists()


def test_a_command_that_fails_says_what_it_said():
    host = Host("", lambda argv: (5, "first\nlast words\n"))
    with pytest.raises(ConfigError, match=r"systemctl start x: exit code 5 \(first last words\)"):
        host.apply(Change("run", "systemctl", "start", argv=("systemctl", "start", "x")))
    host.apply(Change("run", "systemctl", "start", argv=("systemctl", "start", "x"), may_fail=True))


def test_commands_that_are_missing_or_cannot_run_have_codes():
    assert run_command(["/nonexistent/program"])[0] == 127
    assert run_command(["/"])[0] == 126
    assert run_command(["sh", "-c", "echo said; exit 3"]) == (3, "said\n")


def test_systemd_s_version_is_asked_or_read_off_its_library(tmp_path):
    assert Host("", lambda argv: (0, "systemd 252 (252.39-1)\n")).systemd_version() == 252
    assert Host("", lambda argv: (127, "")).systemd_version() is None
    folder = tmp_path / "usr" / "lib" / "aarch64-linux-gnu" / "systemd"
    folder.mkdir(parents=True)
    assert Host(str(tmp_path)).systemd_version() is None
    (folder / "libsystemd-shared-257.so").touch()
    assert Host(str(tmp_path)).systemd_version() == 257


def test_files_that_did_not_come_along_are_told():
    with pytest.raises(ConfigError, match="did not come with this program"):
        init_files("nothing-of-this-name")
