"""Asks a language model over the Anthropic Messages API and lets it look things up with the tools it is given.

Never sends a secret: everything that leaves goes through ``Redaction``. Never acts: a tool only reads or drafts.
Rounds, tokens and waits are bounded. The only module that imports anthropic, and only when a question is asked.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from bridge.clock import Clock
from bridge.errors import BridgeError, ConfigError, Refused
from bridge.peers.assistant_errors import (
    BY_STATUS,
    AssistantError,
    Failure,
    Limits,
    as_data,
    complain,
    retry_after_s,
)
from bridge.peers.assistant_redaction import Redaction

PYTHON_FROM = (3, 11)
TIMEOUT_S = 120.0  # between two pieces of an answer; a long silence is a lost connection
TRIES = 3
LONGEST_WAIT_S = 20.0  # a person sits in front of it; for more it is said when to come back
QUESTION_MAX = 16_000
log = logging.getLogger("assistant")


class Tool(NamedTuple):
    """Something that the model may have done: ``use`` gets its input and returns (where from, content)."""

    name: str
    description: str
    schema: Mapping[str, Any]
    use: Callable[[Mapping[str, Any]], Tuple[str, Any]]


class Usage(NamedTuple):
    """Tokens of a run so far."""

    requests: int = 0
    sent: int = 0
    received: int = 0
    cache_read: int = 0
    cache_written: int = 0

    @property
    def weighed(self) -> int:
        """Return the tokens that count against the budget: read from the prompt cache they cost a tenth."""
        return self.sent + self.received + self.cache_written + self.cache_read // 10

    def plus(self, usage: Any) -> Usage:
        """Return the sum with the usage of one answer."""
        return Usage(
            self.requests + 1, self.sent + (usage.input_tokens or 0), self.received + (usage.output_tokens or 0),
            self.cache_read + (usage.cache_read_input_tokens or 0),
            self.cache_written + (usage.cache_creation_input_tokens or 0),
        )


class Answer(NamedTuple):
    """What the model said, and the tools it used, in order."""

    text: str
    tools: Tuple[str, ...]


class Assistant:
    """One conversation. ``system`` is a public text, the same every time, so that the service can cache it."""

    def __init__(
        self, client: Any, model: str, system: str, tools: Sequence[Tool], limits: Limits, redaction: Redaction,
        clock: Clock,
    ) -> None:
        self._client, self._model, self._limits = client, model, limits
        self._redaction, self._clock = redaction, clock
        self._tools = {tool.name: tool for tool in tools}
        self._system = [{"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}]
        self._turns: List[Dict[str, Any]] = []
        self.usage = Usage()

    def ask(self, question: str, say: Callable[[str], None], tell: Callable[[str], None]) -> Answer:
        """Answer a question; ``say`` gets the text piece by piece, ``tell`` the name of each tool that is used.

        A question that fails leaves the conversation as it was. Raises AssistantError, and Refused at the budget.
        """
        asked = self._redaction.text(question.strip())[:QUESTION_MAX]
        turns = [*self._turns, {"role": "user", "content": [{"type": "text", "text": asked}]}]
        used: List[str] = []
        said: List[str] = []
        for left in range(self._limits.max_tool_rounds, -1, -1):
            message = self._request(turns, say, may_look=left > 0)
            blocks = [_block(one) for one in message.content]
            blocks = [one for one in blocks if one.get("type") != "text" or one["text"].strip()]
            said += [one["text"] for one in blocks if one["type"] == "text"]
            calls = [one for one in blocks if one["type"] == "tool_use"]
            if message.stop_reason != "tool_use" or not calls:
                complain(message.stop_reason, self._limits)
                if blocks:
                    self._turns = [*turns, {"role": "assistant", "content": blocks}]
                return Answer("\n".join(said), tuple(used))
            if said:
                say("\n")
            turns += [{"role": "assistant", "content": blocks},
                      {"role": "user", "content": [self._result(call, tell, used) for call in calls]}]
        raise AssistantError(
            f"assist: the model wanted to look things up more than assistant.max_tool_rounds ="
            f" {self._limits.max_tool_rounds} times; ask for less at once"
        )

    def _request(self, turns: List[Dict[str, Any]], say: Callable[[str], None], may_look: bool) -> Any:
        """Return one complete message; tries again what passes by itself, unless a part was shown already."""
        if self.usage.weighed >= self._limits.budget_tokens:
            raise Refused(
                f"assist: this run has used {self.usage.weighed} tokens, its budget is assistant.budget_tokens ="
                f" {self._limits.budget_tokens}; start a new one"
            )
        shown: List[str] = []

        def show(piece: str) -> None:
            shown.append(piece)
            say(piece)

        library = _library()
        for attempt in range(1, TRIES + 1):
            try:
                message = self._stream(turns, show, may_look)
            except library.APIError as error:
                failure = self._failure(error)
            except _transport_error() as error:  # in the middle of an answer the library lets it through
                failure = Failure("", None, type(error).__name__, connection=True)
            except (ValueError, AssertionError):  # pieces that are no JSON, or none at all
                failure = Failure("api_error", 200, "the answer cannot be read")
            else:
                self.usage = self.usage.plus(message.usage)
                return message
            self._wait_or_raise(failure, attempt, bool(shown))
        raise AssistantError("assist: no answer")  # not reached: the last attempt raises

    def _stream(self, turns: List[Dict[str, Any]], show: Callable[[str], None], may_look: bool) -> Any:
        offered: Dict[str, Any] = {}
        if self._tools:
            offered["tools"] = [{"name": one.name, "description": one.description, "input_schema": dict(one.schema)}
                                for one in self._tools.values()]
            # The last round has to answer with what it has.
            offered["tool_choice"] = {"type": "auto"} if may_look else {"type": "none"}
        with self._client.messages.stream(
            model=self._model, max_tokens=self._limits.max_tokens, system=self._system,
            messages=_with_breakpoint(turns), **offered,
        ) as stream:
            for piece in stream.text_stream:
                show(piece)
            return stream.get_final_message()

    def _wait_or_raise(self, failure: Failure, attempt: int, shown: bool) -> None:
        """Wait before the next attempt, or raise when there is none."""
        if failure.passing and not shown and attempt < TRIES:
            pause_s = float(2 ** (attempt - 1)) if failure.wait_s is None else failure.wait_s
            if pause_s <= LONGEST_WAIT_S and not self._clock.wait(pause_s):
                log.info("event=retry attempt=%d status=%s", attempt, failure.status)
                return
        raise failure.error(self._redaction.own(str(self._client.base_url).rstrip("/")))

    def _failure(self, error: Any) -> Failure:
        """Return an exception of the library as what it means to us."""
        library = _library()
        status = getattr(error, "status_code", None)
        kind = getattr(error, "type", None) or BY_STATUS.get(status or 0, "")
        response = getattr(error, "response", None)
        said = " ".join(str(getattr(error, "api_message", None) or error.message).split())
        return Failure(
            str(kind), status, self._redaction.text(said)[:300], isinstance(error, library.APIConnectionError),
            isinstance(error, library.APITimeoutError), None if response is None else retry_after_s(response.headers),
        )

    def _result(self, call: Mapping[str, Any], tell: Callable[[str], None], used: List[str]) -> Dict[str, Any]:
        """Use one tool and return its result as data; what goes wrong is for the model to read."""
        name = str(call["name"])
        tool = self._tools.get(name)
        failed = False
        try:
            if tool is None:
                raise ConfigError(f"there is no tool {name!r}")
            used.append(name)
            tell(name)
            source, content = tool.use(call["input"] if isinstance(call["input"], dict) else {})
            text = as_data(self._redaction.text(source), self._redaction.content(content))
        except BridgeError as error:
            failed, text = True, as_data(name, {"error": self._redaction.text(str(error))})
        result = {"type": "tool_result", "tool_use_id": call["id"], "content": text}
        return {**result, "is_error": True} if failed else result


def make_client(api_key: str, base_url: str) -> Any:
    """Return the client of the API; raises ConfigError where it cannot work. Connects to nothing."""
    if sys.version_info < PYTHON_FROM:
        version = ".".join(map(str, sys.version_info[:2]))
        raise ConfigError(
            f"assist needs Python 3.11 or later, this is {version}; 'sigen-bridge explain WORD' works everywhere"
        )
    if not api_key:
        raise ConfigError(
            "assist: no key: set assistant.api_key or ANTHROPIC_API_KEY (console.anthropic.com);"
            " 'sigen-bridge explain WORD' needs none"
        )
    # Retries are ours: the library would wait however long the service says.
    return _library().Anthropic(api_key=api_key, base_url=base_url, max_retries=0, timeout=TIMEOUT_S)


def _library() -> Any:
    """Import the library, which is large and takes a second."""
    try:
        import anthropic
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"assist needs the package anthropic ({error.name} is missing): pip install 'anthropic>=2,<3'"
        ) from None
    return anthropic


def _transport_error() -> Any:
    """Return what the library's own HTTP client raises; which one that is depends on its version."""
    return sys.modules[_library().Timeout.__module__.partition(".")[0]].TransportError


def _block(block: Any) -> Dict[str, Any]:
    """Return a block of an answer as it has to be sent back."""
    found: Dict[str, Any] = block.model_dump(mode="json", exclude_none=True)  # None are the library's own additions
    return found


def _with_breakpoint(turns: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """Mark the end of the conversation so far, so that the next request finds it in the cache."""
    last = turns[-1]
    *others, end = last["content"]
    return [*turns[:-1], {**last, "content": [*others, {**end, "cache_control": {"type": "ephemeral"}}]}]
