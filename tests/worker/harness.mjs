// Serves the Worker in its real runtime: reads one JSON line of options, prints its port, ends with its input.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { Miniflare } from "miniflare";

const lines = createInterface({ input: process.stdin });
lines.once("line", async (line) => {
  const options = JSON.parse(line);
  const worker = new Miniflare({
    modules: [
      { type: "ESModule", path: "clocked.js", contents: readFileSync("clocked.js", "utf8") },
      { type: "ESModule", path: "worker.js", contents: readFileSync(options.script, "utf8") },
    ],
    compatibilityDate: options.date,
    kvNamespaces: options.kv ? ["SIGEN_DATA"] : [],
    kvPersist: options.kv || false,
    bindings: options.bindings,
    host: "127.0.0.1",
    port: 0,
    cf: false,
    unsafeTriggerHandlers: true,
    // Whatever host the Worker asks for, it reaches the simulator on this machine and nothing else.
    outboundService: (request) => {
      const asked = new URL(request.url);
      const headers = new Headers(request.headers);
      headers.set("x-original-host", asked.host);
      return fetch(options.cloud + asked.pathname + asked.search, {
        method: request.method,
        headers,
        body: request.body,
        duplex: "half",
        redirect: "manual",
      });
    },
  });
  const url = await worker.ready;
  process.stdout.write(JSON.stringify({ port: Number(url.port) }) + "\n");
  lines.once("close", async () => {
    await worker.dispose();
    process.exit(0);
  });
});
