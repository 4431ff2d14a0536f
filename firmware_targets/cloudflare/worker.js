/*
 * sigen-bridge relay for Cloudflare Workers: one value from the Sigenergy cloud in five minutes, for anybody.
 *
 * GET /latest   the stored value: pvW, socPc, batW (+ charging), griW (+ export), loadW, ts (unix milliseconds).
 *               A value that is not known is left out; it is never 0. 404 before the first one.
 * GET /refresh  asks the cloud if its limits allow it, else answers the stored value. 500 says what went wrong.
 * GET /status   when it asks again, what was dropped, the last error.
 * Cron          asks every five minutes.
 *
 * Never stores a sample whose energy does not add up, never asks more than once in 300 s per station,
 * never logs in while a token is good, never puts a secret into an answer.
 *
 * KV: "turn" is written before each call, "latest" after a good one, "state" when something else changed. They
 * are three keys because KV takes one write a second for a key; that makes 576 of the free plan's 1,000 a day.
 */

const PERIOD_S = 300; // the vendor's limit per station and endpoint
const EARLY_S = 60; // a cron that comes up to this much early waits for its turn
const TOKEN_MARGIN_S = 300; // a token is renewed this long before it ends
const HOLD_MAX_S = 6 * 3600; // no block is believed to be for ever
const ASKED_HOLD_MAX_S = 24 * 3600; // a Retry-After beyond this is a mistake
const TIMEOUT_MS = 15000;
const AGENT = "Mozilla/5.0 (compatible; sigen-bridge relay)"; // library names are refused by the firewall
const REGIONS = ["eu", "aus", "apac", "us", "cn", "jp"];
const KEYS = ["pvW", "socPc", "batW", "griW", "loadW"];

// How long to leave the cloud alone, doubled for each time in a row: rate limits, lock-out, wrong key.
const CODE_HOLD_S = { 1110: 300, 1201: 900, 11002: 900, 11003: 900 };
const STATUS_HOLD_S = { 401: 900, 403: 900, 424: 1800, 429: 300 };
const TOKEN_CODES = [401, 11003]; // inside HTTP 200: the token is not good any more

let askedAt = 0; // seconds; two requests in one isolate could both read KV before one of them has written

class CloudError extends Error {
  constructor(message, holdS, exact) {
    super(message);
    this.holdS = holdS || 0;
    this.exact = exact || false; // the cloud named the time itself
  }
}

export default {
  async fetch(request, env) {
    try {
      return await route(request, env);
    } catch (error) {
      return json({ error: plain(error) }, 500);
    }
  },
  async scheduled(event, env) {
    await refresh(env, EARLY_S);
  },
};

async function route(request, env) {
  if (request.method !== "GET" && request.method !== "HEAD") return json({ error: "GET only" }, 405);
  const path = new URL(request.url).pathname;
  if (path !== "/latest" && path !== "/refresh" && path !== "/status") return json({ error: "no such page" }, 404);
  const shown = request.headers.get("authorization") || "";
  if (env.READ_TOKEN && !(await same(shown, "Bearer " + env.READ_TOKEN.trim()))) {
    return json({ error: "a token is needed: Authorization: Bearer ..." }, 401);
  }
  if (path === "/refresh") await refresh(env, 0);
  const stored = await kv(env).get(path === "/status" ? "state" : "latest", "json");
  if (path === "/status") return json(standing(stored || {}, (await kv(env).get("turn", "json")) || {}), 200);
  return stored ? json(stored, 200) : json({ error: "no reading yet" }, 404);
}

function kv(env) {
  if (!env.SIGEN_DATA) throw new CloudError("the KV binding SIGEN_DATA is missing; see wrangler.toml");
  return env.SIGEN_DATA;
}

/* What an operator may see of the state: everything but the token. */
function standing(state, turn) {
  const notBefore = Math.max(turn.notBefore || 0, state.holdUntil || 0);
  return { notBefore, dropped: state.dropped || 0, strikes: state.strikes || 0, error: state.error || null };
}

