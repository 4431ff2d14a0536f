"""A Messages API on this machine that is as strict as the real one about what a client sends.

Written after the public description of the API, not after our client: it checks headers, the shape of every block,
alternation, tool_use and tool_result pairing, cache_control placement and that what it said comes back unchanged. What
the "model" does is a function of the conversation and the tools offered; faults are queued.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jsonschema

VERSIONS = ("2023-06-01", "2026-10-21")
BREAKPOINTS_MAX = 4
CACHE_MIN_TOKENS = 4096  # the highest of the models
TOP = {"model", "max_tokens", "messages", "system", "tools", "tool_choice", "stream", "temperature", "metadata",
       "stop_sequences", "thinking", "top_k", "top_p"}
BLOCK_FIELDS = {
    "text": ({"text"}, {"cache_control"}),
    "tool_use": ({"id", "name", "input"}, {"cache_control"}),
    "tool_result": ({"tool_use_id"}, {"content", "is_error", "cache_control"}),
    "thinking": ({"thinking", "signature"}, set()),
}


class Wrong(Exception):
    """The request is not one that the API takes: status, type, message."""

    def __init__(self, message, status=400, kind="invalid_request_error"):
        super().__init__(message)
        self.status, self.kind, self.message = status, kind, message


def demand(true, message):
    if not true:
        raise Wrong(message)


class Message:
    """What the model says next."""

    def __init__(self, *blocks, stop=None):
        self.blocks = [{"type": "text", "text": one} if isinstance(one, str) else one for one in blocks]
        uses = any(one["type"] == "tool_use" for one in self.blocks)
        self.stop = stop or ("tool_use" if uses else "end_turn")


class Fault:
    """What happens to one request instead of an answer; ``after`` pieces of an answer are sent before."""

    def __init__(self, status=200, kind="", message="simulated", headers=(), after=None, drop=False):
        self.status, self.kind, self.message = status, kind, message
        self.headers, self.after, self.drop = dict(headers), after, drop


class MessagesApi:
    """``with MessagesApi(model) as api``: api.url, api.requests, api.faults; ``model(request, api)`` returns a Message."""

    def __init__(self, model, key="sk-ant-loopback-key"):
        self.model, self.key = model, key
        self.requests, self.bodies, self.faults, self.seen, self.said = [], [], [], set(), {}
        self.problems = []
        self._count = 0
        self._lock = threading.Lock()

    def __enter__(self):
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.api = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def use(self, name, **wish):
        """Return a tool_use block with a fresh id."""
        self._count += 1
        return {"type": "tool_use", "id": f"toolu_{self._count:05d}", "name": name, "input": wish}

    def answer(self, path, headers, raw):
        """Return (Message, usage) or raise Wrong."""
        with self._lock:
            demand(path == "/v1/messages", f"no such path {path}")
            shown = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
            if shown != self.key:
                raise Wrong("invalid x-api-key", 401, "authentication_error")
            demand(headers.get("anthropic-version") in VERSIONS, "anthropic-version: header is required")
            demand(headers.get("content-type", "").startswith("application/json"), "content-type must be JSON")
            request = json.loads(raw)
            self.bodies.append(raw.decode())
            self.requests.append(request)
            self.check(request)
            message = self.model(request, self)
            self.said[hashed(message.blocks)] = True
            return message, request, self.usage(request, message)

    def check(self, request):
        demand(set(request) <= TOP, f"extra inputs are not permitted: {sorted(set(request) - TOP)}")
        demand(isinstance(request.get("model"), str) and request["model"].startswith("claude-"), "model: not found")
        demand(isinstance(request.get("max_tokens"), int) and request["max_tokens"] > 0, "max_tokens: required")
        for block in request.get("system", []):
            demand(block.get("type") == "text" and block["text"].strip(), "system: text blocks")
            demand(set(block) <= {"type", "text", "cache_control"}, "system: extra inputs")
        names = [self.check_tool(tool) for tool in request.get("tools", [])]
        demand(len(set(names)) == len(names), "tools: names must be unique")
        demand(names or not request.keys() & {"tools", "tool_choice"}, "tool_choice: only together with tools")
        choice = request.get("tool_choice", {"type": "auto"})
        demand(choice.get("type") in ("auto", "any", "none", "tool"), "tool_choice: unknown")
        self.check_turns(request.get("messages"))
        marks = list(breakpoints(request))
        demand(len(marks) <= BREAKPOINTS_MAX, f"a maximum of 4 blocks with cache_control, found {len(marks)}")
        ttls = [mark.get("ttl", "5m") for mark in marks]
        demand(all(mark.get("type") == "ephemeral" and set(mark) <= {"type", "ttl"} for mark in marks), "cache_control")
        demand(ttls == sorted(ttls, reverse=False) and set(ttls) <= {"5m", "1h"}, "1h cache_control comes before 5m")

    @staticmethod
    def check_tool(tool):
        demand(set(tool) <= {"name", "description", "input_schema", "cache_control", "type"}, "tools: extra inputs")
        demand(re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", tool.get("name", "")), "tools: name")
        demand(tool["input_schema"].get("type") == "object", "tools: input_schema.type must be object")
        jsonschema.Draft202012Validator.check_schema(tool["input_schema"])
        return tool["name"]

    def check_turns(self, turns):
        demand(isinstance(turns, list) and turns, "messages: at least one message is required")
        open_ids = []
        for index, turn in enumerate(turns):
            role = "user" if index % 2 == 0 else "assistant"
            demand(turn.get("role") == role, f"messages.{index}: roles must alternate, expected {role}")
            demand(set(turn) == {"role", "content"}, f"messages.{index}: extra inputs")
            blocks = turn["content"]
            blocks = [{"type": "text", "text": blocks}] if isinstance(blocks, str) else blocks
            demand(blocks, f"messages.{index}: content must be non-empty")
            for block in blocks:
                self.check_block(block, role, index)
            results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
            demand(sorted(results) == sorted(open_ids),
                   f"messages.{index}: tool_use ids without tool_result or the other way: {open_ids} {results}")
            kinds = [block["type"] for block in blocks]
            demand(kinds == sorted(kinds, key=lambda kind: kind != "tool_result"), "tool_result blocks come first")
            open_ids = [block["id"] for block in blocks if block["type"] == "tool_use"]
            demand(len(set(open_ids)) == len(open_ids), "tool_use ids must be unique")
            if role == "assistant":
                demand(hashed(blocks) in self.said, f"messages.{index}: this is not what the model said")
        demand(turns[-1]["role"] == "user" and not open_ids, "the last message must be the user's")

    @staticmethod
    def check_block(block, role, index):
        kind = block.get("type")
        demand(kind in BLOCK_FIELDS, f"messages.{index}: block type {kind}")
        needed, allowed = BLOCK_FIELDS[kind]
        fields = set(block) - {"type"}
        demand(needed <= fields <= needed | allowed, f"messages.{index}: {kind} has {sorted(fields)}")
        demand(kind != "text" or block["text"].strip(), f"messages.{index}: text blocks must be non-empty")
        demand((kind in ("tool_use", "thinking")) <= (role == "assistant"), f"messages.{index}: {kind} by {role}")
        demand((kind == "tool_result") <= (role == "user"), f"messages.{index}: {kind} by {role}")
        demand(kind != "tool_use" or isinstance(block["input"], dict), f"messages.{index}: input must be an object")

    def usage(self, request, message):
        """Count tokens as the service does: a prefix that ends at a mark is read if it was seen, else written."""
        parts, marked, total = [], [], 0
        for part, mark in prefix(request):
            total += len(part) // 4
            parts.append(part)
            if mark:
                marked.append((hashlib.sha256("\0".join(parts).encode()).hexdigest(), total))
        marked = [(key, count) for key, count in marked if count >= CACHE_MIN_TOKENS]
        read = max((count for key, count in marked if key in self.seen), default=0)
        written = max((count for key, count in marked), default=0) - read
        self.seen.update(key for key, _ in marked)
        return {"input_tokens": total - read - written, "cache_read_input_tokens": read,
                "cache_creation_input_tokens": written, "output_tokens": len(json.dumps(message.blocks)) // 4}


def hashed(blocks):
    """Return what identifies the content of a turn, wherever the cache marks are; empty texts do not count."""
    kept = [{key: inner for key, inner in block.items() if key != "cache_control"} for block in blocks
            if block["type"] != "text" or block["text"].strip()]
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def prefix(request):
    """Yield (text, mark) of everything in the order in which it is cached: tools, system, messages."""
    yield json.dumps(request.get("tool_choice")) * 0, None
    for part in (*request.get("tools", []), *request.get("system", [])):
        yield json.dumps({key: one for key, one in part.items() if key != "cache_control"}), part.get("cache_control")
    for turn in request["messages"]:
        blocks = turn["content"] if isinstance(turn["content"], list) else [{"type": "text", "text": turn["content"]}]
        for block in blocks:
            bare = {key: one for key, one in block.items() if key != "cache_control"}
            yield turn["role"] + json.dumps(bare), block.get("cache_control")


def breakpoints(request):
    return (mark for _, mark in prefix(request) if mark)


class Handler(BaseHTTPRequestHandler):
    """HTTP and server-sent events."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_POST(self):
        api = self.server.api
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        fault = api.faults.pop(0) if api.faults else None
        if fault is not None and fault.after is None:
            if fault.drop:
                self.close_connection = True
                return
            self.problem(fault.status, fault.kind, fault.message, fault.headers)
            return
        try:
            message, request, usage = api.answer(self.path, headers, raw)
            demand(request.get("stream") is True, "this service only streams here")
        except Wrong as wrong:
            api.problems.append(wrong.message)
            self.problem(wrong.status, wrong.kind, wrong.message, {})
            return
        self.stream(message, request, usage, fault)

    do_GET = do_POST

    def problem(self, status, kind, message, headers):
        body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_loopback"}
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, text in {"content-type": "application/json", "content-length": str(len(content)),
                           "request-id": "req_loopback", **headers}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(content)

    def stream(self, message, request, usage, fault):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("request-id", "req_loopback")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        for number, (event, content) in enumerate(events(message, request, usage)):
            if fault is not None and number >= fault.after:
                if not fault.drop:
                    error = {"type": "error", "error": {"type": fault.kind, "message": fault.message}}
                    self.event("error", error)
                else:
                    self.connection.shutdown(2)
                return
            self.event(event, content)

    def event(self, name, content):
        self.wfile.write(f"event: {name}\ndata: {json.dumps(content)}\n\n".encode())
        self.wfile.flush()


