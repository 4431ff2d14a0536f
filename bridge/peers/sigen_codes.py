"""What the Sigenergy cloud means: its error codes, operating modes and regions, as tables.

Never does I/O and never judges an answer: that is ``sigen_errors``. Facts: the vendor's OpenAPI documents
and working third-party clients; where they disagree the row's note says so.
"""
# ruff: noqa: E501  (one row a line)

from __future__ import annotations

from typing import NamedTuple, Optional, Tuple

from bridge.errors import ConfigError

# Who has to act on a code.
CONFIG, UNSUPPORTED, DEVELOPER = "configuration", "unsupported", "developer account"
OWNER, PERMISSION, PENDING, VETO = "ownership", "permission", "pending approval", "veto"
TRANSIENT, RATE, AUTH = "transient", "rate limit", "login"

PENDING_APPROVAL, ALREADY_OR_FORBIDDEN = 1116, 1401
LOCKED_OUT, LOGIN_FAILED = 11002, 11003


class Code(NamedTuple):
    """One code inside an HTTP 200; ``hold_s`` is how long to leave the peer alone, 0 = no longer than usual."""

    code: int
    kind: str
    meaning: str
    advice: str
    hold_s: float = 0.0


# fmt: off
CODES: Tuple[Code, ...] = (
    Code(1000,  CONFIG,      "a parameter is illegal",                      "check cloud.system_id and the command; asking again will not help"),
    Code(1101,  CONFIG,      "wrong serial number",                         "check the device's serial number with 'cloud devices'"),
    Code(1102,  CONFIG,      "the station's registration is incomplete",    "finish commissioning in the mySigen app or ask the installer"),
    Code(1103,  OWNER,       "the station belongs to another VPP",          "leave the other VPP (offboard there) before this one can control it"),
    Code(1104,  TRANSIENT,   "the device is offline",                       "check the plant's internet connection; tried again later"),
    Code(1105,  UNSUPPORTED, "the plant's software does not support VPP",   "have the firmware updated"),
    Code(1106,  CONFIG,      "station not found",                           "check cloud.system_id (letters and digits, not the app's station number) and cloud.region"),
    Code(1107,  UNSUPPORTED, "only all-in-one units and inverters can do this", "name an inverter"),
    Code(1108,  CONFIG,      "no information about the station",            "check cloud.system_id and cloud.region"),
    Code(1109,  TRANSIENT,   "the plant did not carry out the remote call", "tried again later"),
    Code(1110,  RATE,        "asked more often than once in 5 minutes",     "wait; do not run a second client on the same station", 300.0),
    Code(1111,  PERMISSION,  "this station is not permitted for the account", "onboard it with 'cloud onboard', or have the owner grant access"),
    Code(1112,  OWNER,       "the station belongs to another VPP (Evergen)", "leave that VPP before this one can control it"),
    Code(1116,  PENDING,     "waiting for the owner's approval",            "the owner must click the link in Sigenergy's mail; then run 'cloud onboard' again"),
    Code(1200,  CONFIG,      "refused without an explanation (seen on offboard)", "look at the station's state in the developer portal"),
    Code(1201,  RATE,        "access restricted after too many requests",   "wait; stop other clients and repeated logins", 900.0),
    Code(1301,  CONFIG,      "client not found",                            "check the application in the developer portal"),
    Code(1302,  TRANSIENT,   "the station's status is abnormal",            "look at the plant in the mySigen app; tried again later"),
    Code(1303,  CONFIG,      "the client exists already",                   "use the application that exists in the developer portal"),
    Code(1304,  UNSUPPORTED, "the firmware does not match",                 "have the firmware updated"),
    Code(1401,  PERMISSION,  "no permission to operate this station",       "check cloud.system_id, onboard it with 'cloud onboard', or have the owner grant control"),
    Code(1402,  PERMISSION,  "no permission for this operation",            "have control granted to the application in the developer portal"),
    Code(1501,  TRANSIENT,   "the command failed in the plant",             "tried again later"),
    Code(1502,  TRANSIENT,   "internal error of the cloud",                 "tried again later"),
    Code(1503,  VETO,        "anti-backflow (no export) is enabled",        "the plant's export limit forbids it; change that setting in the app first"),
    Code(1504,  VETO,        "peak shaving is enabled",                     "the plant's peak shaving forbids it; change that setting in the app first"),
    Code(1600,  DEVELOPER,   "the invitation code is invalid",              "ask Sigenergy for a new invitation code"),
    Code(1601,  DEVELOPER,   "error in the account system",                 "contact Sigenergy's developer support"),
    Code(1602,  DEVELOPER,   "the account is registered already",           "sign in to the developer portal instead of registering"),
    Code(1603,  DEVELOPER,   "the account has not been reviewed yet",       "wait for the review (3-5 business days)"),
    Code(1604,  DEVELOPER,   "the developer is not approved",               "wait for the approval in the developer portal"),
    Code(11002, AUTH,        "locked after five wrong passwords",           "correct the credentials, then wait; nothing is tried meanwhile", 900.0),
    Code(11003, AUTH,        "authentication failed",                       "check app key and secret, or user name and password; the account may lack API access although the app lets it in", 900.0),
)
# fmt: on


