"""What goes wrong between us and the Anthropic Messages API, in one line each, and how results are marked as data.

Pure. Never holds the text of a request.
"""

from __future__ import annotations

import json
from typing import Any, Mapping, NamedTuple, Optional

from bridge.errors import EXIT_CLOUD, PeerError

RESULT_MAX = 16_000  # characters of one tool's result
PASSING = (408, 409, 429, 500, 502, 503, 504, 529)
TOLD = {
    "overloaded_error": "the service is overloaded; try again in a few minutes",
    "rate_limit_error": "the limit of this key is used up",
    "authentication_error": "the key was not accepted; set assistant.api_key (or ANTHROPIC_API_KEY) to a valid one",
    "permission_error": "this key may not use that; check it in the Anthropic console",
    "billing_error": "the account has no credit; see the Anthropic console",
    "not_found_error": "there is no such model or address; check assistant.model and assistant.base_url",
    "request_too_large": "the conversation is too long; start a new one",
    "api_error": "the service has trouble; try again later",
    "timeout_error": "the service took too long; try again",
}
BY_STATUS = {401: "authentication_error", 402: "billing_error", 403: "permission_error", 404: "not_found_error",
             413: "request_too_large", 429: "rate_limit_error", 529: "overloaded_error"}


class AssistantError(PeerError):
    """The service refused, failed or was not reachable; the text says which and what to do."""

    exit_code = EXIT_CLOUD


class Limits(NamedTuple):
    """What one question and one run may cost."""

    max_tool_rounds: int
    max_tokens: int
    budget_tokens: int


class Failure(NamedTuple):
    """A request that failed: ``kind`` is the API's own word, ``connection`` that there was no answer at all."""

    kind: str
    status: Optional[int]
    said: str
    connection: bool = False
    timeout: bool = False
    wait_s: Optional[float] = None

    @property
    def passing(self) -> bool:
        """True when the same request may work a little later."""
        temporary = ("overloaded_error", "api_error", "rate_limit_error", "timeout_error")
        return self.connection or self.status in PASSING or self.kind in temporary

    def error(self, where: str) -> AssistantError:
        """Return what is told to the person."""
        if self.connection:
            what = "no answer in time" if self.timeout else "cannot be reached"
            return AssistantError(
                f"assist {where}: {what}; check this machine's internet access and assistant.base_url"
            )
        again = f"; try again in {self.wait_s:.0f} s" if self.wait_s is not None else ""
        what = TOLD.get(self.kind, "the request was refused")
        return AssistantError(
            f"assist {where}: {what}{again} (HTTP {self.status} {self.kind or 'without a type'}: {self.said})"
        )


def as_data(source: str, content: Any) -> str:
    """Return content as a marked piece of data: nothing in it can end the mark, however a device is named."""
    text = json.dumps(content, ensure_ascii=False).replace("<", "\\u003c").replace(">", "\\u003e")
    cut = "" if len(text) <= RESULT_MAX else f"\n(cut: the first {RESULT_MAX} of {len(text)} characters)"
    source = "".join(char for char in source if char.isalnum() or char in " _-")
    return f"<data source=\"{source}\">\n{text[:RESULT_MAX]}\n</data>{cut}"


def complain(stop_reason: Optional[str], limits: Limits) -> None:
    """Raise for an answer that is none, or not a whole one."""
    if stop_reason in ("end_turn", "stop_sequence"):
        return
    raise AssistantError("assist: " + {
        "refusal": "the model declined to answer this; put it differently",
        "max_tokens": f"the answer was cut at assistant.max_tokens = {limits.max_tokens}; ask for less, or raise it",
        "model_context_window_exceeded": "the conversation is too long for the model; start a new one",
    }.get(str(stop_reason), f"the answer ended early ({stop_reason})"))


def retry_after_s(headers: Mapping[str, str]) -> Optional[float]:
    """Return how long the service asks to wait, None when it does not say."""
    for name, factor in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) * factor)
        except (KeyError, ValueError):
            continue
    return None
