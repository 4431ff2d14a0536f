"""Small files that outlive the process: tokens, limiter state, leases. Atomic, owner-only.

Never raises for a read-only or full disk on behalf of a cache: ``save`` says whether it worked, and
the caller decides whether that matters (a lease must refuse, a counter may go on without).
"""

from __future__ import annotations

import json
import os
from typing import Any, Optional


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
