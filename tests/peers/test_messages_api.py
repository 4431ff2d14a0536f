"""The Messages API of the tests refuses what the real one refuses; or nothing that it lets through would say a thing."""

from __future__ import annotations

import copy
import json
import urllib.error
import urllib.request

import pytest

from tests.messages_api import Message, MessagesApi, Wrong, hashed, sensible

HEADERS = {"x-api-key": "sk-ant-loopback-key", "anthropic-version": "2023-06-01", "content-type": "application/json"}
TOOL = {"name": "look", "description": "look", "input_schema": {"type": "object", "properties": {}}}
USE = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "seen"}
MARK = {"type": "ephemeral"}
GOOD = {
    "model": "claude-sonnet-5-5", "max_tokens": 100, "stream": True, "tools": [TOOL],
    "system": [{"type": "text", "text": "be brief", "cache_control": MARK}],
    "messages": [{"role": "user", "content": "look"}, {"role": "assistant", "content": [USE]},
                 {"role": "user", "content": [RESULT]}],
}


@pytest.fixture
def api():
    made = MessagesApi(sensible)
    made.said[hashed([USE])] = True
    return made


def answered(api, request, **headers):
    return api.answer("/v1/messages", {**HEADERS, **headers}, json.dumps(request).encode())


def test_a_good_request_is_answered(api):
    message, _, usage = answered(api, GOOD)
    assert message.stop == "end_turn" and usage["cache_read_input_tokens"] == 0
    assert answered(api, GOOD, **{"x-api-key": "", "authorization": "Bearer sk-ant-loopback-key",
                                  "anthropic-version": "2026-10-21"})


@pytest.mark.parametrize("headers, status", [
    ({"x-api-key": "other"}, 401), ({"anthropic-version": ""}, 400), ({"content-type": "text/plain"}, 400),
])
def test_headers_are_checked(api, headers, status):
    with pytest.raises(Wrong) as caught:
        answered(api, GOOD, **headers)
    assert caught.value.status == status


def without(key):
    return lambda request: request.pop(key)


def turns(*made):
    return lambda request: request.update(messages=list(made))


def user(*blocks):
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks):
    return {"role": "assistant", "content": list(blocks)}


TEXT = {"type": "text", "text": "hi"}


@pytest.mark.parametrize("spoil", [
    without("max_tokens"), without("messages"), without("model"),
    lambda request: request.update(model="gpt"), lambda request: request.update(max_tokens=0),
    lambda request: request.update(surprise=1), lambda request: request.update(tool_choice={"type": "maybe"}),
    lambda request: request.update(tools=[], tool_choice={"type": "auto"}),
    lambda request: request["tools"].append(TOOL), lambda request: request["tools"].append({**TOOL, "name": "a b"}),
    lambda request: request["tools"].append({**TOOL, "name": "b", "input_schema": {"type": "string"}}),
    lambda request: request["system"].append({"type": "text", "text": " "}),
    lambda request: request["system"].append({"type": "text", "text": "x", "cache_control": {"type": "forever"}}),
    lambda request: request["system"].extend([{"type": "text", "text": "x", "cache_control": MARK}] * 4),
    lambda request: request["system"].append({"type": "text", "text": "x", "cache_control": {**MARK, "ttl": "1h"}}),
    turns(), turns(assistant(TEXT)), turns(user(TEXT), user(TEXT)), turns(user(TEXT), assistant(USE)),
    turns(user(TEXT), assistant(USE), user(TEXT)), turns(user(TEXT), assistant(USE), user(TEXT, RESULT)),
    turns(user(TEXT), assistant(USE), user(RESULT, RESULT)), turns(user(RESULT)), turns(user()),
    turns(user(TEXT), assistant(USE), user({**RESULT, "tool_use_id": "toolu_2"})),
    turns(user(TEXT), assistant({**USE, "input": {"changed": 1}}), user(RESULT)),
    turns(user(TEXT), assistant({**USE, "parsed_output": None}), user(RESULT)),
    turns(user({"type": "text", "text": ""})), turns(user(USE)), turns(user({"type": "image"})),
    turns(user({**TEXT, "extra": 1})),
], ids=lambda each: "")
def test_what_the_service_refuses_is_refused(api, spoil):
    request = copy.deepcopy(GOOD)
    spoil(request)
    with pytest.raises(Wrong):
        answered(api, request)


def test_a_prefix_is_read_from_the_cache_only_while_it_is_the_same(api):
    request = copy.deepcopy(GOOD)
    request["system"][0]["text"] = "a long reference " * 2000
    written = answered(api, request)[2]
    read = answered(api, request)[2]
    assert written["cache_creation_input_tokens"] == read["cache_read_input_tokens"] > 4096
    request["tools"][0]["description"] = "another"  # tools stand before the system text
    assert answered(api, request)[2]["cache_read_input_tokens"] == 0


def test_errors_have_the_services_form():
    with MessagesApi(lambda request, its: Message("hi")) as api:
        request = urllib.request.Request(f"{api.url}/v1/messages", b"{}", {**HEADERS, "x-api-key": "no"})
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=10)
        with caught.value as answer:
            body = json.loads(answer.read())
        assert answer.code == 401 and body["error"]["type"] == "authentication_error" and body["type"] == "error"
