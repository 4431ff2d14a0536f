"""What doctor can find, one row each: how bad it is and the one thing to do about it.

Pure. Never asks a device anything: who looked says what was seen, the row says what it means. No two rows
give the same advice, or the second one would be of no use.
"""

from __future__ import annotations

from typing import Mapping, NamedTuple

OK, NOTE, PROBLEM = "ok", "note", "problem"


class Finding(NamedTuple):
    """One line of the report: ``level`` is ok, note or problem; ``advice`` is empty where all is well."""

    level: str
    code: str
    what: str
    advice: str


class Rule(NamedTuple):
    """How bad a finding is, and what to do."""

    level: str
    advice: str


def finding(code: str, what: str, **facts: object) -> Finding:
    """Return the finding of a row; ``facts`` fill the gaps in its advice."""
    rule = RULES[code]
    return Finding(rule.level, code, what, rule.advice.format(**facts))


RULES: Mapping[str, Rule] = {
    # this machine
    "machine_ok":          Rule(OK, ""),
    "python_old":          Rule(PROBLEM, "run the bridge with Python 3.9 or later"),
    "module_missing":      Rule(PROBLEM, "install {package} (OpenWrt: opkg install {feed})"),
    "module_optional":     Rule(NOTE, "install {package} for one lasting WebSocket, or set shelly.transport = script"),
    "clock_not_set":       Rule(PROBLEM, "give this machine a time server (NTP); sun and grid are shown without it"),
    "state_not_writable":  Rule(PROBLEM, "let this user write to {path}, or set run.state_dir to a directory it may"
                                         " write to"),
    "state_on_flash":      Rule(PROBLEM, "set run.state_dir = /tmp/sigen-bridge: counters would wear out the flash"
                                         " at {path}"),
    "state_damaged":       Rule(PROBLEM, "delete {path}; it is written anew, but then leave the cloud alone for 5"
                                         " minutes"),
    # the running bridge
    "bridge_ok":           Rule(OK, ""),
    "bridge_not_running":  Rule(NOTE, "start it: systemctl start sigen-bridge, or /etc/init.d/sigen-bridge start"),
    "bridge_unhealthy":    Rule(PROBLEM, "deal with the plant's findings below; the bridge recovers by itself"),
    "bridge_sink_failing": Rule(PROBLEM, "deal with the Shelly's findings below; sigen-bridge status tells when it"
                                         " works again"),
    "bridge_silent":       Rule(PROBLEM, "restart the bridge, and report it if it hangs again"),
    "status_off":          Rule(NOTE, "set status.listen = 127.0.0.1:8502 so that the running bridge can be asked"),
    "status_foreign":      Rule(PROBLEM, "set status.listen to a port of this machine that is free"),
    "status_token":        Rule(PROBLEM, "run doctor with the bridge's own configuration file, whose status.token"
                                         " opens it"),
    # the way to the plant
    "plant_ok":            Rule(OK, ""),
    "plant_not_set":       Rule(PROBLEM, "give --host ADDRESS of the Sigenergy gateway, or --serial DEVICE for RS485"),
    "plant_name":          Rule(PROBLEM, "use the gateway's IP address in modbus.host, or correct the name"),
    "plant_no_route":      Rule(PROBLEM, "set modbus.host to an address of this network: no route leads to {host}"),
    "plant_unreachable":   Rule(PROBLEM, "check that the gateway has power and a network cable, and that {host} is"
                                         " still its address"),
    "plant_other_device":  Rule(PROBLEM, "look the gateway's address up in the router (MAC 0C:47:A9:9 or BC:31:98:D)"
                                         " and set modbus.host"),
    "plant_port":          Rule(PROBLEM, "set modbus.port = {port}: Modbus TCP answers there"),
    "modbus_off":          Rule(PROBLEM, "switch Modbus TCP Server on again in mySigen (Settings > System Settings >"
                                         " General) and save; firmware updates switch it off"),
    "plant_refused":       Rule(PROBLEM, "check modbus.host and modbus.port; if both are right, have the installer"
                                         " enable Modbus TCP"),
    "plant_hangs_up":      Rule(PROBLEM, "stop the other Modbus client (Home Assistant, evcc, a second bridge): the"
                                         " gateway has no place left"),
    "plant_resets":        Rule(PROBLEM, "switch the gateway off and on: its Modbus server resets every question"),
    "plant_closes":        Rule(PROBLEM, "switch Modbus TCP Server off and on in mySigen: it hangs up on every"
                                         " question"),
    "plant_silent":        Rule(PROBLEM, "allow THIS address in mySigen's Modbus TCP access list: {own}"),
    "plant_slow":          Rule(PROBLEM, "set modbus.timeout_s = 3, and look for weak Wi-Fi or power line on the way"),
    "plant_not_modbus":    Rule(PROBLEM, "point modbus.host and modbus.port at the gateway: what answers at {peer}"
                                         " is something else"),
    "plant_garbled":       Rule(PROBLEM, "connect straight to the gateway, without a Modbus proxy: its answers do"
                                         " not fit the questions"),
    "plant_unit":          Rule(PROBLEM, "set modbus.unit = {unit}"),
    "plant_no_registers":  Rule(PROBLEM, "use the address of the gateway: a single device answers here, which knows"
                                         " neither grid nor house"),
    "plant_function":      Rule(PROBLEM, "set modbus.function_code = {function}"),
    "plant_busy":          Rule(PROBLEM, "ask less often (poll.interval_s = 5) or end what else asks this gateway:"
                                         " it is busy"),
    "plant_exception":     Rule(PROBLEM, "restart the inverter; if the exception stays, show it to the installer"),
    "plant_gap":           Rule(PROBLEM, "set poll.min_gap_ms = 1000"),
    "plant_flaky":         Rule(PROBLEM, "check cable, switch and Wi-Fi between this machine and the gateway"),
    "plant_idle_close":    Rule(NOTE, "keep poll.interval_s at 1: a connection that rests is closed"),
    "plant_second":        Rule(NOTE, "nothing: the gateway takes one client, and the running bridge is it"),
    "two_on_lan":          Rule(PROBLEM, "take the inverter off the home network: only the gateway belongs there,"
                                         " both cause daily dropouts"),
    # what the plant says
    "data_ok":             Rule(OK, ""),
    "protocol_old":        Rule(NOTE, "ask the installer for a firmware update (SPC112 or later); until then the"
                                      " house load is computed"),
    "registers_missing":   Rule(NOTE, "report the firmware version together with sigen-bridge dump --all --json"),
    "remote_ems":          Rule(PROBLEM, "end it where it was begun (Home Assistant, evcc, Predbat), or run:"
                                         " sigen-bridge battery release"),
    "vpp":                 Rule(NOTE, "leave battery commands to the virtual power plant while it has the battery"),
    "off_grid":            Rule(NOTE, "wait for the grid, or close the main switch: the house runs on the battery"),
    "grid_sensor":         Rule(PROBLEM, "have the installer connect the grid meter: without it grid and house are"
                                         " unknown"),
    "meter_alarm":         Rule(PROBLEM, "check the meter's power and its RS485 cable: while the alarm stands grid"
                                         " and house are unknown"),
    "alarms":              Rule(PROBLEM, "read the alarm in mySigen and call the installer if it stays"),
    "grid_sign":           Rule(PROBLEM, "turn the grid meter's clamp round, or set modbus.grid_sign = inverted"),
    "grid_sign_setting":   Rule(PROBLEM, "remove modbus.grid_sign = inverted: the meter counts the right way round"),
    "balance":             Rule(PROBLEM, "look for what the plant does not measure: another inverter, a load behind"
                                         " the meter"),
    "impossible":          Rule(PROBLEM, "compare sigen-bridge dump with mySigen, and report the register with the"
                                         " firmware version"),
    "phase_sign":          Rule(PROBLEM, "have the electrician turn the clamp of that phase round"),
    "phase_sum":           Rule(PROBLEM, "have the electrician check that each phase has its clamp, and compare"
                                         " sigen-bridge dump --phases"),
    "phase_load":          Rule(PROBLEM, "have the electrician check which clamp is on which phase: sequence or"
                                         " direction is wrong"),
    "frozen":              Rule(PROBLEM, "switch the inverter off and on: it repeats old values"),
    "plant_clock":         Rule(NOTE, "set time and time zone of the plant in mySigen"),
    "plant_clock_unset":   Rule(NOTE, "connect the plant to the internet once, so that it gets the time"),
    # the RS485 line
    "serial_ok":           Rule(OK, ""),
    "serial_no_device":    Rule(PROBLEM, "plug the adapter in, or set modbus.serial to the name that dmesg shows"),
    "serial_permission":   Rule(PROBLEM, "add this user to the group dialout, then log in again"),
    "serial_not_a_port":   Rule(PROBLEM, "set modbus.serial to a serial device such as /dev/ttyUSB0"),
    "serial_gone":         Rule(PROBLEM, "plug the USB adapter in again, into another socket if it happens often"),
    "serial_in_use":       Rule(PROBLEM, "stop the other program that has this port open"),
    "serial_idle":         Rule(PROBLEM, "move the cable to the inverter's COM 15/16: this line is idle or RS485-2,"
                                         " not a slave"),
    "serial_swapped":      Rule(PROBLEM, "swap the two wires A+ and B-"),
    "serial_master":       Rule(PROBLEM, "use the inverter's COM 15/16: this port is a master (plant broadcast"
                                         " address 0, gateway P6)"),
    "serial_foreign":      Rule(PROBLEM, "disconnect the other master: only one may ask on an RS485 line"),
    "serial_noise":        Rule(PROBLEM, "check shield, 120 ohm termination and length of the cable: bytes come"
                                         " damaged"),
    "serial_silent":       Rule(PROBLEM, "check A+/B- at the inverter's COM 15/16 (not RJ45, not P6) and that RS485"
                                         " is enabled there"),
    "serial_device_only":  Rule(PROBLEM, "ask the installer to enable the plant address 247 on RS485: unit {unit}"
                                         " knows its inverter only"),
    "serial_settings":     Rule(PROBLEM, "set modbus.serial_unit = {unit} and modbus.baud = {baud}"),
    "serial_latency":      Rule(NOTE, "as root: echo 1 > {path}"),
    # the Shelly
    "shelly_ok":           Rule(OK, ""),
    "shelly_not_set":      Rule(NOTE, "give --shelly-host ADDRESS if the values are to be shown on a Shelly"),
    "shelly_name":         Rule(PROBLEM, "use the Shelly's IP address in shelly.host, or correct the name"),
    "shelly_no_route":     Rule(PROBLEM, "set shelly.host to an address of this network: no route leads to {host}"),
    "shelly_unreachable":  Rule(PROBLEM, "check that the Shelly has power and is on this network, and that {host} is"
                                         " still its address"),
    "shelly_refused":      Rule(PROBLEM, "check shelly.host: the device there has no web page on port {port}"),
    "shelly_silent":       Rule(PROBLEM, "switch the Shelly off and on: it takes connections and says nothing"),
    "shelly_not_http":     Rule(PROBLEM, "check the port in shelly.host: what answers at {peer} does not speak HTTP"),
    "shelly_other_device": Rule(PROBLEM, "look the Shelly's address up in the router and set shelly.host: another"
                                         " device answers at {peer}"),
    "shelly_gen1":         Rule(PROBLEM, "use another Shelly: Gen1 cannot show values (Gen3, Gen4 or Gen2 Pro can)"),
    "shelly_wrong_mac":    Rule(PROBLEM, "set shelly.host to the bound Shelly's new address, or shelly.mac = {mac}"),
    "shelly_model":        Rule(PROBLEM, "use a Gen3, Gen4 or Gen2 Pro Shelly: this model has no virtual components"),
    "shelly_firmware_old": Rule(PROBLEM, "update the Shelly's firmware to 1.4 or later: {version} has no virtual"
                                         " components"),
    "shelly_firmware_2_0": Rule(NOTE, "update the Shelly to 2.0.1 or later: 2.0.0 runs out of logins and loses"
                                      " WebSockets"),
    "shelly_password_none":Rule(PROBLEM, "set shelly.password"),
    "shelly_password_bad": Rule(PROBLEM, "correct shelly.password soon: each wrong try counts towards a lock-out"),
    "shelly_crowded":      Rule(PROBLEM, "wait some minutes and end other programs that log in to the Shelly anew"
                                         " for each call"),
    "shelly_failing":      Rule(PROBLEM, "restart the Shelly from its web page: it is there, but calls fail"),
    "shelly_websocket":    Rule(NOTE, "set shelly.transport = http: this Shelly refuses WebSockets"),
    "shelly_missing":      Rule(PROBLEM, "run: sigen-bridge shelly setup"),
    "shelly_full":         Rule(PROBLEM, "delete {count} virtual components that you do not need, the device holds"
                                         " 10; then set it up"),
    "shelly_foreign":      Rule(PROBLEM, "set shelly.first_id to five free ids, or shelly.adopt = yes to take these"
                                         " over"),
    "shelly_read_only":    Rule(PROBLEM, "delete the component on the Shelly's web page and let setup create it: it"
                                         " cannot be written"),
    "shelly_persisted":    Rule(PROBLEM, "let sigen-bridge shelly setup switch persisted off: a write a second wears"
                                         " the Shelly's flash"),
    "shelly_narrow":       Rule(PROBLEM, "let sigen-bridge shelly setup widen the range: larger values are cut off"),
    "shelly_no_group":     Rule(PROBLEM, "let sigen-bridge shelly setup make the group: only its members show on the"
                                         " Shelly's page"),
    "shelly_other_writer": Rule(PROBLEM, "find and stop what else writes {keys} (source {source})"),
    # MQTT: section is mqtt (the own broker) or sigen_mqtt
    "mqtt_ok":             Rule(OK, ""),
    "mqtt_unreachable":    Rule(PROBLEM, "check that the broker runs, {section}.host and {section}.port, and the"
                                         " firewall between"),
    "mqtt_port":           Rule(PROBLEM, "correct {section}.port: 1883 is usual for plain MQTT, 8883 with TLS"),
    "mqtt_ca":             Rule(PROBLEM, "set {section}.ca to the file of the CA that signed the broker's certificate"),
    "mqtt_hostname":       Rule(PROBLEM, "set {section}.host to the name that stands in the broker's certificate"),
    "mqtt_expired":        Rule(PROBLEM, "set this machine's clock; if it is right, the broker needs a new"
                                         " certificate"),
    "mqtt_certificate":    Rule(PROBLEM, "set {section}.cert and {section}.key to the pair that belongs to this"
                                         " broker"),
    "mqtt_settings":       Rule(PROBLEM, "correct that setting of [{section}]"),
    "mqtt_login":          Rule(PROBLEM, "correct mqtt.username and mqtt.password"),
    "mqtt_sink_failing":   Rule(PROBLEM, "allow this login to write below its base topic; mqtt publish tells what the"
                                         " broker says"),
    "sigen_mqtt_login":    Rule(PROBLEM, "check the application's MQTT access in the developer portal: no login with"
                                         " this AppKey is taken"),
    "mqtt_topics":         Rule(PROBLEM, "check cloud.app_key and cloud.system_id against the topics that the"
                                         " developer portal lists"),
    "mqtt_silent":         Rule(PROBLEM, "download this application's certificates anew, switch its data subscription"
                                         " on, and onboard the station"),
    # the cloud
    "cloud_ok":            Rule(OK, ""),
    "cloud_not_set":       Rule(NOTE, "set cloud.app_key and cloud.app_secret if the cloud shall step in when Modbus"
                                      " fails"),
    "cloud_incomplete":    Rule(PROBLEM, "set {missing}"),
    "cloud_login":         Rule(PROBLEM, "correct the cloud's credentials: {keys}"),
    "cloud_unreachable":   Rule(PROBLEM, "check this machine's internet access and cloud.region"),
    "cloud_limited":       Rule(NOTE, "ask again in {wait}: the cloud allows one call in 5 minutes"),
    "cloud_refused":       Rule(PROBLEM, "read what the cloud said and check the account in the developer portal"),
    "cloud_station":       Rule(PROBLEM, "set cloud.system_id to one of: {systems}"),
    # the Envoy
    "enphase_ok":          Rule(OK, ""),
    "enphase_incomplete":  Rule(PROBLEM, "set the account that owns the Envoy (enphase.username, password, serial) or"
                                         " enphase.jwt"),
    "enphase_unreachable": Rule(PROBLEM, "check that the Envoy has power and network, and that enphase.local_url is"
                                         " still its address"),
    "enphase_foreign":     Rule(PROBLEM, "look the Envoy's address up in the router and set enphase.local_url: no Envoy"
                                         " answers there"),
    "enphase_certificate": Rule(PROBLEM, "run: sigen-bridge enphase setup --accept-certificate, if the Envoy was"
                                         " updated or exchanged"),
    "enphase_serial":      Rule(PROBLEM, "set enphase.serial = {serial}: a token for another Envoy is refused"),
    "enphase_no_token":    Rule(NOTE, "run: sigen-bridge enphase setup, or doctor --cloud to see why no token comes"),
    "enphase_login":       Rule(PROBLEM, "correct enphase.username and enphase.password, or paste a token into"
                                         " enphase.jwt"),
    "enphase_cloud":       Rule(PROBLEM, "wait until Enlighten answers again; a token in enphase.jwt does without it"),
    "enphase_token":       Rule(PROBLEM, "run: sigen-bridge enphase token --renew (or paste a new one); after a"
                                         " firmware update this is usual"),
    "enphase_ending":      Rule(NOTE, "paste a new token into enphase.jwt before then"),
}
