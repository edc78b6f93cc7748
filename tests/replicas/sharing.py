#!/usr/bin/python3
"""Three processes of orders and of stock, two of payments, shipping and notification, under load: each has its share of
the events, nothing is done twice, and the share of one that is killed is taken over.

  tests/replicas/sharing.py --bin build/dev/bin --dir build/dev/sharing

At the end everything that was promised to clients has to be there, once (the checks of `make chaos`).
"""

import argparse
import re
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from fleet import Fleet, tell  # pylint: disable=wrong-import-position
from harness import REPO, say, wait_for  # pylint: disable=wrong-import-position
from load import Load  # pylint: disable=wrong-import-position
from processes import send  # pylint: disable=wrong-import-position
from settings import PROCESSES, TOPICS  # pylint: disable=wrong-import-position

COUNTS = {"orders": 3, "stock": 3, "payments": 2, "shipping": 2, "notification": 2}
# What docs/runbook.md promises: the share of a process that was killed is taken over within so many seconds.
TAKEN_OVER = 60


def labels(sample):
    return dict(re.findall(r'(\w+)="([^"]*)"', sample))


def held(member):
    """(group, topic, partition) of what it consumes."""
    found = [labels(sample) for sample in member.samples() if sample.startswith("consumer_lag{")]
    return {(one["group"], one["topic"], int(one["partition"])) for one in found}


def handled(member):
    """How many events took effect in it, by (group, topic)."""
    counts = {}
    for sample, value in member.samples().items():
        if sample.startswith("consumer_events_total{"):
            one = labels(sample)
            if one["outcome"] == "handled":
                counts[one["group"], one["topic"]] = counts.get((one["group"], one["topic"]), 0) + int(value)
    return counts


def check_shares(members, service):
    """Every partition of what the service consumes belongs to one of these."""
    shares = [held(member) for member in members]
    wanted = {(group, topic, partition) for group, topics in PROCESSES[service].groups.items() for topic in topics
              for partition in range(TOPICS[topic].partitions)}
    assert set.union(*shares) == wanted, f"of {service} nobody consumes {wanted - set.union(*shares)}"
    assert sum(map(len, shares)) == len(wanted), f"of {service} several consume the same: {shares}"
    assert all(shares), f"of {service} somebody consumes nothing: {shares}"
    return True


def check_work(fleet, service):
    """Each of a service's processes has handled events of orders, or of what follows from them."""
    for member in fleet.of(service):
        done = {key: count for key, count in handled(member).items() if key[1] != "users"}
        assert done, f"{member.name} has handled nothing"
        say(f"{member.name}: " + ", ".join(f"{count} of {topic} for {group}" for (group, topic), count in done.items()))
    return True


def kill_and_wait(fleet, service):
    """One of its processes dies and does not come back; answers how long it takes until the others have its share."""
    victim = fleet.of(service)[-1]
    others = [member for member in fleet.of(service) if member is not victim]
    victim.replica.end()
    began = time.monotonic()
    send(victim.pid(), "KILL")
    wait_for(f"the share of {victim.name} to be taken over", lambda: check_shares(others, service), TAKEN_OVER)
    return time.monotonic() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bin", type=Path, default=REPO / "build/dev/bin")
    parser.add_argument("--dir", type=Path, default=REPO / "build/dev/sharing")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    fleet = Fleet(args.dir, args.bin, COUNTS)
    passed = False
    try:
        fleet.start(people=9)
        load = Load(fleet.shop, fleet.people, fleet.products)
        load.start()
        for service in COUNTS:
            wait_for(f"the processes of {service} to share its partitions",
                     lambda service=service: check_shares(fleet.of(service), service), 60)
            wait_for(f"each process of {service} to handle events",
                     lambda service=service: check_work(fleet, service), 60)
        before_kills = list(load.failures)
        for service in ("stock", "orders"):
            say(f"the share of {service} was taken over after {kill_and_wait(fleet, service):.1f} s")
        load.end()
        fleet.wait_for_quiet()
        wrong = before_kills + fleet.violations(load.requests)
        passed = tell(wrong, "the work was shared, and nothing was done twice")
    finally:
        fleet.end(passed)
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
