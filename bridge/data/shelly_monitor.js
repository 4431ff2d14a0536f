// sigen-bridge: the Shelly asks by itself, for homes where nothing can push to it.
// Polls /latest of the Cloudflare Worker or of a bridge every five minutes and shows the five values.
// Never writes a value that the answer does not have, nor one that is too old: the last number then stands
// and only the freshness components, text:200 and boolean:200 where they exist, change.
//
// Answer: {"pvW":2800,"socPc":15,"batW":0,"griW":-8540,"loadW":11340,"ts":1795224659000}; griW is + export.
//
// Written for the engine of Gen2 to Gen4 devices: functions stand before their use, no classes, no
// promises, ASCII only, two timers, one call at a time, every handler catches its own errors.

let CONFIG = {
  url: "http://192.168.8.1:8502/latest",
  token: "",
  first_id: 200,
  period_s: 300,
  stale_after_s: 900
};

let NAMES = ["pvW", "socPc", "batW", "griW", "loadW"];
let TIMEOUT_S = 15;
let CHECK_S = 30;
let RETRY_S = 60; // after a failure, as when the script starts before Wi-Fi is up
let LOST_S = 600; // an answer that has not come by then never will
let LOST_MAX = 3; // of the five calls that may be in progress
let BODY_MAX = 4096; // characters; /latest has about 100
let SYNCED_S = 1704067200; // 2024: a relay with an earlier time has not set its clock

let handles = {};
let state = { ts: null, changed_at: 0, asked_at: 0, waiting: 0, problem: "no reading yet", missing: "", said: "" };
let marks = {};

function sys() {
  return Shelly.getComponentStatus("sys") || {};
}

function uptime_s() {
  return sys().uptime || 0;
}

function age_s() {
  let age = uptime_s() - state.changed_at;
  let unix_s = sys().unixtime;
  if (typeof unix_s === "number" && state.ts > SYNCED_S * 1000) {
    age = Math.max(age, unix_s - state.ts / 1000); // less than 0 where one of the clocks is wrong
  }
  return age;
}

function is_stale() {
  return state.ts === null || age_s() > CONFIG.stale_after_s;
}

function handle_of(key) {
  if (!handles[key]) {
    handles[key] = Virtual.getHandle(key);
  }
  return handles[key];
}

function within_range(handle, value) {
  let range = handle.getConfig() || {};
  if (typeof range.min === "number" && value < range.min) {
    return range.min;
  }
  if (typeof range.max === "number" && value > range.max) {
    return range.max;
  }
  return value;
}

function set_one(key, value) {
  try {
    let handle = handle_of(key);
    if (!handle) {
      return false;
    }
    handle.setValue(typeof value === "number" ? within_range(handle, value) : value);
    return true;
  } catch (error) {
    delete handles[key]; // deleted since, perhaps: looked up again next time
    return false;
  }
}

function in_words() {
  let age = state.ts === null ? 0 : age_s();
  let old = Math.round(age / 60) + " min old";
  if (is_stale()) {
    return "stale: " + (state.problem || old);
  }
  let words = age < CHECK_S ? "live relay" : "relay, " + old;
  if (state.missing) {
    words = words + ", without" + state.missing;
  }
  return state.problem ? words + " (" + state.problem + ")" : words;
}

function set_mark(key, value) {
  if (marks[key] !== value && set_one(key, value)) {
    marks[key] = value;
  }
}

function mark() {
  let stale = is_stale();
  set_mark("text:" + CONFIG.first_id, in_words());
  set_mark("boolean:" + CONFIG.first_id, !stale);
  let saying = state.problem || (stale ? "the relay's value is old" : "live");
  if (saying !== state.said) {
    state.said = saying;
    print("sigen-monitor: " + saying);
  }
}

// Return the relay's object, or null with the problem noted.
function content_of(result, error_code) {
  if (error_code !== 0 || !result) {
    state.problem = "no answer (" + error_code + ")";
    return null;
  }
  if (result.code !== 200) {
    state.problem = "HTTP " + result.code;
    return null;
  }
  let content = null;
  try {
    content = result.body.length > BODY_MAX ? null : JSON.parse(result.body);
  } catch (error) {
    content = null;
  }
  if (content === null || typeof content !== "object" || typeof content.ts !== "number") {
    state.problem = "not a relay's answer";
    return null;
  }
  state.problem = "";
  return content;
}

function show(content) {
  if (content.ts !== state.ts) {
    state.ts = content.ts;
    state.changed_at = uptime_s();
  }
  state.missing = "";
  if (is_stale()) {
    return;
  }
  for (let i = 0; i < NAMES.length; i++) {
    let value = content[NAMES[i]];
    if (typeof value === "number" && value - value === 0) { // neither missing nor 1e999
      set_one("number:" + (CONFIG.first_id + i), value);
    } else {
      state.missing = state.missing + " " + NAMES[i];
    }
  }
}

function on_answer(result, error_code) {
  state.waiting = state.waiting - 1;
  try {
    let content = content_of(result, error_code);
    if (content !== null) {
      show(content);
      marks = {}; // written again, in case somebody else has changed them
    }
    mark();
  } catch (error) {
    print("sigen-monitor: answer not shown");
  }
}

function ask() {
  let request = { url: CONFIG.url, timeout: TIMEOUT_S };
  if (!CONFIG.token) {
    Shelly.call("HTTP.GET", request, on_answer);
    return;
  }
  request.method = "GET"; // HTTP.GET takes no headers
  request.headers = { Authorization: "Bearer " + CONFIG.token };
  Shelly.call("HTTP.Request", request, on_answer);
}

function poll() {
  try {
    let now = uptime_s();
    if (state.waiting > 0 && (now - state.asked_at < LOST_S || state.waiting >= LOST_MAX)) {
      return;
    }
    state.asked_at = now;
    state.waiting = state.waiting + 1;
    ask();
  } catch (error) {
    state.waiting = state.waiting - 1;
    state.problem = "not asked";
  }
}

function on_check() {
  try {
    if (state.problem && uptime_s() - state.asked_at >= RETRY_S) {
      poll();
    }
    mark();
  } catch (error) {
    print("sigen-monitor: check failed");
  }
}

Timer.set(CONFIG.period_s * 1000, true, poll);
Timer.set(CHECK_S * 1000, true, on_check);
poll();
