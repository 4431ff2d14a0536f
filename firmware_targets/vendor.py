"""Third-party wheels that the packages carry: fetched once, checked against their hashes, unpacked.

Never takes a wheel whose hash is not in requirements-vendor.txt, nor one that holds compiled code.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

from firmware_targets.entries import Entry

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "requirements-vendor.txt"
OLDEST_PYTHON = "3.9"
DOWNLOAD_TIMEOUT_S = 300  # nine small wheels; a slow mirror is no reason to wait longer

# Not needed at run time: tests of the wheels themselves, what only type checkers read, tools with a
# command line of their own, other operating systems, pymodbus' simulator (it wants aiohttp).
LEFT_OUT = re.compile(
    r"(^|/)tests?/|/py\.typed$|\.pyi$"
    r"|^paho/mqtt/(publish|subscribe)\.py$"
    r"|^websocket/_wsdump\.py$|^pymodbus/server/simulator/(web/|main\.py|.*\.json$)"
    r"|^serial/(win32|serialwin32|serialcli|serialjava|tools/(miniterm|hexlify_codec|list_ports_(osx|windows)))\.py$"
)


class VendorError(Exception):
    """A wheel is missing, has another hash, or is not pure Python."""


class Pin(NamedTuple):
    """One line of requirements-vendor.txt."""

    name: str
    version: str
    sha256: str


def pins() -> Dict[str, Pin]:
    """Return the pinned wheels by name."""
    found = {}
    for line in REQUIREMENTS.read_text("utf-8").splitlines():
        match = re.match(r"([\w.-]+)==(\S+) --hash=sha256:([0-9a-f]{64})$", line)
        if match:
            found[match[1]] = Pin(*match.groups())
    return found


def fetch(cache: Path) -> None:
    """Put every pinned wheel into ``cache``; does nothing when they are there. Raises VendorError."""
    if all(_wheel(cache, pin) is not None for pin in pins().values()):
        return
    cache.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--require-hashes",
        "--only-binary",
        ":all:",
        "--implementation",
        "py",
        "--abi",
        "none",
        "--platform",
        "any",
        "--python-version",
        OLDEST_PYTHON,
        "--dest",
        str(cache),
        "-r",
        str(REQUIREMENTS),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise VendorError(
            f"fetching {REQUIREMENTS.name}: {reason}; the packages need network once, or a filled {cache}"
        )


def _wheel(cache: Path, pin: Pin) -> Optional[Path]:
    for path in cache.glob(f"{pin.name.replace('-', '_')}-{pin.version}-*.whl"):
        if hashlib.sha256(path.read_bytes()).hexdigest() == pin.sha256:
            return path
    return None


def entries(cache: Path, name: str, library: str) -> List[Entry]:
    """Return the files of a wheel below ``library``, its licence included. Raises VendorError."""
    pin = pins()[name]
    wheel = _wheel(cache, pin)
    if wheel is None:
        raise VendorError(f"{name} {pin.version}: no wheel with the pinned hash in {cache}; run make vendor")
    found = []
    with zipfile.ZipFile(wheel) as archive:
        for info in sorted(archive.infolist(), key=lambda item: item.filename):
            path = info.filename
            if path.endswith((".so", ".pyd")):
                raise VendorError(
                    f"{name}: {path} is compiled code, and the package is for all architectures"
                )
            if ".dist-info/" in path:
                licence = re.search(r"/(licenses/)?((LICEN[CS]E|COPYING|NOTICE)[^/]*|edl-v10)$", path)
                if licence:  # paho's LICENSE only points at the text of the EDL beside it
                    more = "-edl" if licence[2] == "edl-v10" else ""
                    found.append(Entry(f"{library}/licenses/{name}{more}.txt", archive.read(info)))
            elif ".data/" not in path and not path.endswith("/") and not LEFT_OUT.search(path):
                found.append(Entry(f"{library}/{path}", archive.read(info)))
    return found
