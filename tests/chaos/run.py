#!/usr/bin/python3
"""Many customers and few pieces, while processes die, stand still and events come twice; then what has to hold.

  tests/chaos/run.py --bin build/dev/bin --dir build/dev/chaos [--seconds 45] [--seed 7] [--customers 6]

Every process, PostgreSQL, Kafka, Redis, MongoDB and the payment provider among them, is killed with SIGKILL or
stopped and continued, in an order that follows from the seed; a share of all events is put on the topics twice.
Orders and stock have a second process each. What chance seldom brings about is brought about (provoke.py). Then
everything is started, the run waits for quiet and looks from outside: what has to hold (checks.py), and which hard
situations it has been through (situations.py). Exit status 1 when anything does not hold or a situation did not
occur; the stack's data and logs then stay in <dir>.
"""

import argparse
import faulthandler
import random
import re
import signal
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e"), str(HERE.parents[1] / "deploy/local")]

import checks  # pylint: disable=wrong-import-position
import outside  # pylint: disable=wrong-import-position
import situations  # pylint: disable=wrong-import-position
from clients import Customers, Desk, Watcher  # pylint: disable=wrong-import-position
from databases import Databases  # pylint: disable=wrong-import-position
from harness import REPO, Person, Stack, say, wait_for  # pylint: disable=wrong-import-position
from processes import Folder, recorded_pid  # pylint: disable=wrong-import-position
from provoke import PIECES, Provoked  # pylint: disable=wrong-import-position
from replicas import Replica  # pylint: disable=wrong-import-position
from settings import PROCESSES, free_ports  # pylint: disable=wrong-import-position
from trouble import Repeats, Trouble  # pylint: disable=wrong-import-position

SERVERS = ("postgres", "kafka", "redis", "mongo")
TWICE = ("orders", "stock")  # services with a second process
# Short, so that an order has its whole life in a run; and a provider that takes its time, as they do.
SETTINGS = {"SHIPPING_DISPATCH_SECONDS": "1.5", "SHIPPING_DELIVERY_SECONDS": "1.5", "PROVIDER_ANSWER_MS": "150",
            "LOG_LEVEL": "warning"}
SHARE_REPEATED = 0.1
PIECES_OF_PRODUCTS = (25, 60, 400, 400)  # few of some
WATCHERS = 3
CALM = 120   # seconds that what is provoked may take once the trouble is over
LAST_LOOK = 20  # seconds in which somebody who watches an order sees its end, when all is at rest
QUIET = 240  # seconds until everything has to be at rest


# --- the run ------------------------------------------------------------------------------------

class Scene:
    """The stack, the second processes, people and goods."""

    def __init__(self, args):
        self.shop = Stack(args.dir, args.bin)
        self.replicas = []
        self.databases = None
        self.boss = None
        self.people = []
        self.products = {}  # id -> how many pieces there are
        self.pids = {}      # program -> a function that answers its process id

    def start(self):
        self.shop.prepare(SETTINGS)
        ports = iter(free_ports(2 * len(TWICE)))
        numbers = {service: (next(ports), next(ports)) for service in TWICE}
        # Calls are spread over both.
        both = f"127.0.0.1:{self.shop.port('orders')},127.0.0.1:{numbers['orders'][0]}"
        self.shop.change({"ORDERS_ADDR": f"ipv4:{both}"})
        self.shop.script("up")
        self.replicas = [Replica(self.shop, service, *numbers[service]) for service in TWICE]
        for replica in self.replicas:
            replica.start()
            wait_for(f"{replica.name} to be ready", replica.answers, 60)
        self.databases = Databases(self.shop)
        self.boss = Person.super_admin(self.shop)
        self.products = {self.boss.make_product(f"Chaos {pieces}", Decimal("12.50"), pieces): pieces
                         for pieces in PIECES_OF_PRODUCTS}
        self.people = [Person(self.shop) for _ in range(4)]
        self.pids = {name: partial(recorded_pid, Folder(self.shop.folder), name) for name in (*SERVERS, *PROCESSES)}
        self.pids |= {replica.name: replica.pid for replica in self.replicas}

    def end(self, passed):
        for replica in self.replicas:
            replica.end()
        self.shop.script("down" if passed else "stop", check=False)