class ModeRow(NamedTuple):
    """One operating mode of a station; ``settable`` says whether this program may ask for it."""

    number: int
    word: str
    label: str
    settable: bool


MODES: Tuple[ModeRow, ...] = (
    ModeRow(0, "msc", "Maximum self-consumption", True),
    ModeRow(1, "ai", "Sigen AI", False),
    ModeRow(2, "tou", "Time of use", False),
    ModeRow(5, "ffg", "Fully fed to grid", True),
    ModeRow(6, "vpp", "VPP", False),  # the VPP's provider alone sets it, by onboarding
    ModeRow(7, "remote", "Remote EMS", False),
    ModeRow(8, "nbi", "Northbound interface (NBI)", True),
    ModeRow(9, "custom", "Custom profile", False),
)


class Region(NamedTuple):
    """Host names of one region; None = unknown, the operator has to give it."""

    name: str
    openapi_host: str
    app_host: str
    mqtt_host: Optional[str]
    aliases: Tuple[str, ...]
    note: str


# fmt: off
REGIONS: Tuple[Region, ...] = (
    Region("eu",   "openapi-eu.sigencloud.com",   "api-eu.sigencloud.com",   "mqtt-eu.sigencloud.com",   ("europe", "mea", "me", "africa", "uk"), ""),
    Region("aus",  "openapi-aus.sigencloud.com",  "api-aus.sigencloud.com",  "mqtt-aus.sigencloud.com",  ("au", "anz", "nz", "australia"),  "MQTT may be mqtt-apac: sources disagree"),
    Region("apac", "openapi-apac.sigencloud.com", "api-apac.sigencloud.com", "mqtt-apac.sigencloud.com", ("asia",),                         ""),
    Region("us",   "openapi-us.sigencloud.com",   "api-us.sigencloud.com",   "mqtt-us.sigencloud.com",   ("na", "la", "latam", "usa"),      ""),
    Region("cn",   "openapi-cn.sigencloud.com",   "api-cn.sigencloud.com",   "mqtt-cn.sigencloud.com",   ("china",),                        "the app API may be api-cn.sigenergy.com: sources disagree"),
    Region("jp",   "openapi-jp.sigencloud.com",   "api-jp.sigencloud.com",   None,                       ("japan",),                        "only in third-party tables; unverified"),
)
# fmt: on
HOST_FAMILIES = ("openapi", "api")  # openapi-eu.… (vendor, newer clients) or api-eu.… (older clients)


def code_row(code: int) -> Code:
    """Return the table row of a code; an unknown code gets a row that says so."""
    for row in CODES:
        if row.code == code:
            return row
    return Code(code, CONFIG, "a code that is not in the vendor's list", "report it with the command used")


def region_named(name: str) -> Region:
    """Return the region of a name or alias, in any case; raises ConfigError that lists them."""
    wanted = name.strip().lower()
    for region in REGIONS:
        if wanted == region.name or wanted in region.aliases:
            return region
    known = ", ".join(f"{row.name} ({', '.join(row.aliases)})" for row in REGIONS)
    raise ConfigError(f"cloud.region {name!r} is not known; use one of: {known}; or set cloud.base_url")


def openapi_url(region: Region, family: str = "openapi") -> str:
    """Return the base URL of a region's OpenAPI; ``family`` is openapi or api, both are reported to work."""
    if family not in HOST_FAMILIES:
        raise ConfigError(f"the host family {family!r} is not known; use one of: {', '.join(HOST_FAMILIES)}")
    return "https://" + (region.openapi_host if family == "openapi" else region.app_host)


def mode_row(number: int) -> ModeRow:
    """Return the row of a mode number; an unknown number gets a row that says so and is not settable."""
    for row in MODES:
        if row.number == number:
            return row
    return ModeRow(number, str(number), f"unknown mode {number}", False)
