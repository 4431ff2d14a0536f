"""Battery commands by way of the Sigenergy cloud, by REST or by MQTT: sent once, then looked at.

Never assumes that a command is carried out: an acknowledgement is the cloud's or the broker's, not the plant's.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence

from bridge.clock import Clock
from bridge.config import Settings
from bridge.control import battery_cloud
from bridge.control.battery import Command
from bridge.errors import BridgeError, Refused
from bridge.wiring_control import desk, rules

CLOUD_EFFECT_S = 45.0  # what the cloud takes to pass a command on, and the battery to follow
SHOWN_TOKEN = "(token)"


def send_by_cloud(settings: Settings, clock: Clock, command: Command, via: str, dry_run: bool) -> Dict[str, Any]:
    """Send one command to the cloud and look whether the plant follows; else as ``send_batch_by_cloud``."""
    return send_batch_by_cloud(settings, clock, [command], via, dry_run)


def send_batch_by_cloud(
    settings: Settings, clock: Clock, commands: Sequence[Command], via: str, dry_run: bool
) -> Dict[str, Any]:
    """Send a batch to the cloud; ``confirmed`` is None when it is unknown whether the plant follows, or too early.

    ``via`` is openapi or mqtt. A command at the cloud ends by its own duration. Raises Refused above the owner's
    limits, for more than 24, and in a mode in which it would be ignored.
    """
    from bridge.wiring_cloud import openapi

    system_id = settings["cloud.system_id"]
    bounded = [battery_cloud.within(command, rules(settings).site) for command in commands]
    batch = battery_cloud.batch(bounded, system_id, clock.now())
    if dry_run:
        return _shown(settings, batch, via)
    desk(settings, clock).keeper.rules.check()
    if not clock.synced():
        raise Refused("battery: this machine's clock is not set yet; no clock, no command")
    api = openapi(settings, clock)
    journal = desk(settings, clock).keeper.book.journal
    try:
        mode = api.mode()
        why = battery_cloud.mode_hindrance(mode.number, mode.label)
        if why:
            raise Refused(f"battery: {why}")
        _send(settings, clock, api, batch, via)
        for one in batch:
            journal.event("cli", "cloud", f"{one['activeMode']} by {via}", body=one)
        if bounded[0].start is not None:
            return {"via": via, "taken": True, "confirmed": None, "commands": batch}
        clock.wait(CLOUD_EFFECT_S)
        try:
            seen: Optional[bool] = battery_cloud.confirmed(bounded[0], api.energy_flow().battery_charge_kw)
        except BridgeError:
            seen = None
    finally:
        api.close()
    journal.event("cli", "effect", {True: "seen", False: "not seen", None: "not known"}[seen])
    return {"via": via, "taken": True, "confirmed": seen, "commands": batch}


def _send(settings: Settings, clock: Clock, api: Any, batch: List[Dict[str, Any]], via: str) -> None:
    if via == "mqtt":
        from bridge.wiring_mqtt import publish_commands

        publish_commands(settings, clock, batch)
        return
    from bridge.peers.sigen_commands import send_commands

    send_commands(api, batch, settings["cloud.system_id"])


def _shown(settings: Settings, batch: List[Dict[str, Any]], via: str) -> Dict[str, Any]:
    """Return what would be sent, without a token and without a connection."""
    if via == "mqtt":
        from bridge.peers.sigen_mqtt import COMMAND_TOPIC
        from bridge.wiring_mqtt import vendor_broker

        broker = vendor_broker(settings)
        body = {"accessToken": SHOWN_TOKEN, "commands": batch}
        return {"via": via, "method": "PUBLISH", "url": f"{broker.host}:{broker.port} {COMMAND_TOPIC}", "body": body}
    from bridge.peers.sigen_commands import shown_request

    request = shown_request(batch, settings["cloud.system_id"], settings["cloud.base_url"] or "https://(region)")
    return {"via": via, "method": request.method, "url": request.url, "body": request.body}
