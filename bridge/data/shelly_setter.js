// sigen-bridge: sets all numbers of one reading in one turn, and says when readings stop coming.
// Never touches a number on its own: after a silence only the freshness component changes.
//
// POST /script/<id>/set  {"values":{"number:200":2800,"text:200":"live"},"max_age_s":15}
// GET  /script/<id>/set?number:200=2800&max_age_s=15
// answer {"done":{"number:200":true}}: true where the component exists and took the value.
//
// Written for the engine of Gen2 to Gen4 devices: functions stand before their use, no classes, no
// promises, ASCII only, one timer, every handler catches its own errors.

let handles = {};
let flag = { key: null, silent_s: 0, max_age_s: 0, stale: true };
let CHECK_S = 1;

function handle_of(key) {
  if (!handles[key]) {
    handles[key] = Virtual.getHandle(key);
  }
  return handles[key];
}

function set_one(key, value) {
  try {
    let handle = handle_of(key);
    if (!handle) {
      return false;
    }
    handle.setValue(value);
    return true;
  } catch (error) {
    delete handles[key];
    return false;
  }
}

function is_flag(key) {
  return key.indexOf("text:") === 0 || key.indexOf("boolean:") === 0;
}

function literal(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    return text;
  }
}

function decoded(text) {
  return decodeURIComponent(text.split("+").join(" "));
}

function from_query(query) {
  let request = { values: {} };
  let parts = query.split("&");
  for (let i = 0; i < parts.length; i++) {
    let at = parts[i].indexOf("=");
    if (at < 1) {
      continue;
    }
    let key = decoded(parts[i].substring(0, at));
    let value = literal(decoded(parts[i].substring(at + 1)));
    if (key === "max_age_s") {
      request.max_age_s = value;
    } else {
      request.values[key] = value;
    }
  }
  return request;
}

function apply(request) {
  let done = {};
  let keys = Object.keys(request.values || {});
  for (let i = 0; i < keys.length; i++) {
    let key = keys[i];
    done[key] = set_one(key, request.values[key]);
    if (is_flag(key) && done[key]) {
      flag.key = key;
      flag.stale = false;
    }
  }
  flag.silent_s = 0;
  if (typeof request.max_age_s === "number") {
    flag.max_age_s = request.max_age_s;
  }
  return done;
}

function answer(response, code, content) {
  response.code = code;
  response.headers = [["Content-Type", "application/json"]];
  response.body = JSON.stringify(content);
  response.send();
}

function on_request(request, response) {
  let done = null;
  try {
    done = apply(request.body ? JSON.parse(request.body) : from_query(request.query || ""));
  } catch (error) {
    done = null;
  }
  try {
    if (done === null) {
      answer(response, 400, { error: "values were not understood" });
    } else {
      answer(response, 200, { done: done });
    }
  } catch (error) {
    print("sigen-bridge: no answer sent");
  }
}

function on_check() {
  try {
    flag.silent_s += CHECK_S;
    if (flag.key !== null && !flag.stale && flag.max_age_s && flag.silent_s > flag.max_age_s) {
      flag.stale = true;
      set_one(flag.key, flag.key.indexOf("text:") === 0 ? "stale: the bridge is silent" : false);
    }
  } catch (error) {
    print("sigen-bridge: check failed");
  }
}

Timer.set(CHECK_S * 1000, true, on_check);
HTTPServer.registerEndpoint("set", on_request);