/* Ask the cloud once, unless that would be too early; store what can be true. */
async function refresh(env, patienceS) {
  const [turn, stored, who] = await Promise.all([
    kv(env).get("turn", "json"), kv(env).get("state", "json"), identity(env),
  ]);
  // a new key, station or region starts afresh: neither the old token nor the old hold is its own
  const state = stored && stored.who === who ? stored : { who, dropped: (stored || {}).dropped };
  const now = Date.now() / 1000;
  const early = Math.max((turn || {}).notBefore || 0, askedAt + PERIOD_S, state.holdUntil || 0) - now;
  if (early > patienceS) return;
  askedAt = now + Math.max(0, early);
  if (early > 0) await new Promise((resolve) => setTimeout(resolve, early * 1000));
  await kv(env).put("turn", JSON.stringify({ notBefore: askedAt + PERIOD_S }));
  const before = JSON.stringify(state);
  try {
    await keep(env, state, await energyFlow(env, state));
    delete state.error;
    delete state.strikes;
    delete state.holdUntil;
  } catch (error) {
    held(state, error);
    throw error;
  } finally {
    if (JSON.stringify(state) !== before) await kv(env).put("state", JSON.stringify(state));
  }
}

async function keep(env, state, flow) {
  const values = display(flow);
  if (impossible(flow) || KEYS.every((key) => values[key] === undefined)) {
    state.dropped = (state.dropped || 0) + 1;
    return;
  }
  await kv(env).put("latest", JSON.stringify({ ...values, ts: Math.round(Date.now()) }));
}

function held(state, error) {
  state.error = plain(error);
  if (!(error instanceof CloudError) || !error.holdS) return;
  state.strikes = (state.strikes || 0) + 1;
  const holdS = error.exact
    ? Math.min(error.holdS, ASKED_HOLD_MAX_S)
    : Math.min(error.holdS * 2 ** (state.strikes - 1), HOLD_MAX_S);
  state.holdUntil = Date.now() / 1000 + holdS;
}

async function energyFlow(env, state) {
  const path = "/openapi/systems/" + encodeURIComponent(env.SIGEN_SYSTEM_ID.trim()) + "/energyFlow";
  const flow = async () => content(await ask(env, path, { token: state.token }), "energyFlow");
  const good = state.token && Date.now() / 1000 < (state.tokenEnds || 0) - TOKEN_MARGIN_S;
  if (!good) await login(env, state);
  let answer = await flow();
  if (answer.revoked && good) {
    await login(env, state); // revoked before its time: once, then it is an error
    answer = await flow();
  }
  if (answer.revoked) {
    delete state.token;
    throw new CloudError("energyFlow: a new token was not accepted", STATUS_HOLD_S[401]);
  }
  if (!answer.data || typeof answer.data !== "object") throw new CloudError("energyFlow: the answer has no data");
  return answer.data;
}

async function login(env, state) {
  delete state.token;
  const body = JSON.stringify({ key: env.SIGEN_AUTH_KEY.trim() });
  const { data, revoked } = await content(await ask(env, "/openapi/auth/login/key", { method: "POST", body }), "login");
  if (revoked) throw new CloudError("login: HTTP 401; check SIGEN_AUTH_KEY", STATUS_HOLD_S[401]);
  if (!data || typeof data.accessToken !== "string") throw new CloudError("login: the answer has no token");
  state.token = data.accessToken;
  state.tokenEnds = Date.now() / 1000 + (Number(data.expiresIn) || 0);
}

