"""The Enphase Envoy: serve it without a token, set it up, look after its token."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import threading
from typing import Any, Dict, List, Optional, Tuple

from bridge.clock import Clock
from bridge.config import Settings
from bridge.errors import EXIT_OK, BridgeError, ConfigError
from bridge.service import stop_on_signals
from bridge.wiring import FIRST_ANSWER_S, modbus_source, notifier

DAEMON = True  # logs its state changes
HELP = "serve an Enphase Envoy without a token (serve), set it up (setup), look after its token (token)"
LOOK_S = 15.0  # how often the serving process says that it is alive
SAMPLES = 7  # of the plant; five in a row settle the topology
PLANT_PAUSE_S = 0.4


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of each word."""
    words = parser.add_subparsers(dest="word", required=True, metavar="serve|setup|token")
    words.add_parser("serve", help="serve the Envoy on enphase.listen, token included", allow_abbrev=False)
    setup = words.add_parser("setup", help="check address, certificate, token and where the sun is counted",
                             allow_abbrev=False)
    setup.add_argument("--accept-certificate", action="store_true", help="pin the certificate that is seen now")
    setup.add_argument("--dry-run", action="store_true", help="look only: pin nothing and store no token")
    setup.add_argument("--json", action="store_true", help="print JSON")
    token = words.add_parser("token", help="fetch the token when it is due", allow_abbrev=False)
    token.add_argument("--show", action="store_true", help="print its expiry date only, ask nobody")
    token.add_argument("--renew", action="store_true", help="fetch a new one now")
    token.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Do one word."""
    clock = Clock()
    if args.word != "serve" and not settings.is_set("run.log_level"):
        logging.getLogger().setLevel(logging.CRITICAL)  # what is wrong is the one line at the end
    words = {"serve": serve, "setup": setup, "token": token}
    return words[args.word](args, settings, clock)


def serve(args: argparse.Namespace, settings: Settings, clock: Clock) -> int:
    """Serve until stopped; starts also while Enlighten or the Envoy are away."""
    from bridge.link.proxy_server import ProxyServer
    from bridge.peers.enphase_proxy import EnvoyProxy
    from bridge.wiring_enphase import envoy, rules

    listen = settings["enphase.listen"]
    if listen == "off":
        raise ConfigError("enphase serve: enphase.listen is off, so there is nothing to serve on; set it to host:port")
    stop_on_signals(clock)
    device = envoy(settings, clock)
    proxy = EnvoyProxy(device, rules(settings, listen, sys.stderr.isatty()), clock)
    server = ProxyServer(listen, proxy.handle)
    server.start()
    supervisor = notifier(settings)
    try:
        logging.getLogger("enphase").info("state=serving listen=%s envoy=%s", server.address, device.http.address.host)
        if device.keeper is not None:
            threading.Thread(target=device.keeper.run, name="keeper", daemon=True).start()
        supervisor.ready(f"serving {server.address}")
        while not clock.wait(LOOK_S):
            supervisor.alive(clock.monotonic())
    finally:
        supervisor.stopping()
        server.close()
        device.close()
    return EXIT_OK


def token(args: argparse.Namespace, settings: Settings, clock: Clock) -> int:
    """Print when the token ends; fetch one first when there is none or it is due."""
    from bridge.peers.enphase_errors import NoToken
    from bridge.peers.enphase_keeper import day
    from bridge.wiring_enphase import durable_dir, keeper

    keeping = keeper(settings, clock, durable_dir(settings))
    try:
        if args.renew:
            if keeping.fixed:
                raise ConfigError("enphase token --renew: enphase.jwt is set, so the cloud is never asked; remove it")
            keeping.renew()
        elif not args.show:
            keeping.tend()
            keeping.token()
        held = keeping.held
    finally:
        keeping.close()
    if held is None:
        raise NoToken("enphase token --show: no token is stored yet; sigen-bridge enphase token fetches one")
    if args.json:
        print(json.dumps({"schema": 1, "expires_at": held.expires_at, "renew_at": held.renew_at(),
                          "pasted": keeping.fixed, "owner": held.owner or None}))
    elif args.show:
        print(day(held.expires_at))
    else:
        whose = f", of an {held.owner} account" if held.owner else ""
        then = "paste a new one then" if keeping.fixed else f"renewed by itself from {day(held.renew_at())} on"
        print(f"token for the Envoy: ends {day(held.expires_at)}{whose}; {then}")
        if keeping.error:
            print(f"it is due, but could not be renewed: {keeping.error}")
    return EXIT_OK


def setup(args: argparse.Namespace, settings: Settings, clock: Clock) -> int:
    """Check everything once, pin the certificate, say where the sun is counted; raises the first thing wrong."""
    report = Setup(args, settings, clock)
    try:
        report.examine()
    finally:
        report.close()
        if args.json:
            print(json.dumps({"schema": 1, **report.facts}))
    return EXIT_OK


class Setup:
    """One visit; ``facts`` is what it found."""

    def __init__(self, args: argparse.Namespace, settings: Settings, clock: Clock) -> None:
        from bridge import wiring_enphase as parts

        self._args, self._settings, self._clock, self._parts = args, settings, clock, parts
        store: Any = parts.durable_dir(settings)
        self._judge = parts.pin(settings, parts.Unkept(store) if args.dry_run else store, keep=not args.dry_run)
        self._envoy = parts.envoy(settings, clock, args.dry_run, self._judge)
        self.facts: Dict[str, Any] = {}

    def examine(self) -> None:
        """Go from the address to the sun; raises BridgeError at the first thing that does not work."""
        envoy = self._envoy
        info = self._first_contact()
        kind = {True: "metered", False: "without meters"}.get(info.metered, "") if info.metered is not None else ""
        self._say(f"{envoy.peer}: Envoy {info.serial}, firmware {info.firmware} {kind}".rstrip(),
                  serial=info.serial, firmware=info.firmware, metered=info.metered)
        told = self._settings["enphase.serial"]
        if told and info.serial and told != info.serial:
            raise ConfigError(f"setting enphase.serial = {told}: the Envoy there is {info.serial}; correct one of them")
        if self._judge.seen:
            pinned = "would be pinned" if self._args.dry_run else "pinned"
            self._say(f"certificate: {pinned}, SHA-256 {self._judge.seen}", certificate=self._judge.seen)
        if envoy.keeper is not None:
            self._token()
        sun = self._parts.EnvoySource(envoy, self._clock, self._settings["enphase.interval_s"]).read()
        if sun.pv_w is None:
            self._say(f"sun: unknown ({sun.reason})", power_w=None)
        else:
            self._say(f"sun: {sun.pv_w:.0f} W by {sun.extras['by']}", power_w=sun.pv_w, by=sun.extras["by"])
        self._topology()

    def close(self) -> None:
        """Let go of the Envoy and the cloud."""
        self._envoy.close()

    def _first_contact(self) -> Any:
        from bridge.peers.enphase_errors import CertificateChanged

        try:
            return self._envoy.info()
        except CertificateChanged:
            if not self._args.accept_certificate:
                raise
            self._judge.accept()
            return self._envoy.info()

    def _token(self) -> None:
        from bridge.peers.enphase_errors import TokenRefused
        from bridge.peers.enphase_keeper import day

        keeper = self._envoy.keeper
        assert keeper is not None
        text = keeper.token()
        good = self._envoy.accepts(text) is not False
        if not good and keeper.refused(text):
            good = self._envoy.accepts(keeper.token()) is not False
        if not good:
            raise TokenRefused(f"{self._envoy.peer}: token refused by the Envoy (401); check enphase.serial")
        held = keeper.held
        ends = held.expires_at if held is not None else None
        self._say(f"token: accepted by the Envoy, ends {day(ends)}", expires_at=ends)

    def _topology(self) -> None:
        from bridge.sources.more_sun import sentence

        if not (self._settings["modbus.host"] or self._settings["modbus.serial"]):
            self._say("topology: not known, no plant is configured (modbus.host)", topology=None)
            return
        topology, parts = self._samples()
        self._say(f"topology: {sentence(topology)}{parts}", topology=topology)

    def _samples(self) -> Tuple[Optional[str], str]:
        """Read the plant and the Envoy side by side a few times."""
        more = self._parts.more_sun(self._settings, self._clock, FIRST_ANSWER_S, self._envoy)
        source = modbus_source(self._settings, self._clock, SAMPLES, more)
        topology, shown = None, ""
        try:
            for _ in range(SAMPLES):
                reading = source.read()
                topology = reading.extras.get("envoy_topology")
                shown = parts_text(reading.extras, reading.pv_w)
                if self._clock.wait(PLANT_PAUSE_S):
                    break
        except BridgeError as error:
            self._say(f"plant: {error}", plant=str(error))
        finally:
            source.close()
        return topology, shown

    def _say(self, line: str, **facts: Any) -> None:
        self.facts.update(facts)
        if not self._args.json:
            print(line, flush=True)


def parts_text(extras: Dict[str, Any], pv_w: Optional[float]) -> str:
    """Return the parts of the sun in words."""
    words: List[str] = []
    for name, key in (("plant's own", "pv_dc_w"), ("30194", "third_party_pv_w"), ("Envoy", "envoy_w")):
        power = extras.get(key)
        words.append(f"{name} {'unknown' if power is None else f'{power:.0f} W'}")
    return f" ({', '.join(words)}; sun shown {'unknown' if pv_w is None else f'{pv_w:.0f} W'})"
