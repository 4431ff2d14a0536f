"""What README says is what the program does."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from bridge import cli, errors
from bridge.settings import SETTINGS

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"


def settings_table():
    """Return the settings as a Markdown table."""
    lines = ["| setting | default | what it is |", "|---|---|---|"]
    for row in SETTINGS:
        default = "yes" if row.default is True else "no" if row.default is False else "" if row.default is None else row.default
        default = f"{default:g}" if isinstance(default, float) else str(default)
        extra = [f"short `{row.flag}`"] if row.flag else []
        extra += ["secret"] if row.secret else []
        extra += [f"also `{alias}`" for alias in row.aliases]
        what = row.help + (f" ({', '.join(extra)})" if extra else "")
        lines.append(f"| `{row.key}` | {default or '-'} | {what} |")
    return "\n".join(lines)


def commands_table():
    """Return the commands as a Markdown table."""
    lines = ["| command | what it does |", "|---|---|"]
    lines += [f"| `{name}` | {cli.command(name).HELP} |" for name in cli.command_names()]
    return "\n".join(lines)


def targets_table():
    """Return the firmware targets as a Markdown table."""
    from firmware_targets import table, targets

    return table.table(targets.load()).strip()


def plant_faults_table():
    """Return the faults of the simulated plant as a Markdown table."""
    from bridge.sim.plant_faults import FAULTS

    lines = ["| fault | parameters | what happens |", "|---|---|---|"]
    for kind in FAULTS:
        params = ", ".join(f"{name}={default}" for name, default in kind.defaults)
        lines.append(f"| `{kind.name}` | {params or '-'} | {kind.says} |")
    return "\n".join(lines)


def metrics_table():
    """Return the metrics of /metrics as a Markdown table, from what is rendered with everything in use."""
    from bridge.sinks.metrics import metrics
    from tests.sinks.test_metrics import FULL, SNAPSHOT

    text = metrics(SNAPSHOT, FULL, 1)
    labels = dict(re.findall(r"^(\w+)\{(.*?)\} ", text, re.M))
    lines = ["| metric | what it is |", "|---|---|"]
    for name, what in re.findall(r"^# HELP (\w+) (.*)$", text, re.M):
        names = re.findall(r'(\w+)="', labels.get(name, ""))
        lines.append(f"| `{name}{{{', '.join(names)}}}` | {what} |" if names else f"| `{name}` | {what} |")
    return "\n".join(lines)


def findings_table():
    """Return what doctor can find as a Markdown table: one row for each rule that asks for something."""
    from bridge.control.diagnosis import OK, RULES

    lines = ["| finding | level | what to do |", "|---|---|---|"]
    lines += [f"| `{code}` | {rule.level} | {rule.advice} |" for code, rule in RULES.items() if rule.level != OK]
    return "\n".join(lines)


def exits_table():
    """Return the exit codes as a Markdown table."""
    lines = ["| code | what it says | what to do |", "|---|---|---|"]
    for code in sorted(code for name, code in vars(errors).items() if name.startswith("EXIT_")):
        lines.append("| {} | {} | {} |".format(code, *EXITS[code]))
    return "\n".join(lines)


EXITS = {
    0: ("ok", ""),
    2: ("usage or configuration", "read the line; `sigen-bridge config check`, `sigen-bridge COMMAND --help`"),
    3: ("plant or bridge unreachable", "`sigen-bridge doctor`: address, Modbus TCP switched on, allow-list, cable"),
    4: ("data implausible, or prices missing", "`sigen-bridge doctor`; nothing was written; it is tried again"),
    5: ("Shelly failed", "`sigen-bridge doctor`; `sigen-bridge shelly setup`"),
    6: ("cloud, login or token failed", "the line names endpoint and code; `sigen-bridge explain CODE`"),
    7: ("would break a rate limit", "wait as long as the line says; do not try again in a loop"),
    8: ("refused by a safety rule", "the line names the rule; many need a setting or `--yes`"),
    10: ("doctor or fleet found a problem", "do what stands behind the arrow"),
}


def api_text():
    """Return the reference of the modules that other programs import."""
    from tests.api_reference import reference

    return reference()


def pages_table():
    """Return every page of the manual with its title, as a Markdown table."""
    lines = ["| page | what it is about |", "|---|---|"]
    for page in sorted((ROOT / "docs").glob("*.md")):
        if page.name != "README.md":
            lines.append(f"| [{page.stem}]({page.name}) | {page.read_text('utf-8').splitlines()[0].lstrip('# ')} |")
    return "\n".join(lines)


SECTIONS = {"settings": settings_table, "commands": commands_table, "targets": targets_table,
            "plant-faults": plant_faults_table, "metrics": metrics_table,
            "findings": findings_table, "exits": exits_table, "api": api_text,
            "pages": pages_table}
GENERATED = (README, *(ROOT / "docs" / f"{name}.md" for name in ("settings", "targets", "simulator", "http", "troubleshooting", "api", "README")))


def with_tables(text):
    """Return a page with its generated tables put in anew."""
    for name, make in SECTIONS.items():
        pattern = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.S)
        if pattern.search(text):
            made = make()
            text = pattern.sub(lambda found, made=made: found.group(1) + made + "\n" + found.group(2), text)
    return text


@pytest.mark.parametrize("page", GENERATED, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_the_generated_tables_are_up_to_date(page):
    assert page.read_text("utf-8") == with_tables(page.read_text("utf-8")), "run: python -m tests.test_docs"


def test_every_generated_table_stands_somewhere():
    text = "".join(page.read_text("utf-8") for page in GENERATED)
    assert all(f"<!-- {name} -->" in text for name in SECTIONS)


def test_the_first_screen_shows_the_two_commands():
    first = README.read_text("utf-8").splitlines()[:14]
    assert any("make run" in line for line in first) and any("make test" in line for line in first)


def blocks():
    """Return the command lines of README's sh blocks."""
    text = README.read_text("utf-8")
    return [line for block in re.findall(r"```sh\n(.*?)```", text, re.S) for line in block.strip().splitlines()]


@pytest.mark.parametrize("line", blocks())
def test_command_lines_are_of_commands_and_settings_that_exist(line):
    from bridge.config import take_flags

    words = [word for word in line.split() if word not in ("sudo",)]
    assert words[0] == "sigen-bridge"
    _, _, rest = take_flags(words[1:])
    module = cli.command(rest[0])
    assert module is not None, line
    parser = cli._Parser(prog="x")
    module.arguments(parser)
    parser.parse_args(rest[1:])


def test_exit_codes_are_told():
    text = README.read_text("utf-8")
    for name, code in vars(errors).items():
        if name.startswith("EXIT_"):
            assert re.search(rf"\b{code} [a-zA-Z]", text), name


def test_the_make_targets_named_exist():
    makefile = "".join((ROOT / name).read_text("utf-8") for name in ("Makefile", "firmware_targets/packages.mk"))
    for target in set(re.findall(r"(?:`|^(?:    )?)make ([a-z-]+)", README.read_text("utf-8"), re.M)):
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_readme_fits():
    assert len(README.read_text("utf-8").splitlines()) < 250


if __name__ == "__main__":
    for generated in GENERATED:
        generated.write_text(with_tables(generated.read_text("utf-8")), "utf-8")
    sys.stdout.write("the generated tables are up to date\n")
