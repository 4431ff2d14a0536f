// sigen-bridge: the Shelly reads the plant itself, over the RS485 add-on of a Shelly Pro.
// UNPROVEN on hardware: written from the vendor's documentation, tested against a simulated line.
// Wire it to COM 15/16 (RS485-1) of the INVERTER. The gateway's port P6 is a master and never answers.
// Never writes to the plant, and never shows a value that the plant did not give: after a silence the last
// numbers stand and only the freshness components, text:200 and boolean:200 where they exist, change.
//
// Needs a free script slot, the five numbers (sigen-bridge shelly setup) and the add-on switched on
// (Settings > Add-on > RS485, then a reboot). Serial mode and speed are set by the script.
//
// Written for the engine of Gen2 to Gen4 devices: functions stand before their use, no classes, no
// promises, ASCII only, one timer, one call at a time, every handler catches its own errors.

let CONFIG = {
  unit: 1,
  baud: 38400,
  period_s: 5,
  first_id: 200,
  stale_after_s: 30
};

let PORT = 100; // the add-on's Serial and MbRtuClient have this id
let LOST_S = 20; // an answer that has not come by then never will
let LOST_MAX = 3; // of the five calls that may be in progress
let AGAIN_S = 60; // unchanged values are written again after this time
let SERIAL_S = 60; // between two looks at the serial port while it fails
let FORGIVEN = 3; // refusals in a row after which a block never seen is taken as not there (older firmware)
let LOOK_AT_PORT = 12; // failures in a row after which somebody may have changed the serial port
let LOOK_AGAIN = 720; // rounds after which a missing block is asked for again
let SMALL_NEGATIVE_W = -150; // losses and timing; below it the sum is not the load
let POWER_MAX_W = 1000000;

// 30004 grid sensor .. 30038 battery; 30194 sun of other inverters; 30280 alarms .. 30285 load.
let BLOCKS = [
  { addr: 30004, qty: 35, missing: 0, seen: true },
  { addr: 30194, qty: 2, missing: 0, seen: false },
  { addr: 30280, qty: 6, missing: 0, seen: false }
];

let handles = {};
let shown = {};
let marks = {};
let words = [null, null, null];
let state = { turn: 0, asked_at: 0, busy: 0, good_at: null, problem: "no reading yet", missing: "", said: "",
              ready: false, serial_at: null, round: 0 };

function now_s() {
  return (Shelly.getComponentStatus("sys") || {}).uptime || 0;
}

