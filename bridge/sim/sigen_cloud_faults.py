"""What can go wrong between the simulated cloud and its caller.

Never changes the service's state: a fault stands in front of it, or damages what it said.
"""

from __future__ import annotations

import threading
from typing import Dict, List, NamedTuple, Optional, Tuple

# Agents of libraries and tools, which the web firewall in front of the real service refuses.
LIBRARY_AGENTS = (
    "python-requests", "python-urllib", "aiohttp", "httpx", "urllib3", "curl/", "wget/",
    "go-http-client", "okhttp", "java/", "node-fetch", "axios", "libwww", "shelly",
)
KINDS = (
    "status", "waf", "code", "null", "empty", "page", "garbage", "truncated", "not-object",
    "hang", "slow", "drop",
)
HTML_BLOCK = (
    "<!DOCTYPE HTML><HTML><HEAD><TITLE>ERROR: The request could not be satisfied</TITLE></HEAD>"
    "<BODY><H1>403 ERROR</H1>Request blocked.</BODY></HTML>"
)


class Fault(NamedTuple):
    """One kind of trouble; the other fields as the kind needs them."""

    kind: str
    status: int = 500
    code: int = 1502
    msg: str = "simulated"
    retry_after: Optional[str] = None
    interval_s: float = 0.05


class Answer(NamedTuple):
    """An HTTP answer before it is sent; ``code`` is the envelope's, for the log."""

    status: int
    text: str
    code: Optional[int] = None
    content_type: str = "application/json"
    headers: Tuple[Tuple[str, str], ...] = ()


class Outcome(NamedTuple):
    """An answer and the fault its sending meets."""

    answer: Answer
    fault: Optional[Fault]


class FaultPlan:
    """Faults waiting for calls, by endpoint ("*" = any), each for a number of calls (0 = until cleared)."""

    def __init__(self, kinds: Tuple[str, ...] = KINDS) -> None:
        self._kinds = kinds
        self._waiting: Dict[str, List[Tuple[Fault, int]]] = {}
        self._turn = threading.Lock()

    def add(self, endpoint: str, fault: Fault, times: int = 1) -> None:
        """Let the next ``times`` calls of an endpoint meet the fault."""
        if fault.kind not in self._kinds:
            raise ValueError(f"unknown fault {fault.kind}; one of {', '.join(self._kinds)}")
        with self._turn:
            self._waiting.setdefault(endpoint, []).append((fault, times))

    def clear(self) -> None:
        """Let everything work again."""
        with self._turn:
            self._waiting.clear()

    def take(self, endpoint: str) -> Optional[Fault]:
        """Return the fault this call meets, if any."""
        with self._turn:
            for name in (endpoint, "*"):
                queue = self._waiting.get(name)
                if not queue:
                    continue
                fault, times = queue[0]
                if times == 1:
                    queue.pop(0)
                elif times > 1:
                    queue[0] = (fault, times - 1)
                return fault
        return None


def is_library(user_agent: str) -> bool:
    """Say whether the firewall takes the caller for a program."""
    agent = user_agent.strip().lower()
    return not agent or any(name in agent for name in LIBRARY_AGENTS)


def blocked() -> Answer:
    """Return the firewall's page."""
    return Answer(403, HTML_BLOCK, None, "text/html", (("Server", "CloudFront"),))


def damaged(fault: Fault, good: Answer) -> Answer:
    """Return what a fault makes of an answer."""
    if fault.kind == "waf":
        return blocked()
    if fault.kind == "status":
        headers = (("Retry-After", fault.retry_after),) if fault.retry_after else ()
        return Answer(fault.status, '{"message":"simulated"}', None, "application/json", headers)
    if fault.kind == "code":
        return Answer(200, f'{{"code":{fault.code},"msg":"{fault.msg}","data":null}}', fault.code)
    if fault.kind == "null":
        return Answer(200, '{"code":0,"msg":"success","data":null}', 0)
    if fault.kind == "empty":
        return Answer(200, "")
    if fault.kind == "page":
        return Answer(200, "<html><body>Sign in to this network</body></html>", None, "text/html")
    if fault.kind == "garbage":
        return Answer(200, "\x00\ufffd{]not json at all\x7f")
    if fault.kind == "not-object":
        return Answer(200, "[1,2,3]")
    if fault.kind == "truncated":
        return good._replace(text=good.text[:len(good.text) // 2])
    return good
