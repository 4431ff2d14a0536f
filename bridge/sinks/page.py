"""The status page as one self-contained HTML document; the plain numbers need no JavaScript.

Never lets a text become markup, and allows no script, style or address but its own (``policy``).
"""

from __future__ import annotations

import html
import os
import re
from typing import Mapping

from bridge import data
from bridge.sinks.page_view import Rows, View

PLACE = re.compile(r"\{\{([\w:-]+)\}\}")


def page(values: View, nonce: str) -> str:
    """Return the page with every place filled in; ``nonce`` marks its own script and style."""
    filled: Mapping[str, object] = {**values, "nonce": nonce}

    def put(match: "re.Match[str]") -> str:
        held = filled[match[1]]
        return _rows(held) if isinstance(held, list) else html.escape(str(held))

    return PLACE.sub(put, template())


def policy(nonce: str) -> str:
    """Return the Content-Security-Policy of the page."""
    return (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self';"
        " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def template() -> str:
    """Return the page template of the package."""
    with open(os.path.join(os.path.dirname(data.__file__), "page.html"), encoding="utf-8") as handle:
        return handle.read()


def _rows(rows: Rows) -> str:
    return "".join(
        f'<li class="{html.escape(state)}"><b>{html.escape(name)}</b><span>{html.escape(text)}</span></li>'
        for state, name, text in rows
    )
