"""Packs sigen-bridge.run: a shell script with the files behind it, for machines without a package manager.

Never puts anything before offset HEADER but the script and blank lines: the script cuts the payload there.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Dict, List

from firmware_targets import contents, deb, ipk
from firmware_targets.entries import Entry, gzipped, size, tar, tar_of

FILENAME = "sigen-bridge.run"
BLOCK = 4096
BYTECODE_FACTOR = 2  # compiled modules take as much again as their sources

# One module of each package of the feed: what the installer asks Python for. The targets' descriptors
# name the same packages (python3 -m firmware_targets check).
MODULES = {
    "json": "python3-light",
    "logging": "python3-logging",
    "urllib.parse": "python3-urllib",
    "email.message": "python3-email",
    "encodings.idna": "python3-codecs",
    "ssl": "python3-openssl",
}
MODULES_RS485 = {"asyncio": "python3-asyncio"}
MODULES_MQTT = {"uuid": "python3-uuid"}


def services() -> Dict[str, List[Entry]]:
    """Return the files that belong to each kind of service manager."""
    return {
        "procd": [
            Entry("etc/init.d/sigen-bridge", contents.init("procd/sigen-bridge"), 0o755),
            Entry(ipk.CONFIG, contents.init("conf/sigen-bridge.uci"), 0o600),
            Entry(ipk.KEEP, contents.init("procd/keep.d")),
        ],
        "systemd": [*deb.services(), Entry(deb.CONFIG, contents.init("conf/sigen-bridge.ini"), 0o640)],
    }


def _pairs(modules: Dict[str, str]) -> str:
    return " ".join(f"{module}:{package}" for module, package in modules.items())


def pack(cache: Path, epoch: int) -> bytes:
    """Return the installer as bytes: header, then an uncompressed tar of one tar.gz for each part."""
    parts = {name: contents.files(name, cache) for name in contents.parts()}
    members = [
        (f"{name}.tar.gz", gzipped(tar(files, epoch)))
        for name, files in (*parts.items(), *services().items())
    ]
    payload = tar_of(members, epoch)
    need_kib = (f"{name}:{size(files) * BYTECODE_FACTOR // 1024 + 1}" for name, files in parts.items())
    values = {
        "VERSION": contents.version(),
        "SHA256": hashlib.sha256(payload).hexdigest(),
        "PARTS": " ".join(parts),
        "NEED_KIB": " ".join(need_kib),
        "MODULES": _pairs(MODULES),
        "MODULES_RS485": _pairs(MODULES_RS485),
        "MODULES_MQTT": _pairs(MODULES_MQTT),
        "HEADER": "",
    }
    script = contents.script("installer.sh").decode()
    header_size = -(-(len(script.encode()) + sum(map(len, values.values()))) // BLOCK) * BLOCK
    values["HEADER"] = str(header_size)
    for name, value in values.items():
        script = script.replace(f"@{name}@", value)
    return script.encode().ljust(header_size, b"\n") + payload
