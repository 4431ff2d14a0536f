"""A simulated cloud and the command line in front of it, with one state directory."""

from __future__ import annotations

import base64

from bridge.clock import Clock
from bridge.link.cloud import CloudHttp
from bridge.peers.limiter import Limiter
from bridge.peers.sigen_openapi import OpenApi
from bridge.peers.sigen_session import Credentials
from bridge.state import StateDir

STATION = "ABCDE1700000001"
KEY, SECRET = "AK_DEMO", "AS_DEMO"
USER, PASSWORD, ENCODED = "owner@example.invalid", "correct horse", "2XgqjWOYS8wesGPH8+9zTA=="
NEVER_SHOWN = (SECRET, PASSWORD, ENCODED, base64.b64encode(f"{KEY}:{SECRET}".encode()).decode(), "tok-sim-", "Bearer")


class Desk:
    """Runs verbs against the simulator; no output may hold a secret."""

    def __init__(self, bridge, sim, path):
        self.bridge, self.sim, self.path = bridge, sim, path
        self.env = {
            "SIGEN_BRIDGE_CLOUD_BASE_URL": sim.base_url, "SIGEN_APP_KEY": KEY, "SIGEN_APP_SECRET": SECRET,
            "SIGEN_SYSTEM_ID": STATION, "SIGEN_REGION": "eu", "SIGEN_BRIDGE_RUN_STATE_DIR": str(path),
        }

    def __call__(self, *argv, without=(), **options):
        env = {name: text for name, text in self.env.items() if name not in without}
        env.update(options.pop("env", {}))
        done = self.bridge(*argv, env=env, **options)
        for secret in NEVER_SHOWN:
            assert secret not in done.stdout + done.stderr
        return done

    def signed_in(self):
        """Leave a token behind as an earlier command would, long enough ago that nothing has to be paced."""
        clock, state = Clock(), StateDir(str(self.path))
        http = CloudHttp(clock)
        limiter = Limiter(state, clock, name="not-the-ledger.json")
        OpenApi(http, Credentials(KEY, SECRET), state, clock, limiter, base_url=self.sim.base_url).login()
        http.close()
        return self

    def asked(self):
        """Return what the cloud was asked for, logins left out."""
        return [entry.endpoint for entry in self.sim.log if entry.endpoint != "login"]
