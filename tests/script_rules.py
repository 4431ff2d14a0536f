"""What a Shelly's script engine refuses or gets wrong, found by reading the script.

Never runs anything: that is quickjs_runner's, whose engine is too lenient to notice these. Facts: Espruino's
Linux build compared with QuickJS, the vendor's "Language Reference", limits of the scripting pages.
"""

from __future__ import annotations

import re
from typing import Dict, Iterator, List, NamedTuple, Sequence, Tuple

CALLS, TIMERS = 5, 5  # in progress at once; a sixth ends the script
CODE_MAX = 15_000  # characters, the limit of 1.0.0; the heap of about 25 kB is the limit today
NESTING = 2  # functions inside functions; deeper ones have crashed the parser

TOKEN = re.compile(r"""
      (?P<comment>//[^\n]*|/\*.*?\*/)
    | (?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`)
    | (?P<newline>\n)
    | (?P<space>[ \t\r]+)
    | (?P<number>0[xX][0-9a-fA-F]+n?|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?n?)
    | (?P<name>[A-Za-z_$][\w$]*)
    | (?P<sign>\.\.\.|=>|\*\*|\?\.(?!\d)|\?\?|[-+*/%&|^=!<>]=?=?|[{}()\[\];,.:?~@#])
""", re.X | re.S)
REGEX = re.compile(r"/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n\[])+/[a-z]*")
BEFORE_VALUE = frozenset(["(", ",", "=", ":", "[", "!", "&", "|", "?", "{", "}", ";", "+", "-", "*", "%", "<", ">", "==", "===", "!=", "!==", "=>", "&&", "||", "return", "typeof", "case", "in", "of"])

# fmt: off
WORDS = {
    "class":   "classes are missing",               "async": "promises are missing",
    "await":   "promises are missing",              "yield": "generators are missing",
    "Promise": "promises are missing",              "with":  "'with' is missing",
    "Symbol":  "Symbol is missing",                 "Map":   "Map is missing",
    "Set":     "Set is missing",                    "BigInt": "BigInt is missing",
    "import":  "modules are missing",               "export": "modules are missing",
    "arguments": "'arguments' is incomplete",
}
METHODS = {
    "shift": "shift is reported missing",           "unshift":   "unshift is reported missing",
    "padStart": "padStart is reported missing",     "isInteger": "Number.isInteger is missing",
    "isFinite": "Number.isFinite is reported missing",
}
SIGNS = {
    "...": "spread and rest are missing",           "**": "the power operator is missing",
    "?.":  "optional chaining is missing",
}
# fmt: on


class Token(NamedTuple):
    """A piece of the script; ``starts_line`` says that a line break stands before it."""

    kind: str
    text: str
    line: int
    starts_line: bool


class Violation(NamedTuple):
    """One thing that would not work on the device."""

    line: int
    problem: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.problem}"


def check(code: str) -> List[Violation]:
    """Return what a device would refuse or misunderstand, in the order of the lines."""
    tokens = list(read(code))
    found = [*_text(code), *_words(tokens), *_lists(tokens), *_returns(tokens), *_order(tokens)]
    return sorted([*found, *_nesting(tokens), *_budget(tokens)])


def read(code: str) -> Iterator[Token]:
    """Yield the tokens of a script; raises ValueError where it is not JavaScript."""
    at, line, last, broken = 0, 1, "", True
    while at < len(code):
        match = REGEX.match(code, at) if code[at] == "/" and code[at + 1:at + 2] not in ("/", "*") else None
        if match and (not last or last in BEFORE_VALUE):
            kind = "regex"
        else:
            match = TOKEN.match(code, at)
            if match is None:
                raise ValueError(f"line {line}: {code[at:at + 10]!r} is not understood")
            kind = str(match.lastgroup)
        text = match[0]
        if kind not in ("comment", "space", "newline"):
            yield Token(kind, text, line, broken)
            last, broken = text, False
        broken = broken or "\n" in text
        line += text.count("\n")
        at = match.end()


def _text(code: str) -> Iterator[Violation]:
    for number, line in enumerate(code.split("\n"), 1):
        if not line.isascii():
            yield Violation(number, "one character that is not ASCII makes PutCode fail")
    if len(code) > CODE_MAX:
        yield Violation(1, f"{len(code)} characters are more than {CODE_MAX}")