def events(message, request, usage):
    """Yield the events of an answer as the service sends them."""
    start = {"id": "msg_loopback", "type": "message", "role": "assistant", "model": request["model"], "content": [],
             "stop_reason": None, "stop_sequence": None, "usage": {**usage, "output_tokens": 1}}
    yield "message_start", {"type": "message_start", "message": start}
    yield "ping", {"type": "ping"}
    for index, block in enumerate(message.blocks):
        kind = block["type"]
        begin = {"text": {"type": "text", "text": ""}, "thinking": {"type": "thinking", "thinking": "", "signature": ""},
                 "tool_use": {**block, "input": {}}}[kind]
        yield "content_block_start", {"type": "content_block_start", "index": index, "content_block": begin}
        deltas = {
            "text": lambda one: [{"type": "text_delta", "text": piece} for piece in pieces(one["text"])],
            "thinking": lambda one: [{"type": "thinking_delta", "thinking": one["thinking"]},
                                     {"type": "signature_delta", "signature": one["signature"]}],
            "tool_use": lambda one: [{"type": "input_json_delta", "partial_json": piece}
                                     for piece in ["", *pieces(json.dumps(one["input"]))]],
        }[kind](block)
        for delta in deltas:
            yield "content_block_delta", {"type": "content_block_delta", "index": index, "delta": delta}
        yield "content_block_stop", {"type": "content_block_stop", "index": index}
    yield "message_delta", {"type": "message_delta", "delta": {"stop_reason": message.stop, "stop_sequence": None},
                            "usage": {"output_tokens": usage["output_tokens"]}}
    yield "message_stop", {"type": "message_stop"}


