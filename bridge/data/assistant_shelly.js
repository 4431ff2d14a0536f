// sigen-bridge: asks a bridge or relay every PERIOD_S seconds and shows the five values of the plant.
// Answer: {"pvW":2800,"socPc":15,"batW":0,"griW":-8540,"loadW":11340,"ts":1795224659000}; griW + is export.
let URL = "http://192.168.8.1:8502/latest";
let PERIOD_S = 300;
let FIRST_ID = 200;
let NAMES = ["pvW", "socPc", "batW", "griW", "loadW"];
let TIMEOUT_S = 15;
let busy = false;

function show(body) {
  let values = JSON.parse(body);
  for (let i = 0; i < NAMES.length; i++) {
    let value = values[NAMES[i]];
    let handle = Virtual.getHandle("number:" + JSON.stringify(FIRST_ID + i));
    if (typeof value === "number" && handle) {
      handle.setValue(value); // unknown stays what it was, it never becomes 0
    }
  }
}

function answered(result, code, message) {
  busy = false;
  if (code !== 0 || !result || result.code !== 200) {
    print("no answer from", URL, result ? result.code : message);
    return;
  }
  try {
    show(result.body);
  } catch (error) {
    print("the answer cannot be used:", error);
  }
}

function poll() {
  if (busy) {
    return; // one question at a time
  }
  busy = true;
  Shelly.call("HTTP.GET", { url: URL, timeout: TIMEOUT_S }, answered);
}

Timer.set(PERIOD_S * 1000, true, poll);
poll();
