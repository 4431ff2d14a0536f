"""Small files that outlive the process: tokens, limiter state, leases, journals. Atomic, owner-only.

Never raises for a read-only or full disk on behalf of a cache: ``save`` says whether it worked, and
the caller decides whether that matters (a lease must refuse, a counter may go on without).
"""

from __future__ import annotations

import fcntl
import json
import os
from typing import Any, List, Optional

BOOT_ID = "/proc/sys/kernel/random/boot_id"


class StateDir:
    """One directory of JSON files, mode 0600, replaced atomically."""

    def __init__(self, path: str) -> None:
        self.path = path

    def load(self, name: str) -> Optional[Any]:
        """Return what ``name`` holds, or None when it is absent, unreadable or not JSON."""
        try:
            with open(os.path.join(self.path, name), encoding="utf-8") as handle:
                return json.load(handle)
        except (OSError, ValueError):
            return None

    def exists(self, name: str) -> bool:
        """Say whether ``name`` is there, whatever it holds."""
        return os.path.exists(os.path.join(self.path, name))

    def save(self, name: str, content: Any, durable: bool = False) -> bool:
        """Replace ``name`` by ``content``; with ``durable`` a power cut leaves the old or the new.

        Returns False when the directory cannot be written.
        """
        target = os.path.join(self.path, name)
        temporary = f"{target}.{os.getpid()}.tmp"
        try:
            os.makedirs(self.path, mode=0o700, exist_ok=True)
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as stream:
                    json.dump(content, stream)
                    stream.flush()
                    if durable:
                        os.fsync(stream.fileno())
                os.replace(temporary, target)
                if durable:
                    directory = os.open(self.path, os.O_RDONLY)
                    try:
                        os.fsync(directory)
                    finally:
                        os.close(directory)
            except OSError:
                if os.path.exists(temporary):
                    os.unlink(temporary)
                raise
        except OSError:
            return False
        return True

    def delete(self, name: str) -> None:
        """Remove ``name`` if it is there."""
        try:
            os.unlink(os.path.join(self.path, name))
        except OSError:
            return

    def append(self, name: str, content: Any, most_bytes: int, durable: bool = False) -> bool:
        """Add one line of JSON to ``name``; what is over ``most_bytes`` loses its older half. False when it cannot.

        A line that a power cut tore is passed over by ``lines``, and the next one begins on a line of its own.
        """
        path = os.path.join(self.path, name)
        try:
            os.makedirs(self.path, mode=0o700, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                size = os.fstat(handle).st_size
                torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
                line = (b"\n" if torn else b"") + json.dumps(content).encode() + b"\n"
                if os.write(handle, line) != len(line):
                    return False  # the disk is full
                if durable:
                    os.fsync(handle)
            finally:
                os.close(handle)
            if size > most_bytes:
                self._halve(path)
        except OSError:
            return False
        return True

    def lines(self, name: str) -> List[Any]:
        """Return the readable lines of ``name``, oldest first."""
        try:
            with open(os.path.join(self.path, name), encoding="utf-8", errors="replace") as handle:
                raw = handle.read().splitlines()
        except OSError:
            return []
        found = []
        for line in raw:
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    def _halve(self, path: str) -> None:
        with open(path, "rb") as handle:
            kept = handle.read().splitlines(keepends=True)
        temporary = f"{path}.{os.getpid()}.tmp"
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
            stream.writelines(kept[len(kept) // 2:])
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)

    def lock(self, name: str) -> Optional[Lock]:
        """Take ``name`` for this process until it lets go or dies; None while another process has it.

        Raises OSError when it can neither be written nor read. A disk that is full or became read-only does not
        keep it from being had: what was begun has to be ended there, too.
        """
        path = os.path.join(self.path, name)
        try:
            os.makedirs(self.path, mode=0o700, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            return None
        try:
            os.truncate(handle, 0)
            os.write(handle, str(os.getpid()).encode())
        except OSError:
            pass  # the lock is what counts; who holds it is then not known
        return Lock(handle)

    def lock_holder(self, name: str) -> Optional[int]:
        """Return the process id that the holder of a lock wrote down; only true while the lock is held.

        None when that process has not got the file open: on a disk that is full or read-only the number is old,
        and whoever has it today must not be asked to end.
        """
        path = os.path.join(self.path, name)
        try:
            with open(path, encoding="ascii") as handle:
                holder = int(handle.read())
        except (OSError, ValueError):
            return None
        opened = f"/proc/{holder}/fd"
        try:
            return holder if any(_leads_to(os.path.join(opened, one), path) for one in os.listdir(opened)) else None
        except PermissionError:
            return holder  # another user's, whom we could not end either
        except OSError:
            return None


def _leads_to(descriptor: str, path: str) -> bool:
    try:
        return os.path.samefile(descriptor, path)
    except OSError:
        return False  # closed meanwhile


class Lock:
    """A lock of this process on a file; the kernel takes it back when the process ends, however it ends."""

    def __init__(self, handle: int) -> None:
        self._handle: Optional[int] = handle

    def release(self) -> None:
        """Let go; safe to call twice."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def boot_id() -> str:
    """Return what names the time since the last start of this machine, "" where the kernel does not say.

    Monotonic seconds of two processes can be compared exactly while this is the same.
    """
    try:
        with open(BOOT_ID, encoding="ascii") as handle:
            return handle.read().strip()
    except OSError:
        return ""