class Run:
    """What happens on the scene, and what came of it."""

    def __init__(self, args, scene):
        self.args = args
        self.scene = scene
        self.shop = scene.shop
        self.databases = scene.databases
        chance = random.Random(args.seed)
        self.customers = Customers(scene.people, list(scene.products), args.seed)
        self.desk = Desk(scene.boss, self.customers)
        self.watched = {}
        self.watchers = [Watcher(self.shop, self.customers, self.watched) for _ in range(WATCHERS)]
        targets = {name: pid for name, pid in scene.pids.items() if not args.focus or name in args.focus}
        self.trouble = Trouble(targets, chance.random())
        self.repeats = Repeats(self.shop, outside.TOPICS, SHARE_REPEATED, chance.random())
        self.provoked = Provoked(self.shop, self.databases, self.customers, scene.pids, args.provoke)

    def disturb(self):
        for watcher in self.watchers:
            watcher.start()
        with ThreadPoolExecutor(self.args.customers + 4) as pool:
            working = [pool.submit(self.customers.run) for _ in range(self.args.customers)]
            working += [pool.submit(work) for work in (self.desk.run, self.trouble.run, self.repeats.run)]
            provoking = pool.submit(self.provoked.run)
            try:
                threading.Event().wait(self.args.seconds)
                self.trouble.stop.set()
                wait_for("everything to run", lambda: all(pid() for pid in self.scene.pids.values()), 90)
                wait_for("what is provoked to have occurred", provoking.done, CALM)
            except AssertionError as error:  # the report says which situation did not occur
                say(str(error))
            finally:  # also when the run itself is to stop
                self.trouble.stop.set()
                self.provoked.stop.set()
                self.repeats.stop.set()
                self.customers.stop.set()
            for done in [*working, provoking]:
                done.result()

    def wait_for_quiet(self):
        """Answers what is still under way when it does not come to rest."""
        left = {"looks from outside": 1}  # until one has succeeded

        def at_rest():
            nonlocal left
            left = outside.under_way(self.shop, self.databases)
            assert not any(left.values()), left
            return True
        try:
            wait_for("quiet", at_rest, self.args.quiet)
        except AssertionError as error:
            say(str(error))
        return left

    def end_watches(self):
        """Whoever has not seen the end of an order by now, while all is at rest, will not."""
        for watcher in self.watchers:
            watcher.end = time.monotonic() + LAST_LOOK
        for watcher in self.watchers:
            watcher.join()

    def look(self, left):
        self.end_watches()
        seen = checks.Seen(requests=self.customers.requests, cancelled=self.customers.cancelled,
                           refunds_wanted=self.desk.refunds, returns_accepted=self.desk.returns,
                           repeats_that_waited=self.customers.repeats_that_waited,
                           relays_taken_over=self.provoked.relays_taken_over, shuffled=self.provoked.shuffled,
                           watched=self.watched, left=left)
        outside.look(self.shop, self.databases, self.scene.people, self.scene.products, seen)
        return seen

    def report(self, seen, quiet, wrong, occurred):
        for check in checks.ALL:
            found = wrong.get(check.__name__, [])
            print(f"  {'FAILED' if found else 'holds '}  {in_words(check.__name__)}")
            for sentence in found[:10]:
                print(f"            {sentence}")
            if len(found) > 10:
                print(f"            and {len(found) - 10} more")
        for name, times in occurred.items():
            if times:
                print(f"  {times:5} ×  {in_words(name)}")
            else:
                print(f"  FAILED  it never occurred that {in_words(name)}: the run says nothing about it")
        print(self.summary(seen, quiet, wrong, occurred))

    def summary(self, seen, quiet, wrong, occurred):
        """One line, for docs/testing.md."""
        ends = Counter(order["status"] for order in seen.orders.values())
        kills = sum(what == "kill" for _, what, _ in self.trouble.done)
        missing = [name for name, times in occurred.items() if not times]
        result = "everything held" if not wrong else "did not hold: " + ", ".join(map(in_words, wrong))
        if missing:
            result += "; did not occur: " + ", ".join(map(in_words, missing))
        return (f"{time.strftime('%Y-%m-%d')}, seed {self.args.seed}, {self.args.seconds:.0f} s:"
                f" {len(seen.requests)} requests sent {sum(r.sent for r in seen.requests)} times,"
                f" {', '.join(f'{n} {status}' for status, n in sorted(ends.items()))},"
                f" {len(self.watched)} watched, {sum(len(wanted.given) for wanted in seen.refunds_wanted)} refunds,"
                f" {len(seen.returns_accepted)} returns,"
                f" {kills} kills, {len(self.trouble.done) - kills} pauses, {self.repeats.count} events repeated,"
                f" {len(seen.mails)} mails; quiet after {quiet:.0f} s; situations"
                f" {'/'.join(map(str, occurred.values()))}; {result}")


def in_words(name):
    return re.sub("_", " ", name)


def words(text):
    return [word for word in text.split(",") if word]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bin", type=Path, default=REPO / "build/dev/bin")
    parser.add_argument("--dir", type=Path, default=REPO / "build/dev/chaos")
    parser.add_argument("--seconds", type=float, default=45)
    parser.add_argument("--seed", type=int, default=random.randrange(100_000))
    parser.add_argument("--customers", type=int, default=6)
    parser.add_argument("--focus", type=words, default=[], help="the programs that die and stand still; else all")
    parser.add_argument("--provoke", type=words, default=list(PIECES), help="some of " + ", ".join(PIECES))
    parser.add_argument("--quiet", type=float, default=QUIET, help="seconds until everything has to be at rest")
    return parser.parse_args()


def main():
    args = arguments()
    say(f"seed {args.seed}, {args.seconds:.0f} seconds")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    faulthandler.register(signal.SIGTERM, chain=True)  # says what every thread was at
    scene = Scene(args)
    passed = False
    try:
        scene.start()
        run = Run(args, scene)
        run.disturb()
        began = time.monotonic()
        seen = run.look(run.wait_for_quiet())
        wrong = checks.violations(seen)
        occurred = situations.counts(seen)
        run.report(seen, time.monotonic() - began, wrong, occurred)
        passed = not wrong and all(occurred.values())
    finally:
        scene.end(passed)
        if not passed:
            say(f"seed {args.seed}: data and logs are in {scene.shop.folder}")
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