/* A short name of who asks for what; raises when a setting is missing. */
async function identity(env) {
  if (!(env.SIGEN_AUTH_KEY || "").trim()) throw new CloudError("the secret SIGEN_AUTH_KEY is not set");
  if (!(env.SIGEN_SYSTEM_ID || "").trim()) throw new CloudError("the variable SIGEN_SYSTEM_ID is not set");
  const text = [env.SIGEN_AUTH_KEY, env.SIGEN_SYSTEM_ID, base(env)].join("\n");
  return [...(await digest(text)).slice(0, 8)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function region(env) {
  return (env.SIGEN_REGION || "eu").trim().toLowerCase();
}

function base(env) {
  if (env.SIGEN_BASE_URL) return env.SIGEN_BASE_URL.trim().replace(/\/+$/, "");
  if (REGIONS.includes(region(env))) return "https://openapi-" + region(env) + ".sigencloud.com";
  throw new CloudError("SIGEN_REGION is none of " + REGIONS.join(", ") + "; set SIGEN_BASE_URL for another host");
}

async function ask(env, path, { method = "GET", token, body }) {
  const headers = {
    accept: "application/json", "content-type": "application/json",
    "user-agent": AGENT, "sigen-region": region(env),
  };
  if (token) headers.authorization = "Bearer " + token;
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  try {
    // a redirect is not followed: the token is for this host alone
    const answer = await fetch(base(env) + path, { method, headers, body, signal, redirect: "manual" });
    return { status: answer.status, text: await answer.text(), retryAfter: answer.headers.get("retry-after") };
  } catch (error) {
    const late = error && error.name === "TimeoutError";
    throw new CloudError(late ? "the cloud did not answer in time" : "no connection to the cloud");
  }
}

/* {data} or {revoked} of an answer, or a CloudError that says how long to leave the cloud alone. */
function content({ status, text, retryAfter }, what) {
  if (status === 401) return { revoked: true };
  const page = /^\s*</.test(text) ? " with a web page" : "";
  if (status !== 200 || page) {
    const asked = status === 429 || status === 503 ? Number(retryAfter) || 0 : 0;
    const holdS = asked > 0 ? asked : STATUS_HOLD_S[status];
    throw new CloudError(what + ": HTTP " + status + page, holdS, asked > 0);
  }
  const body = decoded(text, 0);
  if (!body || typeof body !== "object") throw new CloudError(what + ": the answer is not JSON");
  const code = body.code === null || body.code === "" ? NaN : Number(body.code);
  if (code === 0) return { data: decoded(body.data, 0) };
  if (what !== "login" && TOKEN_CODES.includes(code)) return { revoked: true };
  throw new CloudError(what + ": code " + code, CODE_HOLD_S[code]);
}

/* JSON may stand in a string inside JSON, a few times over. */
function decoded(value, depth) {
  if (typeof value !== "string" || depth > 3) return value;
  try {
    return decoded(JSON.parse(value), depth + 1);
  } catch {
    return depth === 0 ? null : value;
  }
}

function known(value) {
  const text = typeof value === "string" && value.trim() !== "";
  const number = typeof value === "number" || text ? Number(value) : NaN;
  return Number.isFinite(number) ? number : undefined;
}

function watts(kilowatts) {
  const number = known(kilowatts);
  return number === undefined ? undefined : Math.round(number * 1000) + 0; // + 0: no "-0"
}

/* OpenAPI gridPower is + export and batteryPower + charging, as the display's; undefined drops out of JSON. */
function display(flow) {
  const soc = known(flow.batterySoc);
  return {
    pvW: watts(flow.pvPower),
    socPc: soc >= 0 && soc <= 100 ? soc : undefined,
    batW: watts(flow.batteryPower),
    griW: watts(flow.gridPower),
    loadW: watts(flow.loadPower),
  };
}

/* Impossible is a residual above 1 kW and above a fifth of the largest term; unknown terms leave no verdict.
   An EV charger or heat pump that is not reported can explain power that is missing, never too much of it. */
function impossible(flow) {
  const main = ["pvPower", "gridPower", "batteryPower", "loadPower"].map((name) => known(flow[name]));
  if (main.includes(undefined)) return false;
  const others = [known(flow.evPower), known(flow.heatPumpPower)];
  const [pv, exported, charging, load] = main;
  const residual = pv - exported - charging - load - (others[0] || 0) - (others[1] || 0);
  const limit = Math.max(1, 0.2 * Math.max(...main.map(Math.abs), ...others.map((term) => Math.abs(term || 0))));
  return residual < -limit || (residual > limit && !others.includes(undefined));
}

async function digest(text) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
}

async function same(left, right) {
  const [a, b] = await Promise.all([digest(left), digest(right)]);
  return a.reduce((differs, byte, index) => differs | (byte ^ b[index]), 0) === 0;
}

function plain(error) {
  return error instanceof CloudError ? error.message : "internal error (" + ((error && error.name) || "unknown") + ")";
}

function json(body, status) {
  return new Response(JSON.stringify(body), {
    status,
    headers: { "content-type": "application/json", "cache-control": "no-store" },
  });
}
