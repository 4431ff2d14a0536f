"""Run a Python program as on a router that has only some packages of the OpenWrt feed.

usage: python3 -S -E feed_python.py "python3-light python3-logging ..." SCRIPT ARGUMENTS...
OpenWrt splits the standard library: what belongs to a package that is not named cannot be imported here
either. The table follows lang/python/python3/files/python3-package-*.mk of the feed.
"""

import runpy
import sys

SPLIT = {
    "python3-asyncio": ("asyncio",),
    "python3-cgi": ("cgi", "cgitb"),
    "python3-codecs": (
        "unicodedata",
        "_multibytecodec",
        "_codecs_cn",
        "_codecs_hk",
        "_codecs_iso2022",
        "_codecs_jp",
        "_codecs_kr",
        "_codecs_tw",
    ),
    "python3-ctypes": ("ctypes", "_ctypes"),
    "python3-dbm": ("dbm", "_dbm", "_gdbm"),
    "python3-decimal": ("decimal", "_decimal", "_pydecimal"),
    "python3-distutils": ("distutils",),
    "python3-email": ("email",),
    "python3-lib2to3": ("lib2to3",),
    "python3-logging": ("logging",),
    "python3-lzma": ("lzma", "_lzma"),
    "python3-multiprocessing": ("multiprocessing", "_multiprocessing"),
    "python3-ncurses": ("curses", "_curses", "_curses_panel"),
    "python3-openssl": ("ssl", "_ssl", "_hashlib"),
    "python3-pydoc": ("doctest", "pydoc", "pydoc_data"),
    "python3-readline": ("readline",),
    "python3-sqlite3": ("sqlite3", "_sqlite3"),
    "python3-unittest": ("unittest",),
    "python3-urllib": ("urllib",),
    "python3-uuid": ("uuid", "_uuid"),
    "python3-venv": ("venv", "ensurepip"),
    "python3-xml": ("xml", "xmlrpc", "pyexpat", "_elementtree"),
    "in no package": (
        "idlelib",
        "tkinter",
        "turtle",
        "turtledemo",
        "test",
        "site-packages",
        "pip",
        "setuptools",
    ),
}


class Absent:
    """Finder that knows nothing of what is not installed."""

    def __init__(self, names):
        self.names = frozenset(names)

    def find_spec(self, name, path=None, target=None):
        """Raise for a module of a package that is not there."""
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return


def main():
    """Hide what is not installed, then run the script."""
    installed = sys.argv[1].split()
    absent = [name for package, names in SPLIT.items() if package not in installed for name in names]
    loaded = [name for name in absent if name in sys.modules]
    assert not loaded, f"the interpreter itself loaded {loaded}; run it with -S -E"
    assert not any("site-packages" in place for place in sys.path), sys.path
    sys.meta_path.insert(0, Absent(absent))
    sys.argv = sys.argv[2:]
    runpy.run_path(sys.argv[0], run_name="__main__")


main()
