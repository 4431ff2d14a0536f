"""The reference of the Python modules that other programs may import, made from their docstrings for docs/api.md.

Reads the source as text, so that the result is the same on every Python.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent

MODULES = (
    "model", "errors", "clock", "registers/__init__", "registers/plan", "link/modbus", "link/modbus_tcp", "link/modbus_rtu",
    "link/modbus_pymodbus", "sources/modbus", "sources/serial", "sources/openapi", "sources/mqtt", "sources/failover",
    "sources/plausibility", "sim/plant", "sim/shelly", "sim/sigen_cloud", "sim/amber", "sim/enphase", "control/battery",
    "control/tariff", "control/dispatch",
)


def public(body, kinds):
    """Return the definitions of these kinds whose name has no underscore, in the order of the file."""
    return [node for node in body if isinstance(node, kinds) and not node.name.startswith("_")]


def signature(node, lines):
    """Return the head of a definition as one line, without ``def`` and the colon."""
    head = " ".join(line.strip() for line in lines[node.lineno - 1:node.body[0].lineno - 1])
    if node.lineno == node.body[0].lineno:
        head = lines[node.lineno - 1].strip().rpartition(":")[0]
    head = head.split("  #")[0].rstrip().rstrip(":").removeprefix("def ").removeprefix("class ")
    return head.replace("( ", "(").replace(", )", ")").replace("(self, ", "(").replace("(self)", "()")


def sentence(node):
    """Return the docstring of a definition as one paragraph, or nothing."""
    return " ".join((ast.get_docstring(node) or "").split())


def of_class(node, lines):
    """Yield the lines about a class."""
    yield f"**class `{signature(node, lines)}`**: {sentence(node)}"
    yield ""
    start = next((inner for inner in node.body if isinstance(inner, ast.FunctionDef) and inner.name == "__init__"), None)
    if start is not None:
        yield f"- `{signature(start, lines).replace('__init__', node.name)}`"
    for inner in node.body:
        if isinstance(inner, ast.AnnAssign) and not inner.target.id.startswith("_"):
            yield f"- `{lines[inner.lineno - 1].split('  #')[0].strip()}`"
    for inner in public(node.body, ast.FunctionDef):
        yield f"- `{signature(inner, lines)}`: {sentence(inner)}".rstrip(": ")
    yield ""


def of_module(name):
    """Yield the lines about a module."""
    text = (ROOT / "bridge" / f"{name}.py").read_text("utf-8")
    tree, lines = ast.parse(text), text.splitlines()
    yield f"## bridge.{name.replace('/__init__', '').replace('/', '.')}"
    yield ""
    yield from (ast.get_docstring(tree) or "").splitlines()
    yield ""
    for node in public(tree.body, ast.ClassDef):
        yield from of_class(node, lines)
    for node in public(tree.body, ast.FunctionDef):
        yield f"`{signature(node, lines)}`: {sentence(node)}"
        yield ""


def reference():
    """Return everything, as it stands in docs/api.md."""
    return "\n".join(line for name in MODULES for line in of_module(name)).strip()
