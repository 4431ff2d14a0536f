"""Packs the .deb for Raspberry Pi OS and Debian: everything in one package, third-party code included.

Never installs into the system's Python: the modules live in /usr/lib/sigen-bridge, so PEP 668 and
Debian's own, older pymodbus do not matter. Format: deb(5).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import List

from bridge.commands import completion
from firmware_targets import contents
from firmware_targets.entries import Entry, ar, control, gzipped, lines, size, tar

CONFIG = "etc/sigen-bridge/sigen-bridge.ini"
UNITS = "usr/lib/systemd/system"
DOC = "usr/share/doc/sigen-bridge"


def services() -> List[Entry]:
    """Return the units and what they need, at the places where systemd looks."""
    return [
        *(Entry(f"{UNITS}/{name}", contents.init(f"systemd/{name}")) for name in units()),
        Entry("usr/lib/sysusers.d/sigen-bridge.conf", contents.init("systemd/sysusers.d/sigen-bridge.conf")),
        Entry("usr/lib/tmpfiles.d/sigen-bridge.conf", contents.init("systemd/tmpfiles.d/sigen-bridge.conf")),
        Entry("usr/share/sigen-bridge/restart-steps.conf", contents.init("systemd/restart-steps.conf")),
        Entry("usr/share/sigen-bridge/credentials.conf", contents.init("systemd/credentials.conf")),
    ]


def completions() -> List[Entry]:
    """Return the completion scripts, at the places where bash-completion and zsh look."""
    return [
        Entry("usr/share/bash-completion/completions/sigen-bridge", f"{completion.bash()}\n".encode()),
        Entry("usr/share/zsh/vendor-completions/_sigen-bridge", f"{completion.zsh()}\n".encode()),
    ]


def units() -> List[str]:
    """Return the names of the units in init/systemd."""
    return sorted(path.name for path in (contents.ROOT / "init" / "systemd").glob("sigen-bridge*.*") if path.is_file())


def data(cache: Path) -> List[Entry]:
    """Return every file of the package."""
    found = [entry for name in contents.parts() for entry in contents.files(name, cache)]
    found += services()
    found += completions()
    found.append(Entry(CONFIG, contents.init("conf/sigen-bridge.ini")))
    licence = contents.ROOT / "LICENSE"
    if licence.exists():
        found.append(Entry(f"{DOC}/copyright", licence.read_bytes()))
    return found


def metadata(files: List[Entry]) -> List[Entry]:
    """Return the files of control.tar.gz."""
    fields = control(
        {
            "Package": contents.CORE,
            "Version": contents.version(),
            "Architecture": "all",
            "Maintainer": contents.MAINTAINER,
            "Installed-Size": str(-(-size(files) // 1024)),
            "Depends": "python3 (>= 3.9)",
            "Recommends": "python3-pycryptodome, systemd",
            "Section": "utils",
            "Priority": "optional",
            "Description": contents.parts()[contents.CORE].summary.replace("router", "Raspberry Pi"),
        }
    )
    sums = (
        f"{hashlib.md5(entry.content).hexdigest()}  {entry.path}"
        for entry in sorted(files)
        if entry.path != CONFIG
    )
    names = lines(sorted(contents.parts()))
    found = [
        Entry("control", fields),
        Entry("conffiles", lines([f"/{CONFIG}"])),
        Entry("md5sums", lines(sums)),
    ]
    for step in ("postinst", "prerm", "postrm"):
        text = contents.script(f"deb-{step}.sh").replace(b"@PACKAGES@", b" ".join(names.split()))
        found.append(Entry(step, text, 0o755))
    return found


def pack(cache: Path, epoch: int) -> bytes:
    """Return the .deb as bytes."""
    files = data(cache)
    return ar(
        [
            ("debian-binary", b"2.0\n"),
            ("control.tar.gz", gzipped(tar(metadata(files), epoch))),
            ("data.tar.gz", gzipped(tar(files, epoch))),
        ],
        epoch,
    )


def filename() -> str:
    """Return the file name that Debian's tools use."""
    return f"{contents.CORE}_{contents.version()}_all.deb"