def pieces(text, size=9):
    return [text[at:at + size] for at in range(0, len(text), size)]


# What the scripted model knows how to do.

def question_of(request):
    """Return the last thing that the person wrote."""
    for turn in reversed(request["messages"]):
        blocks = turn["content"] if isinstance(turn["content"], list) else [{"type": "text", "text": turn["content"]}]
        texts = [block["text"] for block in blocks if block["type"] == "text"]
        if turn["role"] == "user" and texts:
            return texts[-1]
    return ""


def results_of(request):
    """Return the tool results of the last turn, as texts."""
    last = request["messages"][-1]["content"]
    return [block["content"] for block in last if block["type"] == "tool_result"]


CHOICES = (  # what is asked, the tool a sensible model takes, its input
    (r"energy flow.*(script|shelly)|(script|shelly).*energy flow", "draft_shelly_script", {"period_s": 300}),
    (r"energy flow", "cloud_energy_flow", {}),
    (r"code (\d+)|\b(1\d{3})\b", "explain", {"word": "1502"}),
    (r"key.*account|account.*key|authenticat", "explain", {"word": "auth"}),
    (r"mqtt", "explain", {"word": "mqtt"}),
    (r"modes?\b", "explain", {"word": "modes"}),
    (r"charge.*battery|battery.*charge", "draft_battery_command", {"action": "charge", "power_kw": 3, "minutes": 60}),
    (r"systems|stations", "cloud_systems", {}),
    (r"settings|configur", "configuration", {}),
    (r"register", "read_registers", {"registers": ["30005", "30037"]}),
    (r"wrong|doctor", "doctor", {}),
    (r"live|now", "live_power", {}),
)


def sensible(request, api):
    """Do what a sensible model does: look up what the question needs if a tool for it is offered, then answer."""
    results = results_of(request)
    if results:
        return Message("Here is what I found: ", *results)
    question = question_of(request).lower()
    offered = {tool["name"]: tool for tool in request.get("tools", [])}
    for pattern, name, wish in CHOICES:
        if re.search(pattern, question) and name in offered and request.get("tool_choice", {}).get("type") != "none":
            jsonschema.validate(wish, offered[name]["input_schema"])
            return Message("I look it up.", api.use(name, **wish))
    return Message("I know nothing about that.")
