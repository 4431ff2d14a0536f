"""Packs .ipk files for opkg: OpenWrt up to 24.10 and every GL.iNet firmware.

Never names an architecture: GL.iNet's Qualcomm models call theirs by names no feed knows. Format: a
gzip'd tar of debian-binary, data.tar.gz and control.tar.gz (OpenWrt's ipkg-build).
"""

from __future__ import annotations

from pathlib import Path
from typing import List

from firmware_targets import contents
from firmware_targets.entries import Entry, control, gzipped, lines, size, tar, tar_of

CONFIG = "etc/config/sigen-bridge"
KEEP = "lib/upgrade/keep.d/sigen-bridge"
RELEASE = "1"


def data(name: str, cache: Path) -> List[Entry]:
    """Return every file that the package ``name`` installs on a router."""
    found = contents.files(name, cache)
    if name == contents.CORE:
        found += [
            Entry("etc/init.d/sigen-bridge", contents.init("procd/sigen-bridge"), 0o755),
            Entry(CONFIG, contents.init("conf/sigen-bridge.uci"), 0o600),
            Entry(KEEP, contents.init("procd/keep.d")),
        ]
    return found


def metadata(part: contents.Part, installed: int, epoch: int) -> List[Entry]:
    """Return the files of control.tar.gz."""
    core = part.name == contents.CORE
    depends = part.depends if core else (contents.CORE, *part.depends)
    fields = control(
        {
            "Package": part.name,
            "Version": f"{contents.version()}-{RELEASE}",
            "Depends": ", ".join(depends),
            "SourceDateEpoch": str(epoch),
            "License": "MIT",
            "Section": "utils",
            "Architecture": "all",
            "Maintainer": contents.MAINTAINER,
            "Installed-Size": str(installed),
            "Description": part.summary,
        }
    )
    found = [Entry("control", fields)]
    for step in ("postinst", "prerm"):
        text = contents.script(f"ipk-{step}.sh").replace(b"@PACKAGE@", part.name.encode())
        found.append(Entry(step, text, 0o755))
    if core:
        found.append(Entry("conffiles", lines([f"/{CONFIG}"])))
    return found


def pack(name: str, cache: Path, epoch: int) -> bytes:
    """Return the package ``name`` as the bytes of an .ipk."""
    files = data(name, cache)
    parts = contents.parts()
    return gzipped(
        tar_of(
            [
                ("debian-binary", b"2.0\n"),
                ("data.tar.gz", gzipped(tar(files, epoch))),
                ("control.tar.gz", gzipped(tar(metadata(parts[name], size(files), epoch), epoch))),
            ],
            epoch,
        )
    )


def filename(name: str) -> str:
    """Return the file name that opkg's feeds use."""
    return f"{name}_{contents.version()}-{RELEASE}_all.ipk"
