// sigen-bridge: the Shelly asks by itself, for homes where nothing can push to it.
// Polls /latest of the Cloudflare Worker or of a bridge every five minutes and shows the five values.
// Never writes a value that the answer does not have, and says when the values are old.
//
// Answer: {"pvW":2800,"socPc":15,"batW":0,"griW":-8540,"loadW":11340,"ts":1795224659000}; griW is + export.
//
// Written for the engine of Gen2 to Gen4 devices: functions stand before their use, no classes, no
// promises, ASCII only, one timer, one call at a time, every handler catches its own errors.

let CONFIG = {
  url: "http://192.168.8.1:8502/latest",
  token: "",
  first_id: 200,
  period_s: 300,
  stale_after_s: 900
};
let KEYS = ["pvW", "socPc", "batW", "griW", "loadW"];
let state = { busy: false, last_ts: 0, unchanged_s: 0, quiet_s: 0 };

function set_component(key, value) {
  try {
    let handle = Virtual.getHandle(key);
    if (!handle) {
      return false;
    }
    handle.setValue(value);
    return true;
  } catch (error) {
    return false;
  }
}

function mark(age_s) {
  let stale = age_s > CONFIG.stale_after_s;
  let text = stale ? "stale, " + Math.round(age_s / 60) + " min old" : "cloud";
  set_component("text:" + CONFIG.first_id, text);
  set_component("boolean:" + CONFIG.first_id, !stale);
}

function unixtime() {
  let sys = Shelly.getComponentStatus("sys");
  return sys && sys.unixtime ? sys.unixtime : 0;
}

function age_of(ts) {
  let now = unixtime();
  if (ts !== state.last_ts) {
    state.last_ts = ts;
    state.unchanged_s = 0;
  }
  return now > 0 ? Math.max(0, now - ts / 1000) : state.unchanged_s;
}

function show(values) {
  for (let i = 0; i < KEYS.length; i++) {
    let value = values[KEYS[i]];
    if (typeof value === "number") {
      set_component("number:" + (CONFIG.first_id + i), value);
    }
  }
}

function take(result, code) {
  if (code !== 0 || !result || result.code !== 200) {
    print("sigen-monitor: no answer, code " + code + ", status " + (result ? result.code : 0));
    return false;
  }
  let values = JSON.parse(result.body);
  if (!values || typeof values.ts !== "number") {
    print("sigen-monitor: the answer is not a reading");
    return false;
  }
  let age_s = age_of(values.ts);
  if (age_s <= CONFIG.stale_after_s) {
    show(values);
  }
  state.quiet_s = 0;
  mark(age_s);
  return true;
}

function answered(result, code) {
  state.busy = false;
  let good = false;
  try {
    good = take(result, code);
  } catch (error) {
    print("sigen-monitor: the answer is not JSON");
  }
  if (!good) {
    mark(state.last_ts > 0 ? state.quiet_s : CONFIG.stale_after_s + 1);
  }
}

function poll() {
  try {
    state.unchanged_s += CONFIG.period_s;
    state.quiet_s += CONFIG.period_s;
    if (state.busy) {
      return;
    }
    state.busy = true;
    if (CONFIG.token) {
      let headers = { Authorization: "Bearer " + CONFIG.token };
      Shelly.call("HTTP.Request", { method: "GET", url: CONFIG.url, headers: headers, timeout: 15 }, answered);
    } else {
      Shelly.call("HTTP.GET", { url: CONFIG.url, timeout: 15 }, answered);
    }
  } catch (error) {
    state.busy = false;
    print("sigen-monitor: " + error);
  }
}

Timer.set(CONFIG.period_s * 1000, true, poll);
poll();