def _words(tokens: Sequence[Token]) -> Iterator[Violation]:
    before = Token("", "", 0, True)
    for token in tokens:
        if token.kind == "name":
            table = METHODS if before.text == "." else WORDS
            if token.text in table:
                yield Violation(token.line, table[token.text])
        if token.kind == "sign" and token.text in SIGNS:
            yield Violation(token.line, SIGNS[token.text])
        if token.kind == "sign" and token.text == "*" and before.text == "function":
            yield Violation(token.line, "generators are missing")
        if token.kind == "number" and token.text.endswith("n"):
            yield Violation(token.line, "BigInt is missing")
        if token.kind == "string" and "\\u" in token.text:
            yield Violation(token.line, "strings are bytes: no unicode escapes")
        before = token


def _lists(tokens: Sequence[Token]) -> Iterator[Violation]:
    """Destructuring, default parameters and computed keys."""
    for index, token in enumerate(tokens[:-1]):
        following = tokens[index + 1]
        if token.text in ("let", "const", "var") and following.text in ("{", "["):
            yield Violation(token.line, "destructuring is missing")
        if token.text == "]" and following.text == ":" and _opens_key(tokens, index):
            yield Violation(token.line, "computed keys are missing")
        if token.text == "function":
            start = index + 1 if following.text == "(" else index + 2
            yield from _parameters(tokens[start:_closing(tokens, start)])
        if token.text == ")" and following.text == "=>":
            yield from _parameters(tokens[_opening(tokens, index):index])


def _parameters(tokens: Sequence[Token]) -> Iterator[Violation]:
    for token in tokens:
        if token.text == "=":
            yield Violation(token.line, "default parameters are missing")
        if token.text in ("{", "["):
            yield Violation(token.line, "destructuring is missing")


def _opens_key(tokens: Sequence[Token], index: int) -> bool:
    start = _opening(tokens, index)
    return start > 0 and tokens[start - 1].text in ("{", ",")


def _returns(tokens: Sequence[Token]) -> Iterator[Violation]:
    for token, following in zip(tokens, tokens[1:]):
        if token.text == "return" and following.starts_line and following.text not in ("}", ";"):
            yield Violation(token.line, "a value on the line after return is returned here, and not elsewhere")


def _order(tokens: Sequence[Token]) -> Iterator[Violation]:
    """Functions are not hoisted."""
    declared: Dict[str, int] = {}
    for index, token in enumerate(tokens[:-1]):
        if token.text == "function" and tokens[index + 1].kind == "name":
            declared.setdefault(tokens[index + 1].text, index + 1)
    for index, token in enumerate(tokens):
        if token.kind == "name" and index < declared.get(token.text, -1) and tokens[index - 1].text != ".":
            yield Violation(token.line, f"{token.text} is used before it is declared")


def _nesting(tokens: Sequence[Token]) -> Iterator[Violation]:
    """Functions deep inside functions, and closures over the variable of a for."""
    blocks: List[str] = []  # what each open brace belongs to
    coming, for_end = "", -1
    for index, token in enumerate(tokens):
        if token.text == "for" and index + 2 < len(tokens) and tokens[index + 2].text == "let":
            for_end, coming = _closing(tokens, index + 1), ""
        elif index == for_end:
            coming = "for"
        elif token.text in ("function", "=>"):
            coming = "function"
            if "for" in blocks and "function" not in blocks[_last(blocks, "for"):]:
                yield Violation(token.line, "a closure over a for's variable sees only its last value")
            if blocks.count("function") >= NESTING:
                yield Violation(token.line, f"functions are nested deeper than {NESTING}")
        elif token.text == "{":
            blocks.append(coming)
            coming = ""
        elif token.text == "}" and blocks:
            blocks.pop()


def _budget(tokens: Sequence[Token]) -> Iterator[Violation]:
    for name, method, most in (("Timer", "set", TIMERS), ("Shelly", "call", CALLS)):
        places = [a for a, b, c in zip(tokens, tokens[1:], tokens[2:]) if (a.text, b.text, c.text) == (name, ".", method)]
        if len(places) > most:
            yield Violation(places[most].line, f"more than {most} places with {name}.{method}")


def _last(items: Sequence[str], wanted: str) -> int:
    return len(items) - 1 - list(reversed(items)).index(wanted)


def _closing(tokens: Sequence[Token], start: int) -> int:
    return _matching(tokens, range(start, len(tokens)), ("([{", ")]}"))


def _opening(tokens: Sequence[Token], end: int) -> int:
    return _matching(tokens, range(end, -1, -1), (")]}", "([{"))


def _matching(tokens: Sequence[Token], indexes: range, signs: Tuple[str, str]) -> int:
    depth = 0
    for index in indexes:
        if tokens[index].kind == "sign":
            depth += (tokens[index].text in signs[0]) - (tokens[index].text in signs[1])
        if depth == 0:
            return index
    return indexes[-1]
