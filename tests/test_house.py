"""The house rules of ARCHITECTURE.md, checked by reading the code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BRIDGE = ROOT / "bridge"
MODULES = sorted(BRIDGE.rglob("*.py"))

# Lower floors first; a module may import from its own floor and below.
FLOORS = {
    "model": 0, "errors": 0, "clock": 0, "faultlog": 1, "state": 0, "registers": 1, "link": 2, "peers": 3,
    "sources": 4, "sinks": 4, "control": 4, "sim": 4,
    "values": 0, "settings": 5, "uci": 5, "ini": 5, "envfile": 5, "config": 6, "wiring": 7, "errands": 1, "loop": 7, "coordinator": 7, "service": 8, "tariff_run": 8, "tariff_report": 8, "commands": 9, "cli": 10, "__main__": 11,
    "data": 0,
}
WIRE_MODULES = {
    "socket", "ssl", "http", "urllib", "select", "selectors", "socketserver", "serial", "pymodbus", "requests",
    "websocket", "paho", "zeroconf", "termios", "pty", "tty",
}
ALLOWED_THIRD_PARTY = {
    "serial", "pymodbus", "requests", "Crypto", "websocket", "paho", "zeroconf", "anthropic",
}
STDLIB_EXTRA = {"__future__"}
TABLES = {"registers/sigenergy.py", "settings.py", "peers/sigen_codes.py"}
MAX_LINES = 250
BROAD_EXCEPT = {"loop.py", "sinks/outbox.py", "link/http_talk.py"}


def name_of(path):
    return path.relative_to(BRIDGE).as_posix()


def tree_of(path):
    return ast.parse(path.read_text("utf-8"), str(path))


def floor_of(dotted):
    first = dotted.split(".")[1] if "." in dotted else ""
    return FLOORS[family(first)] if first else -1


def family(name):
    """Return the name that has a floor: wiring comes in several files, one for each part of the program."""
    return "wiring" if name.startswith("wiring_") else name


def imports(tree):
    """Yield (module name, node) for every import, also those inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module, node
            if node.module == "bridge":
                for alias in node.names:
                    yield f"bridge.{alias.name}", node


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_downward(path):
    own = path.relative_to(BRIDGE).parts[0].removesuffix(".py") if path.parent != BRIDGE else path.stem
    own = family(own)
    if own == "__init__":
        return
    assert own in FLOORS, f"{name_of(path)}: give it a floor in tests/test_house.py"
    for module, node in imports(tree_of(path)):
        if not module.startswith("bridge.") or module == "bridge.__version__":
            continue
        assert floor_of(module) <= FLOORS[own], f"{name_of(path)}:{node.lineno} imports {module} from above"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_wires_are_touched_only_in_link_and_simulators(path):
    parts = path.relative_to(BRIDGE).parts
    if parts[0] in ("link", "sim"):
        return
    for module, node in imports(tree_of(path)):
        assert module.split(".")[0] not in WIRE_MODULES, f"{name_of(path)}:{node.lineno} imports {module}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_time_is_touched_only_in_clock(path):
    if path.name == "clock.py":
        return
    tree = tree_of(path)
    for module, node in imports(tree):
        assert module != "time", f"{name_of(path)}:{node.lineno} imports time"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ("utcnow", "today", "sleep"):
            pytest.fail(f"{name_of(path)}:{node.lineno} uses {node.attr}")
        if isinstance(node, ast.Attribute) and node.attr == "now" and isinstance(node.value, ast.Name):
            assert node.value.id not in ("datetime", "date"), f"{name_of(path)}:{node.lineno} asks datetime for now"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_environment_is_read_only_in_config(path):
    if path.name == "config.py" and path.parent == BRIDGE:
        return
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            assert node.attr not in ("environ", "getenv"), f"{name_of(path)}:{node.lineno} reads the environment"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_print_belongs_to_commands(path):
    if path.parent.name == "commands":
        return
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"{name_of(path)}:{node.lineno} prints"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_errors_are_caught_by_name(path):
    for node in ast.walk(tree_of(path)):
        if not isinstance(node, ast.ExceptHandler):
            continue
        assert node.type is not None, f"{name_of(path)}:{node.lineno} bare except"
        names = [n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)]
        if {"Exception", "BaseException"} & set(names):
            assert name_of(path) in BROAD_EXCEPT, f"{name_of(path)}:{node.lineno} catches everything"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_keep_no_mutable_globals(path):
    for node in tree_of(path).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, (ast.List, ast.Set, ast.ListComp, ast.SetComp)):
            pytest.fail(f"{name_of(path)}:{node.lineno} a module-level list or set; use a tuple or frozenset")
        for inner in ast.walk(node):
            assert not isinstance(inner, ast.Global), f"{name_of(path)}: global statement"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_fit_on_a_few_screens(path):
    if name_of(path) in TABLES:
        return
    lines = len(path.read_text("utf-8").splitlines())
    assert lines <= MAX_LINES, f"{name_of(path)} has {lines} lines; split it where it wants a wall"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_files_say_what_they_are(path):
    tree = tree_of(path)
    text = path.read_text("utf-8")
    if not text.strip():
        return
    assert ast.get_docstring(tree), f"{name_of(path)} has no docstring"
    if any(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in tree.body):
        assert "from __future__ import annotations" in text, name_of(path)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_syntax_is_python_3_9(path):
    ast.parse(path.read_text("utf-8"), str(path), feature_version=(3, 9))
    for node in ast.walk(tree_of(path)):
        assert type(node).__name__ not in ("Match", "TryStar"), f"{name_of(path)}:{node.lineno}"


def test_each_third_party_package_is_imported_in_one_file():
    where = {}
    for path in MODULES:
        for module, _ in imports(tree_of(path)):
            first = module.split(".")[0]
            if first in ALLOWED_THIRD_PARTY:
                where.setdefault(first, set()).add(name_of(path))
    for package, files in where.items():
        assert len(files) == 1, f"{package} is imported in {sorted(files)}"


def test_nothing_else_from_outside_is_imported():
    import sys

    known = getattr(sys, "stdlib_module_names", None)
    if known is None:
        pytest.skip("this interpreter does not list its standard library; 3.10 and later do")
    for path in MODULES:
        for module, node in imports(tree_of(path)):
            first = module.split(".")[0]
            assert first in known or first == "bridge" or first in ALLOWED_THIRD_PARTY, \
                f"{name_of(path)}:{node.lineno} imports {module}"


def test_no_word_of_the_workshop_in_the_product():
    forbidden = ("TODO", "FIXME", "NotImplementedError")
    for path in MODULES:
        text = path.read_text("utf-8")
        for word in forbidden:
            assert word not in text, f"{name_of(path)} contains {word}"


def test_only_the_guard_writes_to_a_plant():
    """A frame that changes a plant has one way into being: control/battery_guard.py."""
    allowed = {"control/battery_guard.py", "link/modbus.py", "link/modbus_pymodbus.py"}
    for path in MODULES:
        if name_of(path) in allowed or path.relative_to(BRIDGE).parts[0] == "sim":
            continue
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "write":
                owner = node.func.value
                text = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
                assert "link" not in text.lower(), f"{name_of(path)}:{node.lineno} writes to a link"
        for _, node in imports(tree_of(path)):
            names = [alias.name for alias in getattr(node, "names", ())]
            assert "write_pdu" not in names, f"{name_of(path)}:{node.lineno} imports write_pdu"
