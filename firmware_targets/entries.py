"""Files on their way into a package: path, content and mode, and how to put them into archives.

Never takes owner, time or order from the file system: the same content gives the same bytes.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, NamedTuple, Sequence, Set, Tuple


class Entry(NamedTuple):
    """One file of a package; ``path`` has no leading slash."""

    path: str
    content: bytes
    mode: int = 0o644


def size(entries: Iterable[Entry]) -> int:
    """Return the bytes of all files together."""
    return sum(len(entry.content) for entry in entries)


def folders(entries: Iterable[Entry]) -> List[str]:
    """Return every directory that the files need, parents first."""
    found: Set[str] = set()
    for entry in entries:
        parts = entry.path.split("/")[:-1]
        found.update("/".join(parts[: depth + 1]) for depth in range(len(parts)))
    return sorted(found)


def write_tree(entries: Iterable[Entry], root: Path) -> None:
    """Write the files below ``root``."""
    for entry in entries:
        target = root / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(entry.content)
        target.chmod(entry.mode)


def tar(entries: Iterable[Entry], epoch: int) -> bytes:
    """Return an uncompressed tar in which everything belongs to root and has the time ``epoch``."""
    files = sorted(entries)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(_member("./", b"", 0o755, epoch, tarfile.DIRTYPE))
        for folder in folders(files):
            archive.addfile(_member(f"./{folder}/", b"", 0o755, epoch, tarfile.DIRTYPE))
        for entry in files:
            member = _member(f"./{entry.path}", entry.content, entry.mode, epoch, tarfile.REGTYPE)
            archive.addfile(member, io.BytesIO(entry.content))
    return buffer.getvalue()


def tar_of(members: Sequence[Tuple[str, bytes]], epoch: int) -> bytes:
    """Return an uncompressed tar of ``members`` in the order given; an .ipk is one of three members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in members:
            archive.addfile(_member(f"./{name}", content, 0o644, epoch, tarfile.REGTYPE), io.BytesIO(content))
    return buffer.getvalue()


def _member(name: str, content: bytes, mode: int, epoch: int, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime, member.type = len(content), mode, epoch, kind
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def gzipped(content: bytes) -> bytes:
    """Compress without a name and without a time in the header."""
    return gzip.compress(content, compresslevel=9, mtime=0)


def ar(members: Sequence[Tuple[str, bytes]], epoch: int) -> bytes:
    """Return a Unix archive, the outer form of a .deb."""
    parts = [b"!<arch>\n"]
    for name, content in members:
        parts.append(f"{name:<16}{epoch:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode())
        parts.append(content)
        if len(content) % 2:
            parts.append(b"\n")
    return b"".join(parts)


def control(fields: Dict[str, str]) -> bytes:
    """Return the fields of a control file; empty ones are left out."""
    return "".join(f"{name}: {value}\n" for name, value in fields.items() if value).encode()


def lines(values: Iterable[str]) -> bytes:
    """Return one value a line."""
    return "".join(f"{value}\n" for value in values).encode()


def read_tree(root: Path, pattern: str = "*") -> Iterator[Tuple[str, bytes]]:
    """Yield (relative path, content) of every file below ``root``, caches left out, in order."""
    for path in sorted(root.rglob(pattern)):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(root).as_posix(), path.read_bytes()
