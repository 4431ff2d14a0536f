"""What each package installs: which modules, which vendored wheels, which launcher and helper.

Never decides where configuration and service files go: that is the packer's, one per package format.
"""

from __future__ import annotations

import ast
import configparser
import fnmatch
import re
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

from firmware_targets import vendor
from firmware_targets.entries import Entry, lines, read_tree

HERE = Path(__file__).parent
ROOT = HERE.parent
CORE = "sigen-bridge"
LIBRARY = "usr/lib/sigen-bridge"
LAUNCHER = "usr/bin/sigen-bridge"
MAINTAINER = "sigen-bridge <sigen-bridge@localhost>"


class Part(NamedTuple):
    """One package of the OpenWrt set; the .deb and the installer are made of the same parts."""

    name: str
    summary: str
    depends: Tuple[str, ...]
    vendored: Tuple[str, ...]
    modules: Tuple[str, ...]
    budget_kib: int


def version() -> str:
    """Return the version that bridge/__init__.py states."""
    match = re.search(r'__version__ = "([^"]+)"', (ROOT / "bridge" / "__init__.py").read_text("utf-8"))
    assert match, "bridge/__init__.py states no version"
    return match[1]


def parts() -> Dict[str, Part]:
    """Return the packages of packages.ini by name."""
    book = configparser.ConfigParser(interpolation=None)
    book.read_string((HERE / "packages.ini").read_text("utf-8"))
    return {
        name: Part(
            name,
            row["summary"],
            tuple(row["depends"].split()),
            tuple(row["vendored"].split()),
            tuple(row.get("modules", "").split()),
            int(row["budget_kib"]),
        )
        for name, row in book.items()
        if name != "DEFAULT"
    }


def owner(path: str, everyone: Dict[str, Part]) -> str:
    """Return the package that holds the file ``path`` of bridge/; what nobody claims is the core's."""
    for part in everyone.values():
        if any(fnmatch.fnmatchcase(path, pattern) for pattern in part.modules):
            return part.name
    return CORE


def module_name(path: str) -> str:
    """Return the dotted name of a file of bridge/."""
    dotted = path[:-3].replace("/", ".")
    return "bridge." + dotted[: -len(".__init__")] if dotted.endswith(".__init__") else f"bridge.{dotted}"


def files(name: str, cache: Path) -> List[Entry]:
    """Return what package ``name`` puts below /usr, licences and its list of modules included."""
    everyone = parts()
    found = [
        Entry(f"{LIBRARY}/bridge/{path}", content)
        for path, content in read_tree(ROOT / "bridge")
        if owner(path, everyone) == name
    ]
    for wheel in everyone[name].vendored:
        found += vendor.entries(cache, wheel, LIBRARY)
    modules = [entry.path[len(LIBRARY) + 1 :] for entry in found if entry.path.endswith(".py")]
    found.append(Entry(f"{LIBRARY}/{name}.modules", lines(sorted(modules))))
    if name == CORE:
        found.append(Entry(LAUNCHER, launcher(everyone), 0o755))
        found.append(Entry(f"{LIBRARY}/bytecode", script("bytecode.sh"), 0o755))
    return found


def launcher(everyone: Dict[str, Part]) -> bytes:
    """Return /usr/bin/sigen-bridge, which knows which package holds a module that is not there."""
    rows = []
    for path, _ in read_tree(ROOT / "bridge", "*.py"):
        name = owner(path, everyone)
        if name != CORE:
            rows.append(f'    "{module_name(path)}": "{name}",')
    for part in everyone.values():
        if part.name != CORE:
            rows += [f'    "{import_name(wheel)}": "{part.name}",' for wheel in part.vendored]
    filled = "PARTS = {\n" + "\n".join(rows) + "\n}\n"
    return re.sub(rb"(?m)^PARTS: dict = \{\}.*\n", filled.encode(), script("launcher.py"))


def import_name(wheel: str) -> str:
    """Return the name under which a vendored wheel is imported."""
    names = {"pyserial": "serial", "websocket-client": "websocket", "paho-mqtt": "paho"}
    return names.get(wheel, wheel.replace("-", "_"))


def script(name: str) -> bytes:
    """Return a file of scripts/."""
    return (HERE / "scripts" / name).read_bytes()


def init(path: str) -> bytes:
    """Return a file of init/."""
    return (ROOT / "init" / path).read_bytes()


def top_imports(source: str) -> List[str]:
    """Return the modules of bridge that importing ``source`` imports at once, not those of its functions."""
    found = []
    waiting: List[ast.AST] = list(ast.parse(source).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            waiting += list(ast.iter_child_nodes(node))
    return sorted({name for name in found if name.split(".")[0] == "bridge"})
