"""Take away what install made, and nothing else; settings that were changed since stay unless --purge."""

from __future__ import annotations

import argparse

from bridge.commands.install import (
    check_machine,
    confirm,
    load_record,
    look,
    machine_at,
    save_record,
    tell,
)
from bridge.config import Settings
from bridge.control.installation import plan_uninstall
from bridge.control.installed import RECORD, STATE_DIR, without_change
from bridge.errors import EXIT_OK

HELP = "take away what install made, and nothing else"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("--dry-run", action="store_true", help="say what would be removed and remove nothing")
    parser.add_argument("--yes", action="store_true", help="ask nothing")
    parser.add_argument("--purge", action="store_true",
                        help="also changed settings and what the bridge remembered")
    parser.add_argument("--root", default="", metavar="DIR", help="remove from a system image mounted at DIR")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Stop the service and remove what the record says was made for it."""
    host = machine_at(args.root)
    check_machine(host, "uninstall", args.dry_run)
    state, record = load_record(host)
    if record.empty:
        print("nothing to remove: install has made nothing here"
              " (a package goes with: sudo apt remove sigen-bridge)")
        return EXIT_OK
    remembered = [name for name in host.entries(STATE_DIR) if name != RECORD]
    plan = plan_uninstall(look(host), record, remembered, args.purge)
    if args.dry_run:
        tell(plan, "would ")
        return EXIT_OK
    if not args.yes:
        tell(plan, "will ")
    confirm(args.yes, "uninstall", "Stop the service and remove it?")
    for change in plan.changes:
        host.apply(change)
        record = without_change(record, change)
        if change.path != STATE_DIR:
            save_record(state, record)
        print(change.why, flush=True)
    for note in plan.notes:
        print(f"note: {note}")
    return EXIT_OK
