"""The checker of Shelly scripts, and what it says of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge import data
from tests.script_rules import check

SCRIPTS = sorted(Path(data.__file__).parent.glob("*.js"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_our_scripts_suit_the_device(path):
    assert check(path.read_text("utf-8")) == []


def test_there_are_scripts_to_check():
    assert {"shelly_setter.js", "shelly_monitor.js", "shelly_rs485.js"} <= {path.name for path in SCRIPTS}


@pytest.mark.parametrize("code, problem", [
    ('let a = "21 \u00b0C";', "not ASCII"),
    ("// a \u2014 in a comment", "not ASCII"),
    ("let a = 1;\n" * 2000, "more than 15000"),
    ("class A {}", "classes"),
    ("async function f() {}", "promises"),
    ("let p = new Promise(f);", "promises"),
    ("let { a } = b;", "destructuring"),
    ("const [a, c] = b;", "destructuring"),
    ("function f({ a }) { return a; }", "destructuring"),
    ("let f = ([a]) => a;", "destructuring"),
    ("let a = [...b];", "spread"),
    ("function f(...rest) {}", "spread"),
    ("function f(a = 1) { return a; }", "default parameters"),
    ("let f = function (a = 1) { return a; };", "default parameters"),
    ("let f = (a, b = 1) => a;", "default parameters"),
    ("let a = { [key]: 1 };", "computed keys"),
    ("let a = b ** 2;", "power"),
    ("let a = b?.c;", "optional chaining"),
    ("function* f() { yield 1; }", "generators"),
    ("let a = 10n;", "BigInt"),
    ("let m = new Map();", "Map"),
    ('let a = "\\u00b0";', "unicode escapes"),
    ("with (a) { b(); }", "'with'"),
    ("a.shift();", "shift"),
    ("if (Number.isFinite(a)) {}", "isFinite"),
    ("function f() { return\n 1; }", "after return"),
    ("f();\nfunction f() {}", "f is used before"),
    ("function a() { b(); }\nfunction b() {}", "b is used before"),
    ("for (let i = 0; i < 3; i++) { a.push(function () { return i; }); }", "closure over a for"),
    ("for (let i of b) { a.push(() => { return i; }); }", "closure over a for"),
    ("function a() { b(function () { c(function () {}); }); }", "nested deeper"),
    ("Timer.set(1, false, f);\n" * 6, "more than 5 places with Timer.set"),
    ("Shelly.call('A');\n" * 6, "more than 5 places with Shelly.call"),
])
def test_what_a_device_cannot_do_is_found(code, problem):
    assert problem in "; ".join(map(str, check(code)))


@pytest.mark.parametrize("code", [
    'let a = { "class": 1 }["class"];',
    "// class async ... ** f()\nfunction f() {}\nf();",
    '/* f(); class */ let a = "class ... ** ?. f()";',
    "let a = b ? [c] : d;",
    "let a = b / c / d; let r = /[/]class/g.test(a);",
    "let f = (a, b) => a + b; let t = `x${f(1, 2)}`;",
    "for (let i = 0; i < 3; i++) { a[i] = i; }",
    "for (let k of Object.keys(a)) { b(k); }\nlet f = function () { return 1; };",
    "function f() { return; }\nfunction g() {\n  return\n}",
    "let a = b ?? c; let d = { b, e: .5, f: 0x1F };",
    "let o = { get x() { return 1; } };\no.map(function (a) { return a; });",
    "o.f();\nfunction f() {}",
])
def test_what_a_device_can_do_is_let_through(code):
    assert [str(one) for one in check(code)] == []


def test_a_violation_names_its_line():
    assert str(check("let a = 1;\n/* two\nlines */\nclass A {}")[0]).startswith("line 4: ")


def test_text_that_is_no_script_is_refused():
    with pytest.raises(ValueError, match="line 2"):
        check("let a = 1;\nlet b = \\;")