function is_stale() {
  return state.good_at === null || now_s() - state.good_at > CONFIG.stale_after_s;
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

function set_mark(key, value) {
  if (marks[key] !== value && set_one(key, value)) {
    marks[key] = value;
  }
}

function mark() {
  let stale = is_stale();
  let text = "live RS485";
  if (stale) {
    text = "stale: " + (state.problem || "no answer");
  } else if (state.missing) {
    text = text + ", without" + state.missing;
  }
  set_mark("text:" + CONFIG.first_id, text);
  set_mark("boolean:" + CONFIG.first_id, !stale);
  let saying = state.problem || "live";
  if (saying !== state.said) {
    state.said = saying;
    print("sigen-rs485: " + saying);
  }
}

function word(block, address) {
  let part = words[block];
  return part === null ? null : part[address - BLOCKS[block].addr];
}

// Say whether a block is not there: refused from the start, as by older firmware.
function skips(index) {
  return index < BLOCKS.length && !BLOCKS[index].seen && BLOCKS[index].missing >= FORGIVEN;
}

// Return a signed 32-bit power in W, or null for the device's "no value" and for what cannot be.
function power(block, address) {
  let high = word(block, address);
  let low = word(block, address + 1);
  if (high === null) {
    return null;
  }
  let watts = high * 65536 + low;
  if (watts >= 2147483648) {
    watts = watts - 4294967296;
  }
  return watts > POWER_MAX_W || watts < -POWER_MAX_W ? null : watts;
}

function sum(one, other) {
  return one === null || other === null ? null : one + other;
}

function not_negative(watts) {
  if (watts === null || watts < SMALL_NEGATIVE_W) {
    return null;
  }
  return Math.max(0, watts);
}

function not_less(watts) {
  return watts === null ? null : Math.max(0, watts); // night reads slightly negative
}

// Return [name, value] of the five numbers in the display's signs: grid + is export, battery + is charging.
function five() {
  let alarm = word(2, 30280);
  let metered = word(0, 30004) !== 0 && (alarm === null || alarm === 65535 || (alarm & 3) === 0);
  let grid = metered ? power(0, 30005) : null;
  let others = skips(1) ? 0 : power(1, 30194); // 0 only where the firmware knows of none
  let sun = power(0, 30035);
  let soc = word(0, 30014);
  let load = power(2, 30284);
  if (!metered) {
    load = null;
  } else if (load === null) { // before protocol 2.8: the sum on the AC side
    load = sum(sum(power(0, 30031), others), grid);
  }
  return [
    ["PV", not_less(sum(sun, others))],
    ["SOC", soc === null || soc > 1000 ? null : soc / 10],
    ["Battery", power(0, 30037)],
    ["Grid", grid === null || grid === 0 ? grid : -grid],
    ["Load", not_negative(load)]
  ];
}

function show() {
  let now = now_s();
  let values = five();
  state.missing = "";
  for (let i = 0; i < values.length; i++) {
    let key = "number:" + (CONFIG.first_id + i);
    let value = values[i][1];
    let last = shown[key];
    if (value === null) {
      state.missing = state.missing + " " + values[i][0];
    } else if (!last || last.value !== value || now - last.at >= AGAIN_S) {
      if (set_one(key, value)) {
        shown[key] = { value: value, at: now };
      }
    }
  }
  state.good_at = now;
  state.problem = "";
}

function round_over() {
  state.turn = 0;
  state.round = state.round + 1;
  if (state.round % LOOK_AGAIN === 0) {
    BLOCKS[1].missing = 0;
    BLOCKS[2].missing = 0;
  }
  if (words[0] !== null) {
    show();
  }
  mark();
}

function take(index, result, error_code) {
  let block = BLOCKS[index];
  let good = error_code === 0 && result && result.values && result.values.length === block.qty;
  if (good) {
    words[index] = result.values;
    block.missing = 0;
    block.seen = true;
    return true;
  }
  words[index] = null;
  block.missing = block.missing + 1;
  if (index === 0) {
    state.ready = block.missing % LOOK_AT_PORT !== 0;
    state.problem = error_code === 0 ? "not the plant's answer" : "no answer (" + error_code + ")";
    return false;
  }
  return true;
}

// One handler for all blocks: userdata tells which round and block an answer belongs to.
function on_words(result, error_code, error_message, about) {
  state.busy = state.busy - 1;
  try {
    if (about.round !== state.round || about.index !== state.turn) {
      return; // given up since
    }
    let going_on = take(about.index, result, error_code);
    state.turn = state.turn + 1;
    while (skips(state.turn)) {
      words[state.turn] = null;
      state.turn = state.turn + 1;
    }
    if (!going_on || state.turn >= BLOCKS.length) {
      round_over();
      return;
    }
    state.ask();
  } catch (error) {
    print("sigen-rs485: answer not shown");
  }
}

function ask() {
  let block = BLOCKS[state.turn];
  state.busy = state.busy + 1;
  state.asked_at = now_s();
  try {
    Shelly.call("MbRtuClient.ReadInputRegisters",
      { id: PORT, sid: CONFIG.unit, addr: block.addr, qty: block.qty },
      on_words, { round: state.round, index: state.turn });
  } catch (error) {
    state.busy = state.busy - 1;
    state.problem = "not asked";
  }
}
state.ask = ask; // on_words stands above it

function on_serial_set(result, error_code) {
  state.busy = state.busy - 1;
  state.ready = error_code === 0;
  state.problem = state.ready ? "no reading yet" : "serial port not set (" + error_code + ")";
}

function on_serial(result, error_code) {
  state.busy = state.busy - 1;
  try {
    if (error_code !== 0 || !result) {
      state.problem = "no RS485 add-on (" + error_code + ")";
      mark();
      return;
    }
    let serial = result.serial || {};
    if (result.mode === "mb_client" && serial.baud === CONFIG.baud && serial.format === "8N1") {
      state.ready = true; // written only where it differs: the device stores it in flash
      ask();
      return;
    }
    state.busy = state.busy + 1;
    Shelly.call("Serial.SetConfig",
      { id: PORT, config: { mode: "mb_client", serial: { baud: CONFIG.baud, format: "8N1" } } }, on_serial_set);
  } catch (error) {
    print("sigen-rs485: serial port not set");
  }
}

function look_at_port() {
  if (state.busy >= LOST_MAX || (state.serial_at !== null && now_s() - state.serial_at < SERIAL_S)) {
    return;
  }
  state.serial_at = now_s();
  state.busy = state.busy + 1;
  Shelly.call("Serial.GetConfig", { id: PORT }, on_serial);
}

function on_time() {
  try {
    if (!state.ready) {
      look_at_port();
    } else if (state.busy === 0) {
      ask();
    } else if (state.busy < LOST_MAX && now_s() - state.asked_at >= LOST_S) {
      state.problem = "no answer";
      state.round = state.round + 1; // what still comes belongs to the past
      state.turn = 0;
      ask();
    }
    mark();
  } catch (error) {
    print("sigen-rs485: round failed");
  }
}

Timer.set(CONFIG.period_s * 1000, true, on_time);
on_time();
