"""Runs Shelly scripts for the simulator with QuickJS: the real JavaScript, in a thread of its own.

Never answers for a script: what it registers, calls and sets is what happens. Emulates Shelly.call, Virtual,
Timer, HTTPServer, Script and print with the documented limits (five calls, five timers, five endpoints).
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import quickjs

from bridge.sim.shelly_engine import ScriptCrash
from bridge.sim.shelly_rpc import RpcError

ANSWER_S = 10.0  # a script that needs longer for a turn hangs

PRELUDE = """
var __queue = [], __calls = 0, __timers = {}, __timerCount = 0, __ends = {}, __answer = null;
function __limit(count, what) { if (count >= 5) throw new Error("Too many " + what + " in progress"); }
function __drain() { while (__queue.length) __queue.shift()(); }
var print = function () { __print(Array.prototype.slice.call(arguments).join(" ")); };
var console = { log: print };
var Script = { id: __scriptId };
var Shelly = {
  call: function (method, params, callback, userdata) {
    __limit(__calls, "calls");
    __calls++;
    var answer = JSON.parse(__call(method, JSON.stringify(params === undefined ? {} : params)));
    __queue.push(function () {
      __calls--;
      if (!callback) return;
      if (answer.error) callback(null, answer.error.code, answer.error.message, userdata);
      else callback(answer.result, 0, "", userdata);
    });
  },
  getComponentStatus: function (key) { var c = JSON.parse(__component(key)); return c && c.status; },
  getComponentConfig: function (key) { var c = JSON.parse(__component(key)); return c && c.config; }
};
var Virtual = {
  getHandle: function (key) {
    if (JSON.parse(__component(key)) === null) return null;
    return {
      getValue: function () { return JSON.parse(__component(key)).status.value; },
      getStatus: function () { return JSON.parse(__component(key)).status; },
      getConfig: function () { return JSON.parse(__component(key)).config; },
      setValue: function (value) {
        var refusal = __setValue(key, JSON.stringify(value));
        if (refusal) throw new Error(refusal);
      }
    };
  }
};
var Timer = {
  set: function (ms, repeat, callback, userdata) {
    __limit(Object.keys(__timers).length, "timers");
    var id = ++__timerCount;
    __timers[id] = { ms: ms, repeat: repeat, callback: callback, userdata: userdata };
    __later(id, ms);
    return id;
  },
  clear: function (id) { var had = id in __timers; delete __timers[id]; return had; }
};
function __fire(id) {
  var timer = __timers[id];
  if (!timer) return;
  if (timer.repeat) __later(id, timer.ms); else delete __timers[id];
  timer.callback(timer.userdata);
  __drain();
}
var HTTPServer = {
  registerEndpoint: function (name, callback) {
    __limit(Object.keys(__ends).length, "endpoints");
    __ends[name] = callback;
    return "/script/" + __scriptId + "/" + name;
  }
};
function __http(name, requestText) {
  var callback = __ends[name];
  if (!callback) return "null";
  __answer = null;
  var response = { code: 200, body: "", headers: [],
    send: function () {
      __answer = { code: response.code, body: response.body, headers: response.headers };
    } };
  callback(JSON.parse(requestText), response);
  __drain();
  return JSON.stringify(__answer || { code: 500, body: "the script sent no answer", headers: [] });
}
"""


class QuickJsRun:
    """One running script."""

    def __init__(self, code, host):
        self._host = host
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="script")  # an engine lives in one thread
        self._context = None
        self._stopped = False
        try:
            self._do(lambda: self._boot(code))
        except ScriptCrash:
            self.stop()
            raise

    def http(self, name, request):
        asked = dict(request, headers=[list(pair) for pair in request["headers"].items()])
        answer = json.loads(self._do(lambda: self._context.get("__http")(name, json.dumps(asked))))
        if answer is None:
            return None
        return answer["code"], [tuple(pair) for pair in answer["headers"]], answer["body"]

    def eval(self, code):
        return self._do(lambda: json.dumps(self._context.eval(code)))

    def stop(self):
        self._stopped = True
        self._thread.submit(self._forget)
        self._thread.shutdown(wait=False)

    def _forget(self):
        self._context = None

    def _boot(self, code):
        context = quickjs.Context()
        context.set("__scriptId", self._host.script_id)
        for name, function in (("__call", self._call), ("__component", self._component),
                               ("__later", self._later), ("__setValue", self._set_value),
                               ("__print", self._host.log)):
            context.add_callable(name, function)
        context.eval(PRELUDE)
        self._context = context
        context.eval(code)
        context.eval("__drain()")

    def _do(self, job):
        try:
            return self._thread.submit(job).result(ANSWER_S)
        except quickjs.JSException as error:
            raise ScriptCrash(str(error).strip()) from error

    def _call(self, method, params_text):
        return json.dumps(self._host.call(method, json.loads(params_text)))

    def _component(self, key):
        return json.dumps(self._host.component(key))

    def _set_value(self, key, value_text):
        try:
            self._host.set_value(key, json.loads(value_text))
        except RpcError as error:
            return str(error)
        return ""

    def _later(self, number, milliseconds):
        self._host.later(milliseconds / 1000.0, lambda: self._fire(number))

    def _fire(self, number):
        if not self._stopped:
            self._do(lambda: self._context.get("__fire")(number))
