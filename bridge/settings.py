"""Every setting of the program, one row each; the README's table is made from this one.

Never reads anything. ``key`` is ``section.name``: in the file ``[section] name``, as a flag
``--section-name``, in the environment ``SIGEN_BRIDGE_SECTION_NAME``, in UCI ``section.name``.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

from bridge.values import OneOf, duration, listen, number, optional, text, whole, yes_no

ENV_PREFIX = "SIGEN_BRIDGE_"
NOT_SETTINGS = ("SIGEN_BRIDGE_CONFIG", "SIGEN_BRIDGE_INSTANCE", "SIGEN_BRIDGE_TEST_STRICT")


class Setting(NamedTuple):
    """One setting; ``parse`` turns text into the typed value and raises ValueError with the reason."""

    key: str
    parse: Callable[[str], Any]
    default: Any
    help: str
    secret: bool = False
    aliases: Tuple[str, ...] = ()
    flag: Optional[str] = None


SETTINGS = (
    Setting("modbus.host",            text,                                     "",                 "address of the gateway, host or host:port", flag="--host"),
    Setting("modbus.port",            whole(1, 65535),                          502,                "Modbus TCP port of the gateway", flag="--port"),
    Setting("modbus.unit",            whole(1, 247),                            247,                "unit number of the plant over TCP", flag="--unit"),
    Setting("modbus.serial",          text,                                     "",                 "serial device for RS485; when set, TCP is not used", flag="--serial"),
    Setting("modbus.baud",            whole(300, 1_000_000),                    38400,              "baud rate of the serial line (8N1)", flag="--baud"),
    Setting("modbus.serial_unit",     whole(1, 247),                            1,                  "unit number on the serial line; 1 and 247 are probed too"),
    Setting("modbus.engine",          OneOf("auto", "builtin", "pymodbus"),     "auto",             "Modbus implementation: auto, builtin or pymodbus"),
    Setting("modbus.timeout_s",       number(0.05, 30),                         0.8,                "seconds to wait for an answer"),
    Setting("modbus.function_code",   OneOf("auto", "3", "4"),                  "auto",             "read function: auto is 4 for 3xxxx and 3 for 4xxxx"),
    Setting("modbus.address_offset",  whole(-40001, 40001),                     0,                  "added to printed register numbers on the wire"),
    Setting("modbus.vendor",          text,                                     "sigenergy",        "register map: a module of bridge.registers"),
    Setting("modbus.grid_sign",       OneOf("auto", "normal", "inverted"),      "auto",             "auto warns when the meter seems the wrong way round, inverted flips it"),
    Setting("poll.interval_s",        number(0, 3600),                          1.0,                "seconds between two readings; 0 is without pause, for benches"),
    Setting("poll.min_gap_ms",        whole(0, 5000),                           0,                  "least pause between two requests; 1000 is the vendor's strict text"),
    Setting("shelly.host",            text,                                     "",                 "address of the Shelly, host or host:port"),
    Setting("shelly.password",        text,                                     "",                 "password of the Shelly, if it has one", secret=True),
    Setting("shelly.transport",       OneOf("auto", "ws", "http", "script"),    "auto",             "auto is one WebSocket where possible, else HTTP; script is one request a cycle"),
    Setting("shelly.first_id",        whole(200, 295),                          200,                "number:ID of the first of the five components"),
    Setting("shelly.heartbeat_s",     duration,                                 60.0,               "rewrite all five at least this often"),
    Setting("shelly.deadband_w",      number(0, 10000),                         0.0,                "smaller changes of a power are not written"),
    Setting("shelly.mac",             text,                                     "",                 "write only to the Shelly with this MAC"),
    Setting("shelly.adopt",           yes_no,                                   False,              "write to components that somebody else owns"),
    Setting("shelly.freshness",       text,                                     "",                 "component that shows source and age, such as text:200 or boolean:200"),
    Setting("cloud.region",           text,                                     "",                 "Sigenergy region, no default: eu, aus, apac, us, cn, jp or an alias", aliases=("SIGEN_REGION",)),
    Setting("cloud.base_url",         text,                                     "",                 "OpenAPI address, when it is not the region's own"),
    Setting("cloud.host_family",      OneOf("openapi", "api"),                  "openapi",          "openapi-REGION or the older api-REGION host names"),
    Setting("cloud.app_base_url",     text,                                     "",                 "address of the app API, when it is not the region's own"),
    Setting("cloud.app_key",          text,                                     "",                 "AppKey of the developer portal", aliases=("SIGEN_APP_KEY",)),
    Setting("cloud.app_secret",       text,                                     "",                 "AppSecret of the developer portal", secret=True, aliases=("SIGEN_APP_SECRET",)),
    Setting("cloud.system_id",        text,                                     "",                 "systemId of the plant in the OpenAPI (letters and digits)", aliases=("SIGEN_SYSTEM_ID",)),
    Setting("cloud.username",         text,                                     "",                 "mySigen account, instead of an AppKey", aliases=("SIGEN_USER",)),
    Setting("cloud.password",         text,                                     "",                 "password of that account", secret=True, aliases=("SIGEN_PASS",)),
    Setting("cloud.password_encoded", text,                                     "",                 "the same as the web app sends it", secret=True, aliases=("SIGEN_PASS_ENC",)),
    Setting("cloud.device_id",        text,                                     "",                 "userDeviceId of the web app, 13 digits", aliases=("SIGEN_DEVICE_ID",)),
    Setting("cloud.bearer",           text,                                     "",                 "a ready token of the app API", secret=True, aliases=("SIGEN_BEARER",)),
    Setting("cloud.station_id",       text,                                     "",                 "stationId of the app API, digits only", aliases=("STATION_ID",)),
    Setting("cloud.user_agent",       text,                                     "Mozilla/5.0 (X11; Linux) sigen-bridge", "User-Agent; library names are refused by the vendor's firewall"),
    Setting("failover.enabled",       yes_no,                                   True,               "fall back to the cloud when it is configured and Modbus is lost"),
    Setting("failover.fall_after_s",  duration,                                 10.0,               "failing this long means that Modbus is lost"),
    Setting("failover.return_after_reads", whole(1, 100),                       3,                  "good Modbus reads in a row before the cloud is left"),
    Setting("control.enabled",        yes_no,                                   False,              "let the bridge write to the plant; without it nothing is ever written"),
    Setting("control.max_charge_w",   number(0, 1_000_000),                     0.0,                "most that may be charged with, W; 0 is what the plant is rated for"),
    Setting("control.max_discharge_w", number(0, 1_000_000),                    0.0,                "most that may be discharged with, W; 0 is what the plant is rated for"),
    Setting("control.max_export_w",   number(0, 1_000_000),                     0.0,                "most that may be fed into the grid, W; 0 is the limit that the plant has"),
    Setting("control.max_import_w",   number(0, 1_000_000),                     0.0,                "most that may be drawn from the grid, W; 0 is the limit that the plant has"),
    Setting("control.lease_minutes",  number(1, 360),                           60.0,               "how long a battery command lasts that names no time, minutes"),
    Setting("control.restore_backup_soc", yes_no,                               False,              "put the backup SOC (40046) back when the firmware loses it during a command"),
    Setting("amber.token",            text,                                     "",                 "Amber API token (psk_...)", secret=True, aliases=("AMBER_TOKEN",)),
    Setting("amber.base_url",         text,                                     "",                 "address of the Amber API, when it is not the public one"),
    Setting("amber.site_id",          text,                                     "",                 "Amber site, needed when the account has several", aliases=("AMBER_SITE_ID",)),
    Setting("amber.period_s",         duration,                                 300.0,              "Amber is asked for prices once in this time; answers are shared until then"),
    Setting("tariff.plan_name",       text,                                     "Amber Live",       "label of the plan in the Sigen app", aliases=("PLAN_NAME",)),
    Setting("tariff.interval",        whole(5, 30),                             30,                 "length of a slot in minutes: 30; 5 is refused unless forced", aliases=("INTERVAL",)),
    Setting("tariff.align",           OneOf("start", "end"),                    "end",              "key price rows by their start or their end", aliases=("ALIGN",)),
    Setting("tariff.advanced",        OneOf("off", "low", "predicted", "high"),  "predicted",       "which advanced price forecast to buy by; off is perKwh", aliases=("ADVANCED",)),
    Setting("tariff.use_current",     yes_no,                                   True,               "take the running slot from the live interval", aliases=("USE_CURRENT",)),
    Setting("tariff.sell",            OneOf("feedin", "spot"),                  "feedin",           "sell price: what feed-in pays, or the wholesale spot price"),
    Setting("tariff.sell_flat_c",     optional(number(-1000, 1000)),            None,               "flat sell price in c/kWh for a site without a feed-in channel"),
    Setting("tariff.buy_cap_c",       optional(number(-2000, 4000)),            None,               "highest buy price that is passed on, c/kWh"),
    Setting("tariff.buy_floor_c",     optional(number(-2000, 4000)),            None,               "lowest buy price that is passed on, c/kWh"),
    Setting("tariff.sell_cap_c",      optional(number(-2000, 4000)),            None,               "highest sell price that is passed on, c/kWh"),
    Setting("tariff.sell_floor_c",    optional(number(-2000, 4000)),            None,               "lowest sell price that is passed on, c/kWh"),
    Setting("tariff.timezone",        text,                                     "",                 "IANA zone of the station when it is not the Amber site's, such as Australia/Adelaide", aliases=("TZ_OVERRIDE",)),
    Setting("run.state_dir",          text,                                     "",                 "directory for small state files; default by platform"),
    Setting("run.log_level",          OneOf("debug", "info", "warning", "error"),  "info",          "least level that is logged"),
    Setting("run.source",             OneOf("auto", "modbus", "cloud", "mqtt"),  "auto",            "where readings come from: auto is Modbus, and the cloud when that is lost", flag="--source"),
    Setting("run.watchdog",           OneOf("auto", "off", "systemd", "procd"),  "auto",            "which supervisor is told that the loop makes progress"),
    Setting("status.listen",          listen,                                   "127.0.0.1:8502",   "where the status page and API are served, or off"),
    Setting("status.token",           text,                                     "",                 "token that remote callers must show", secret=True),
    Setting("mqtt.host",              text,                                     "",                 "MQTT broker that the readings are published to, host or host:port"),
    Setting("mqtt.port",              whole(1, 65535),                          1883,               "port of that broker; 8883 is usual with TLS"),
    Setting("mqtt.username",          text,                                     "",                 "user name at the broker"),
    Setting("mqtt.password",          text,                                     "",                 "password at the broker", secret=True),
    Setting("mqtt.tls",               yes_no,                                   False,              "encrypt the connection and check the broker's certificate"),
    Setting("mqtt.ca",                text,                                     "",                 "file with the broker's CA, when it is not a public one"),
    Setting("mqtt.cert",              text,                                     "",                 "client certificate file, when the broker wants one"),
    Setting("mqtt.key",               text,                                     "",                 "client key file that belongs to it"),
    Setting("mqtt.site",              text,                                     "",                 "name of this site in topics; default from the plant's serial number or host"),
    Setting("mqtt.base_topic",        text,                                     "sigen-bridge",     "first level of the topics"),
    Setting("mqtt.discovery",         text,                                     "homeassistant",    "discovery prefix of Home Assistant, or off"),
    Setting("mqtt.interval_s",        duration,                                 1.0,                "least seconds between two messages of changed values"),
    Setting("mqtt.deadband_w",        number(0, 10000),                         5.0,                "smaller changes of a power wait for the next heartbeat (a minute at most)"),
    Setting("sigen_mqtt.host",        text,                                     "",                 "broker of the Sigenergy cloud, when it is not the region's own"),
    Setting("sigen_mqtt.port",        whole(1, 65535),                          8883,               "port of that broker"),
    Setting("sigen_mqtt.tls",         yes_no,                                   True,               "encrypt the connection; only a simulated broker goes without"),
    Setting("sigen_mqtt.ca",          text,                                     "",                 "CA file of the developer portal's MQTT certificates"),
    Setting("sigen_mqtt.cert",        text,                                     "",                 "client certificate file from the same place"),
    Setting("sigen_mqtt.key",         text,                                     "",                 "client key file from the same place"),
    Setting("sigen_mqtt.username",    text,                                     "",                 "user name; default is the AppKey"),
    Setting("sigen_mqtt.password",    text,                                     "",                 "password; default is the current access token", secret=True),
    Setting("sigen_mqtt.client_id",   text,                                     "",                 "client id, when the developer portal assigns one"),
    Setting("sigen_mqtt.app_identifier", text,                                  "",                 "accepted and not used: the broker knows the AppKey, not this name"),
    Setting("sigen_mqtt.topic_order", OneOf("auto", "openapi", "appkey"),       "auto",             "spelling of the topics: openapi/period/KEY/ID, KEY/openapi/period/ID, or both until one answers"),
    Setting("sigen_mqtt.onboard",     yes_no,                                   False,              "onboard the station by itself when it is not; this hands over control"),
    Setting("sigen_mqtt.aliases",     text,                                     "",                 "names changed in the developer portal: THEIRS=VENDORS, ..., such as Solar=pvPowerW"),
    Setting("reserver.listen",        listen,                                   "off",              "host:port where the plant's registers are served read-only over Modbus TCP, or off"),
    Setting("enphase.local_url",      text,                                     "",                 "address of the Envoy, such as https://envoy.local", aliases=("ENPHASE_LOCAL_API_URL",)),
    Setting("enphase.remote_url",     text,                                     "",                 "address of Enlighten, when it is not the public one", aliases=("ENPHASE_REMOTE_API_URL",)),
    Setting("enphase.token_url",      text,                                     "",                 "address of the token service, when it is not the public one", aliases=("ENPHASE_TOKEN_URL",)),
    Setting("enphase.username",       text,                                     "",                 "Enlighten account (an e-mail address)", aliases=("ENPHASE_REMOTE_API_USERNAME",)),
    Setting("enphase.password",       text,                                     "",                 "password of that account", secret=True, aliases=("ENPHASE_REMOTE_API_PASSWORD",)),
    Setting("enphase.serial",         text,                                     "",                 "serial number of the Envoy", aliases=("ENPHASE_REMOTE_API_SERIALNO",)),
    Setting("enphase.jwt",            text,                                     "",                 "a ready token of the Envoy; the cloud is then never asked", secret=True, aliases=("ENPHASE_LOCAL_API_JWT",)),
    Setting("enphase.listen",         listen,                                   "127.0.0.1:8080",   "where the Envoy is served without a token"),
    Setting("enphase.cert_fingerprint", text,                                   "",                 "SHA-256 of the Envoy's certificate; empty pins the first one seen"),
    Setting("enphase.token_way",      OneOf("auto", "session", "tokens"),       "auto",             "how a token is fetched: entrez-auth-token by session, the token service, or whichever works"),
    Setting("enphase.allow",          text,                                     "",                 "paths that the proxy lets through, with commas between them; empty is all of them"),
    Setting("enphase.access_log",     OneOf("auto", "on", "off"),               "auto",             "a line in the log for each request of the proxy; auto is only on a terminal"),
    Setting("enphase.serve",          yes_no,                                   False,              "start the proxy with the service, too (OpenWrt)"),
    Setting("enphase.interval_s",     number(1, 3600),                          5.0,                "seconds between two looks at the Envoy's meter; without a meter it is at least 60"),
    Setting("enphase.topology",       OneOf("auto", "gateway", "pv", "load", "unseen"),  "auto",    "where the Envoy's sun already stands in the plant's numbers: docs/enphase.md"),
    Setting("loads.file",             text,                                     "",                 "file that describes the switchable loads (INI)"),
    Setting("loads.listen",           listen,                                   "127.0.0.1:8503",   "where sigen-bridge loads run tells how the loads stand, or off"),
    Setting("assistant.api_key",      text,                                     "",                 "key of the Anthropic API, for sigen-bridge assist", secret=True, aliases=("ANTHROPIC_API_KEY",)),
    Setting("assistant.model",        text,                                     "claude-sonnet-5-5", "model that answers"),
    Setting("assistant.base_url",     text,                                     "https://api.anthropic.com", "address of the Messages API", aliases=("ANTHROPIC_BASE_URL",)),
    Setting("assistant.max_tool_rounds", whole(0, 30),                          8,                  "how often the model may look something up for one question"),
    Setting("assistant.max_tokens",   whole(256, 32_000),                       4096,               "longest answer, tokens"),
    Setting("assistant.budget_tokens", whole(1_000, 10_000_000),                200_000,            "most that one run may use, tokens; those read from the prompt cache count a tenth"),
)


def variables() -> Dict[str, Setting]:
    """Return the settings by every name that an environment variable may give them."""
    by_name: Dict[str, Setting] = {}
    for row in SETTINGS:
        by_name[ENV_PREFIX + row.key.replace(".", "_").upper()] = row
        for alias in row.aliases:
            by_name[alias] = row
    return by_name
