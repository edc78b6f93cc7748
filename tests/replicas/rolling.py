#!/usr/bin/python3
"""Two processes of everything, restarted one after another under load: no request fails and no event is lost.

  tests/replicas/rolling.py --bin build/dev/bin --dir build/dev/rolling [--only gateway,orders]

The load is clients that keep their connections and send each request once. A process is restarted by SIGTERM as a
rollout does it: the next one's turn comes when this one is ready again and its clients have found it. At the end
everything that was promised to clients has to be there (the checks of `make chaos`).
"""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from fleet import Fleet, tell  # pylint: disable=wrong-import-position
from harness import REPO, say, wait_for  # pylint: disable=wrong-import-position
from load import Load  # pylint: disable=wrong-import-position
from settings import SERVICES  # pylint: disable=wrong-import-position

PATIENCE = 60  # seconds for one process to be up again


def restart(member, fleet):
    """Ends it, and waits until it is there again and who had called it is connected again."""
    pid, clients = member.pid(), member.clients()
    began = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    wait_for(f"{member.name} to be up again", lambda: member.pid() not in (None, pid) and member.ready(), PATIENCE)
    if member.service != "gateway":  # whose clients come and go
        alive = {other.pid() for other in fleet.members}
        wait_for(f"its clients to have found {member.name}",
                 lambda: (clients & alive) <= member.clients(), PATIENCE)
    say(f"{member.name} was restarted in {time.monotonic() - began:.1f} s")


def carts_hold_what_was_added(fleet, load):
    wrong = []
    for person in fleet.people:
        held = person.call("GET", "/cart").data["totalItems"]
        if held != load.added[person.id]:
            wrong.append(f"the cart of user {person.id} has {held} pieces, and {load.added[person.id]} were added")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bin", type=Path, default=REPO / "build/dev/bin")
    parser.add_argument("--dir", type=Path, default=REPO / "build/dev/rolling")
    parser.add_argument("--only", type=lambda text: text.split(","), help="the services whose processes are restarted")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    fleet = Fleet(args.dir, args.bin, {service: 2 for service in (*SERVICES, "gateway")})
    passed = False
    try:
        fleet.start(people=9)
        load = Load(fleet.shop, fleet.people, fleet.products)
        load.start()
        wait_for("orders to be placed", lambda: len(load.placed()) > 10, 120)
        for member in fleet.members:
            if not args.only or member.service in args.only:
                restart(member, fleet)
        load.end()
        fleet.wait_for_quiet()
        wrong = load.failures + carts_hold_what_was_added(fleet, load) + fleet.violations(load.requests)
        passed = tell(wrong, "no request failed, no event was lost")
    finally:
        fleet.end(passed)
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
