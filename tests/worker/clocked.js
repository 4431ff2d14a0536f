// The Worker with a clock that the test moves: the time comes with each request and each cron.
import worker from "./worker.js";

const machine = Date.now.bind(Date);
let now = null;
Date.now = () => (now === null ? machine() : now);

function move(milliseconds) {
  if (milliseconds) now = Number(milliseconds);
}

export default {
  fetch(request, env, context) {
    move(request.headers.get("x-test-now"));
    return worker.fetch(request, env, context);
  },
  scheduled(event, env, context) {
    move(event.scheduledTime);
    return worker.scheduled(event, env, context);
  },
};
