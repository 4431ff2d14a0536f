// The Worker with a clock that the test moves and a KV that counts: the time comes with each request and cron.
import worker from "./worker.js";

const machine = Date.now.bind(Date);
const writes = {};
let now = null;
Date.now = () => (now === null ? machine() : now);

function move(milliseconds) {
  if (milliseconds) now = Number(milliseconds);
}

function counting(env) {
  if (!env.SIGEN_DATA) return env;
  const put = (key, value) => {
    writes[key] = (writes[key] || 0) + 1;
    return env.SIGEN_DATA.put(key, value);
  };
  return { ...env, SIGEN_DATA: { get: (key, type) => env.SIGEN_DATA.get(key, type), put } };
}

export default {
  fetch(request, env, context) {
    move(request.headers.get("x-test-now"));
    if (new URL(request.url).pathname === "/test/writes") return Response.json(writes);
    return worker.fetch(request, counting(env), context);
  },
  scheduled(event, env, context) {
    move(event.scheduledTime);
    return worker.scheduled(event, counting(env), context);
  },
};
