/*
 * sigen-bridge relay for Cloudflare Workers: one value from the Sigenergy cloud in five minutes, for anybody.
 *
 * GET /latest   the stored value: pvW, socPc, batW (+ charging), griW (+ export), loadW, ts (unix milliseconds).
 *               A value that is not known is left out; it is never 0. 404 before the first one.
 * GET /refresh  asks the cloud if its limits allow it, else answers the stored value.
 * Cron          asks every five minutes.
 *
 * Never stores a sample whose energy does not add up, never asks more than once in 300 s per station,
 * never logs in while a token is good, never puts a secret into an answer.
 */

const PERIOD_S = 300; // the vendor's limit per station and endpoint
const EARLY_S = 5; // a cron may come this much before its time
const TOKEN_MARGIN_S = 300; // a token is renewed this long before it ends
const BLOCKED_S = 1800; // after 424, 429 without a time, 1110 and 1201
const TIMEOUT_MS = 15000;
const AGENT = "Mozilla/5.0 (compatible; sigen-bridge relay)"; // library names are refused by the firewall
const RATE_CODES = [1110, 1201];
const AUTH_CODES = [11002, 11003];

class CloudError extends Error {
  constructor(message, waitS) {
    super(message);
    this.waitS = waitS || 0;
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
    await refresh(env, Math.floor(event.scheduledTime / 1000));
  },
};

async function route(request, env) {
  if (request.method !== "GET" && request.method !== "HEAD") return json({ error: "GET only" }, 405);
  const path = new URL(request.url).pathname;
  if (path !== "/latest" && path !== "/refresh") return json({ error: "no such page" }, 404);
  if (env.READ_TOKEN && !(await same(request.headers.get("authorization") || "", "Bearer " + env.READ_TOKEN))) {
    return json({ error: "a token is needed" }, 401);
  }
  if (path === "/refresh") await refresh(env, Math.floor(Date.now() / 1000));
  const stored = await env.SIGEN_DATA.get("latest", "json");
  return stored ? json(stored, 200) : json({ error: "no reading yet" }, 404);
}

/* Ask the cloud once, unless that would be too early; store what can be true. */
async function refresh(env, now) {
  const state = (await env.SIGEN_DATA.get("state", "json")) || {};
  if (now < (state.notBefore || 0) - EARLY_S) return;
  state.notBefore = now + PERIOD_S;
  try {
    const flow = await energyFlow(env, state, now);
    const values = display(flow);
    if (balanced(flow)) await env.SIGEN_DATA.put("latest", JSON.stringify({ ...values, ts: now * 1000 }));
    else state.dropped = (state.dropped || 0) + 1;
    delete state.error;
  } catch (error) {
    state.error = plain(error);
    if (error instanceof CloudError && error.waitS > PERIOD_S) state.notBefore = now + error.waitS;
    throw error;
  } finally {
    await env.SIGEN_DATA.put("state", JSON.stringify(state));
  }
}

async function energyFlow(env, state, now) {
  if (!env.SIGEN_AUTH_KEY) throw new CloudError("the secret SIGEN_AUTH_KEY is not set");
  if (!env.SIGEN_SYSTEM_ID) throw new CloudError("the variable SIGEN_SYSTEM_ID is not set");
  if (!state.token || now >= (state.tokenEnds || 0) - TOKEN_MARGIN_S) await login(env, state, now);
  const path = "/openapi/systems/" + encodeURIComponent(env.SIGEN_SYSTEM_ID) + "/energyFlow";
  let answer = await ask(env, path, { headers: { authorization: "Bearer " + state.token } });
  if (answer.status === 401) {
    await login(env, state, now); // revoked before its time: once, then it is an error
    answer = await ask(env, path, { headers: { authorization: "Bearer " + state.token } });
  }
  const flow = await content(answer, "energyFlow");
  if (!flow || typeof flow !== "object") throw new CloudError("energyFlow: the answer has no data");
  return flow;
}

async function login(env, state, now) {
  delete state.token;
  const answer = await ask(env, "/openapi/auth/login/key", {
    method: "POST",
    body: JSON.stringify({ key: env.SIGEN_AUTH_KEY }),
  });
  const found = await content(answer, "login");
  if (!found || !found.accessToken) throw new CloudError("login: the answer has no token");
  state.token = found.accessToken;
  state.tokenEnds = now + (Number(found.expiresIn) || 0);
}

function ask(env, path, options) {
  const base = env.SIGEN_BASE_URL || "https://openapi-" + (env.SIGEN_REGION || "eu") + ".sigencloud.com";
  const headers = {
    "content-type": "application/json",
    "user-agent": AGENT,
    "sigen-region": env.SIGEN_REGION || "eu",
    ...(options.headers || {}),
  };
  return fetch(base.replace(/\/+$/, "") + path, { ...options, headers, signal: AbortSignal.timeout(TIMEOUT_MS) });
}

/* The data of an answer, or a CloudError that says how long to leave the cloud alone. */
async function content(answer, what) {
  const text = await answer.text();
  if (answer.status === 424 || answer.status === 429) {
    throw new CloudError(what + ": HTTP " + answer.status, Number(answer.headers.get("retry-after")) || BLOCKED_S);
  }
  const body = decoded(text, 0);
  if (answer.status !== 200 || !body || typeof body !== "object") {
    throw new CloudError(what + ": HTTP " + answer.status + (/^\s*</.test(text) ? " with a web page (firewall)" : ""));
  }
  if (body.code === 0) return decoded(body.data, 0);
  const code = Number(body.code);
  const wait = RATE_CODES.includes(code) || AUTH_CODES.includes(code) ? BLOCKED_S : 0;
  throw new CloudError(what + ": code " + code, wait);
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
  if (value === null || value === undefined || value === "" || typeof value === "boolean") return undefined;
  const number = Number(value);
  return Number.isFinite(number) ? number : undefined;
}

function watts(kilowatts) {
  const number = known(kilowatts);
  return number === undefined ? undefined : Math.round(number * 1000) + 0;
}

/* OpenAPI gridPower is + export and batteryPower + charging, as the display's; undefined drops out of JSON. */
function display(flow) {
  return {
    pvW: watts(flow.pvPower),
    socPc: known(flow.batterySoc),
    batW: watts(flow.batteryPower),
    griW: watts(flow.gridPower),
    loadW: watts(flow.loadPower),
  };
}

/* Impossible is a residual above 1 kW and above a fifth of the largest term; unknown terms leave no verdict. */
function balanced(flow) {
  const terms = ["pvPower", "gridPower", "batteryPower", "loadPower"].map((name) => known(flow[name]));
  if (terms.some((term) => term === undefined)) return terms.some((term) => term !== undefined);
  const [pv, exported, charging, load] = terms;
  const others = (known(flow.evPower) || 0) + (known(flow.heatPumpPower) || 0);
  const residual = Math.abs(pv - exported - charging - load - others);
  return residual <= Math.max(1, 0.2 * Math.max(...terms.map(Math.abs)));
}

async function same(left, right) {
  const digest = (text) => crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  const [a, b] = await Promise.all([digest(left), digest(right)]);
  const x = new Uint8Array(a);
  const y = new Uint8Array(b);
  return x.every((byte, index) => byte === y[index]);
}

function plain(error) {
  if (error instanceof CloudError) return error.message;
  return error && error.name === "TimeoutError" ? "the cloud did not answer in time" : "internal error";
}

function json(body, status) {
  return new Response(JSON.stringify(body), {
    status,
    headers: { "content-type": "application/json", "cache-control": "no-store" },
  });
}
