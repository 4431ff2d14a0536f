#!/usr/bin/python3
"""Start sigen-bridge from its own directory; installed as /usr/bin/sigen-bridge.

Never writes bytecode: the package compiles its modules at installation and knows what to remove.
"""

import os
import sys

PREFIX = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
LIBRARY = os.path.join(PREFIX, "lib", "sigen-bridge")
EXIT_USAGE = 2

# Which package of the OpenWrt feed holds a module that python3-light lacks.
FEED = {
    "asyncio": "python3-asyncio",
    "email": "python3-email",
    "logging": "python3-logging",
    "ssl": "python3-openssl",
    "unicodedata": "python3-codecs",
    "uuid": "python3-uuid",
    "http": "python3-urllib",
    "pathlib": "python3-urllib",
    "urllib": "python3-urllib",
}
# Which of our own packages holds what the core package leaves out.
PARTS: dict = {}  # filled in when the package is made


def remedy(module: str) -> str:
    """Return what to install for a missing ``module``."""
    for part, package in PARTS.items():
        if module == part or module.startswith(part + "."):
            return f"this needs the package {package}; install it"
    package = FEED.get(module.partition(".")[0])
    if package is None or not os.path.exists("/etc/openwrt_release"):
        return "install the complete Python 3 of this system, or install sigen-bridge again"
    if os.path.exists("/etc/apk"):
        # python3-urllib brings email: as a dependency, or (newest) within itself.
        package = package.replace("python3-email", "python3-urllib")
        return f"install it: apk update && apk add {package}"
    return f"install it: opkg update && opkg install {package}"


def absent_part(verb: str) -> str:
    """Return the package that would bring the command ``verb``, or "" when it is here or nowhere."""
    here = os.path.exists(os.path.join(LIBRARY, "bridge", "commands", f"{verb}.py"))
    return "" if here else PARTS.get(f"bridge.commands.{verb}", "")


def start() -> int:
    """Run the command line; a missing module becomes one line instead of a traceback."""
    sys.dont_write_bytecode = True
    sys.path.insert(0, LIBRARY)
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    if absent_part(verb):
        sys.stderr.write(f"sigen-bridge: {verb} needs the package {absent_part(verb)}; install it\n")
        return EXIT_USAGE
    try:
        from bridge.cli import main

        return main()
    except ModuleNotFoundError as error:
        sys.stderr.write(f"sigen-bridge: Python module {error.name} is missing; {remedy(error.name or '')}\n")
        return EXIT_USAGE


if __name__ == "__main__":
    sys.exit(start())
