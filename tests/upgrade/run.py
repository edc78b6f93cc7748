#!/usr/bin/python3
"""The release before and this one side by side, on one database and one topic: an upgrade while orders are placed.

  tests/upgrade/run.py --bin build/dev/bin --dir build/dev/upgrade [--commit HEAD~3] [--services orders,stock]

Builds the services of an earlier commit, the one before the last that added a migration unless told otherwise. The
stack starts with these, so that the databases are theirs. Then a process of today's comes beside each, migrates, and both
serve and consume; an old one that is restarted has to work with the newer tables; then the old ones go. No request fails,
and in the end everything that was promised is there (the checks of `make chaos`). Exits 77 where there is no history.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "replicas"))

from fleet import Fleet, tell  # pylint: disable=wrong-import-position
from commits import build, git  # pylint: disable=wrong-import-position
from harness import REPO, say, wait_for  # pylint: disable=wrong-import-position
from load import Load  # pylint: disable=wrong-import-position
from rolling import carts_hold_what_was_added, restart  # pylint: disable=wrong-import-position
from sharing import handled  # pylint: disable=wrong-import-position

SERVICES = "orders,stock,payments,products,shipping"
JOBS = 2
SKIPPED = 77


def commit_before_the_last_migration():
    return git("rev-parse", git("log", "-1", "--format=%H", "--diff-filter=A", "--", "*/migrations/*.sql") + "^")


def mixed(folder, services, old, new):
    """A folder of executables: the services of before, all else of today."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for program in new.iterdir():
        (folder / program.name).symlink_to((old if program.name in services else new).resolve() / program.name)
    return folder


def served(member):
    """How many rpcs it has answered well."""
    return sum(value for sample, value in member.samples().items()
               if sample.startswith("rpc_handled_total{") and 'code="OK"' in sample)


def both_work(fleet, service):
    """Old and new answer calls and handle events, where the service has any."""
    for member in fleet.of(service):
        calls, events = served(member), sum(handled(member).values())
        assert calls or events, f"{member.name} has done nothing"
        say(f"{member.name}: {calls:.0f} calls, {events} events")
    return True


def upgrade(fleet, services, load):
    wait_for("orders to be placed", lambda: len(load.placed()) > 10, 120)
    fleet.start_others()
    say("the new release runs beside the old one")
    for service in services:
        wait_for(f"both of {service} to work", lambda service=service: both_work(fleet, service), 60)
    for service in services:
        old = fleet.of(service)[0]
        restart(old, fleet)  # on the tables of the new one
    placed = len(load.placed())
    wait_for("more orders to be placed", lambda: len(load.placed()) > placed + 15, 120)
    for service in services:
        wait_for(f"both of {service} to work", lambda service=service: both_work(fleet, service), 60)
    for service in services:
        fleet.shop.script("stop-program", service)
    placed = len(load.placed())
    wait_for("orders to be placed with the new release alone", lambda: len(load.placed()) > placed + 15, 120)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bin", type=Path, default=REPO / "build/dev/bin")
    parser.add_argument("--dir", type=Path, default=REPO / "build/dev/upgrade")
    parser.add_argument("--commit", default=None)
    parser.add_argument("--services", type=lambda text: text.split(","), default=SERVICES.split(","))
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        commit = git("rev-parse", args.commit) if args.commit else commit_before_the_last_migration()
    except subprocess.CalledProcessError:
        print("skipped: there is no history here")
        sys.exit(SKIPPED)
    say("the release before is " + git("log", "-1", "--format=%h %s", commit))
    os.nice(10)
    _, old = build(commit, args.dir / "before", "Debug", JOBS, [f"{service}_process" for service in args.services])
    fleet = Fleet(args.dir / "stack", mixed(args.dir / "bin", args.services, old, args.bin),
                  {service: 2 for service in args.services}, others=args.bin)
    passed = False
    try:
        fleet.start_first(people=9)
        load = Load(fleet.shop, fleet.people, fleet.products)
        load.start()
        upgrade(fleet, args.services, load)
        load.end()
        fleet.wait_for_quiet()
        wrong = load.failures + carts_hold_what_was_added(fleet, load) + fleet.violations(load.requests)
        passed = tell(wrong, "old and new worked side by side")
    finally:
        fleet.end(passed)
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
