"""This machine as ``install`` changes it: files with owner and mode, the service user, systemd's commands.

Never decides what to change, and never touches anything outside its root directory. Files are replaced
whole, so that a failure leaves the old one.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import bridge
from bridge.errors import ConfigError

COMMAND_TIMEOUT_S = 150.0  # systemctl waits for READY=1, for which the unit allows 120 s
KEPT_MODE = 0o7777

Runner = Callable[[Sequence[str]], Tuple[int, str]]


class Change(NamedTuple):
    """One change to a machine, and why in words for its owner.

    ``kind`` is directory, file, link, run, remove, rmdir or rmtree; ``content`` is a file's text or a
    link's target; ``argv`` is run, and with ``may_fail`` its failure is of no consequence.
    """

    kind: str
    path: str
    why: str
    content: bytes = b""
    mode: int = 0
    group: str = "root"
    argv: Tuple[str, ...] = ()
    may_fail: bool = False


def run_command(argv: Sequence[str]) -> Tuple[int, str]:
    """Run a program and return its exit code and what it said; 127 when there is no such program."""
    try:
        done = subprocess.run(list(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=COMMAND_TIMEOUT_S, check=False)
    except FileNotFoundError:
        return 127, "there is no such program"
    except subprocess.TimeoutExpired:
        return 124, f"no end within {COMMAND_TIMEOUT_S:g} s"
    except OSError as error:
        return 126, error.strerror or str(error)
    return done.returncode, done.stdout


def init_files(kind: str) -> Dict[str, str]:
    """Return the service files ("systemd") or example settings ("conf") that came with the program, by name.

    Raises ConfigError when they did not come along.
    """
    package = os.path.dirname(os.path.abspath(bridge.__file__))
    places = (
        os.path.join(package, "units", kind),
        os.path.join(os.path.dirname(package), "init", kind),  # a checkout
        os.path.join(sys.prefix, "share", "sigen-bridge", kind),  # pip puts data files there
        os.path.join("/usr/share/sigen-bridge", kind),
    )
    for place in places:
        found: Dict[str, str] = {}
        for folder, _, names in os.walk(place):
            for name in names:
                path = os.path.join(folder, name)
                with open(path, encoding="utf-8") as handle:
                    found[os.path.relpath(path, place)] = handle.read()
        if found:
            return found
    raise ConfigError(f"install: the {kind} files did not come with this program; install it again")


def replace_file(path: str, content: bytes, mode: int, owner: Optional[Tuple[int, int]] = None) -> None:
    """Replace a file whole; an old one passes on mode and owner unless ``owner`` is given. Raises OSError."""
    target = os.path.realpath(path)
    if os.path.exists(target) and owner is None:
        known = os.stat(target)
        mode, owner = known.st_mode & KEPT_MODE, (known.st_uid, known.st_gid)
    temporary = f"{target}.{os.getpid()}.tmp"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            if owner is not None and os.geteuid() == 0:
                os.fchown(stream.fileno(), *owner)
            os.fchmod(stream.fileno(), mode)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    except OSError:
        os.unlink(temporary)
        raise


def fingerprint(content: bytes) -> str:
    """Return what tells whether a file was changed."""
    return hashlib.sha256(content).hexdigest()


class Host:
    """A machine whose files lie under ``root``: "" is this one, running; else an image that is not."""

    def __init__(self, root: str, run: Runner = run_command) -> None:
        self.root = root.rstrip("/")
        self.live = not self.root
        self.privileged = os.geteuid() == 0
        self._run = run

    def where(self, path: str) -> str:
        """Return the real place of a path of the machine."""
        return self.root + path

    def exists(self, *paths: str) -> bool:
        """Say whether any of these paths is there."""
        return any(os.path.lexists(self.where(path)) for path in paths)

    def read(self, path: str) -> Optional[bytes]:
        """Return what a file holds, or None when it is not there."""
        try:
            with open(self.where(path), "rb") as handle:
                return handle.read()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def entries(self, path: str) -> List[str]:
        """Return the names in a directory; none when there is no such directory."""
        try:
            return sorted(os.listdir(self.where(path)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def apply(self, change: Change) -> None:
        """Make one change, which may be made already. Raises ConfigError when it cannot be made."""
        try:
            makers = {
                "directory": self._make_directory, "file": self._write, "link": self._link,
                "run": self._start, "remove": self._remove, "rmdir": self._remove_directory,
                "rmtree": self._remove_tree,
            }
            makers[change.kind](change)
        except OSError as error:
            raise ConfigError(
                f"{change.why}: {error.strerror or error}; what was done so far stays, and running this again"
                " goes on from there"
            ) from error

    def _make_directory(self, change: Change) -> None:
        real = self.where(change.path)
        if os.path.isdir(real):
            return
        os.makedirs(real, mode=0o755)
        if os.geteuid() == 0:
            os.chown(real, *self._ids(change.group))
        os.chmod(real, change.mode)

    def _write(self, change: Change) -> None:
        os.makedirs(os.path.dirname(self.where(change.path)), mode=0o755, exist_ok=True)
        replace_file(self.where(change.path), change.content, change.mode, self._ids(change.group))

    def _link(self, change: Change) -> None:
        os.makedirs(os.path.dirname(self.where(change.path)), mode=0o755, exist_ok=True)
        os.symlink(change.content.decode(), self.where(change.path))

    def _start(self, change: Change) -> None:
        code, said = self._run(change.argv)
        if code != 0 and not change.may_fail:
            last = " ".join(said.split())[-300:]
            raise ConfigError(
                f"{' '.join(change.argv)}: exit code {code} ({last or 'it said nothing'}); what was done"
                " so far stays, and running this again goes on from there"
            )

    def _remove(self, change: Change) -> None:
        if self.exists(change.path):
            os.unlink(self.where(change.path))

    def _remove_directory(self, change: Change) -> None:
        real = self.where(change.path)
        if os.path.isdir(real) and not os.listdir(real):
            os.rmdir(real)

    def _remove_tree(self, change: Change) -> None:
        real = self.where(change.path)
        if os.path.isdir(real) and not os.path.islink(real):
            shutil.rmtree(real)

    def has_user(self, name: str) -> bool:
        """Say whether the machine's own list of users has ``name``."""
        return self._number("/etc/passwd", name) is not None

    def has_program(self, name: str) -> bool:
        """Say whether a program is there to be run by us."""
        return shutil.which(name) is not None

    def systemd_version(self) -> Optional[int]:
        """Return systemd's version, or None where it cannot be told."""
        if self.live:
            found = re.match(r"systemd (\d+)", self._run(["systemctl", "--version"])[1])
            return int(found[1]) if found else None
        for pattern in ("/usr/lib/systemd", "/usr/lib/*/systemd", "/lib/systemd"):
            for path in glob.glob(self.where(f"{pattern}/libsystemd-shared-*.so")):
                number = re.search(r"shared-(\d+)", path)
                if number:
                    return int(number[1])
        return None

    def _ids(self, group: str) -> Tuple[int, int]:
        number = 0 if group == "root" else self._number("/etc/group", group)
        return 0, 0 if number is None else number  # an image without the group gets it at its first boot

    def _number(self, table: str, name: str) -> Optional[int]:
        for line in (self.read(table) or b"").decode("utf-8", "replace").splitlines():
            words = line.split(":")
            if len(words) > 2 and words[0] == name and words[2].isdigit():
                return int(words[2])
        return None
