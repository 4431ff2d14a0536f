"""Every command block of README and docs is run as it stands, against simulators behind its example addresses."""

from __future__ import annotations

import pytest

from tests.doc_world import EXPECTED, House, lines_of
from tests.test_docs import ROOT

PAGES = {page.stem if page.parent.name != "docs" or page.stem != "README" else "README-docs": page
         for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
WITH_COMMANDS = [name for name, page in PAGES.items() if lines_of(page.read_text("utf-8"))]

pytestmark = pytest.mark.needs("sh", "curl", "openssl", "mosquitto")  # they mostly wait, so they go side by side


@pytest.mark.parametrize("name", WITH_COMMANDS)
def test_the_commands_of_a_page_run_in_order(name, tmp_path, pki):
    text, problems = PAGES[name].read_text("utf-8"), []
    with House(name, text, tmp_path, pki) as house:
        for line in lines_of(text):
            done = house.run(line)
            if done.code != EXPECTED.get((name, line), 0) or "Traceback" in done.out:
                problems.append(done)
        problems += house.ended()
    assert not problems, "\n\n".join(f"$ {done.line}\n[{done.code}] {done.out[-1500:]}" for done in problems)


def test_every_exception_is_of_a_line_that_stands_there():
    for name, line in EXPECTED:
        assert line in lines_of(PAGES[name].read_text("utf-8")), line
