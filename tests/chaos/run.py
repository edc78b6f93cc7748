#!/usr/bin/python3
"""Many customers and few pieces, while processes die, stand still and events come twice; then what has to hold.

  tests/chaos/run.py --bin build/dev/bin --dir build/dev/chaos [--seconds 45] [--seed 7] [--customers 8]

Every process, PostgreSQL, Kafka, Redis, MongoDB and the payment provider among them, is killed with SIGKILL or
stopped and continued, in an order that follows from the seed; a share of all events is put on the topics twice.
Then everything is started, the run waits for quiet and looks from outside (checks.py). Exit status 1 when anything
does not hold; the stack's data and logs then stay in <dir>.
"""

import argparse
import json
import random
import re
import signal
import sys
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "e2e")]

import checks  # pylint: disable=wrong-import-position
from clients import Customers  # pylint: disable=wrong-import-position
from harness import REPO, Person, Stack, say, wait_for  # pylint: disable=wrong-import-position
from settings import PROCESSES, Settings  # pylint: disable=wrong-import-position
from trouble import Repeats, Trouble  # pylint: disable=wrong-import-position
import servers  # pylint: disable=wrong-import-position

TOPICS = ("orders", "stock", "payments", "shipments")
PUBLISHERS = ("orders", "stock", "payments", "shipping")
SERVERS = ("postgres", "kafka", "redis", "mongo")
# Short, so that an order has its whole life in a run.
SETTINGS = {"SHIPPING_DISPATCH_SECONDS": "1.5", "SHIPPING_DELIVERY_SECONDS": "1.5", "LOG_LEVEL": "warning"}
SHARE_REPEATED = 0.1
PIECES = (25, 60, 400, 400)  # of each product: few of some
QUIET = 240  # seconds until everything has to be at rest


class Databases:
    def __init__(self, shop):
        self.settings = Settings.read(shop.env_file)

    def rows(self, database, query):
        done = servers.psql(self.settings, database, self.settings.require("POSTGRES_PASSWORD"), database,
                            ["-XAtc", f"SELECT coalesce(json_agg(t), '[]') FROM ({query}) t"],
                            capture_output=True, text=True)
        if done.returncode:
            raise OSError(done.stderr)
        return json.loads(done.stdout)


def message_ids(shop):
    return [str(mail["Message-ID"]) for mail in shop.mails("", None)]


def look(shop, customers, products):
    """Everything that the checks need, from outside."""
    databases = Databases(shop)
    seen = checks.Seen(requests=customers.requests, cancelled=customers.cancelled)
    buyers = ",".join(str(person.id) for person in customers.people)
    seen.orders = {row["id"]: row for row in databases.rows(
        "orders", f"SELECT id, uuid, user_id, status, total_price FROM orders WHERE user_id IN ({buyers})")}
    for row in databases.rows("orders", "SELECT order_id, sequence FROM order_timeline ORDER BY order_id, sequence"):
        seen.timeline.setdefault(row["order_id"], []).append(row["sequence"])
    seen.payments = {row["order_uuid"]: row for row in databases.rows(
        "payments", PAYMENTS)}
    seen.ledger = {row["order_uuid"]: row for row in databases.rows("provider", LEDGER)}
    seen.reservations = {row["order_uuid"]: row["state"] for row in databases.rows(
        "products", "SELECT order_uuid, state FROM reservations")}
    held = defaultdict(dict)
    for row in databases.rows("products", "SELECT order_uuid, product_id, quantity FROM reservation_lines"):
        held[row["order_uuid"]][row["product_id"]] = row["quantity"]
    seen.held = dict(held)
    for row in databases.rows("products", "SELECT id, on_hand, reserved FROM products"):
        if row["id"] in products:
            seen.products[row["id"]] = row | {"received": products[row["id"]]}
    seen.movements = {row["product_id"]: row for row in databases.rows(
        "products", "SELECT product_id, sum(on_hand) AS on_hand, sum(reserved) AS reserved FROM stock_movements"
        " GROUP BY product_id")}
    seen.shipments = {row["order_uuid"]: row["status"] for row in databases.rows(
        "shipping", "SELECT order_uuid, state AS status FROM shipments")}
    seen.events = [event for topic in TOPICS for event in shop.events(topic)]
    seen.mails = message_ids(shop)
    # An attempt beyond the first, or one whose sender died, may have sent the mail before.
    seen.mails_in_doubt = databases.rows(
        "notification", "SELECT coalesce(sum(attempts - 1), 0) AS n FROM mail_jobs WHERE attempts > 1")[0]["n"]
    return seen


# What payments says of each order, and what the provider does.
PAYMENTS = """SELECT order_uuid, CASE charge WHEN 'CAPTURED' THEN p.amount ELSE 0 END AS captured,
  coalesce((SELECT sum(r.amount) FROM refunds r WHERE r.order_uuid = p.order_uuid AND r.state = 'DONE'), 0) AS refunded
  FROM payments p"""
LEDGER = "SELECT key AS order_uuid, captured, refunded FROM payments"


def at_rest(shop):
    """Whether nothing is under way any more."""
    databases = Databases(shop)
    waiting = databases.rows("orders", "SELECT count(*) AS n FROM orders WHERE status NOT IN ('DELIVERED', 'CANCELLED')")
    unpublished = [row["n"] for name in PUBLISHERS for row in databases.rows(
        name, "SELECT count(*) AS n FROM outbox WHERE published_at IS NULL")]
    queued = sum(shop.queued(process) for process in {"orders", "stock", "payments", "shipping", "notification"})
    mails = databases.rows("notification", "SELECT count(*) AS n FROM mail_jobs WHERE state = 'WAITING'")
    left = {"orders": waiting[0]["n"], "events": sum(unpublished), "lag": shop.lag(), "queued": queued,
            "mails": mails[0]["n"]}
    assert not any(left.values()), left
    return True


def start(args):
    shop = Stack(args.dir, args.bin)
    shop.start(SETTINGS)
    boss = Person.super_admin(shop)
    products = {boss.make_product(f"Chaos {pieces}", Decimal("12.50"), pieces): pieces for pieces in PIECES}
    people = [Person(shop) for _ in range(4)]
    return shop, people, products


def disturb(shop, customers, args):
    chance = random.Random(args.seed)
    trouble = Trouble(shop, [*PROCESSES, *SERVERS], chance.random())
    repeats = Repeats(shop, TOPICS, SHARE_REPEATED, chance.random())
    with ThreadPoolExecutor(args.customers + 2) as pool:
        running = [pool.submit(customers.run) for _ in range(args.customers)]
        running += [pool.submit(trouble.run), pool.submit(repeats.run)]
        threading.Event().wait(args.seconds)
        trouble.end()
        repeats.stop.set()
        for program in [*SERVERS, *PROCESSES]:  # supervision gives up on nobody, but may be slow
            wait_for(f"{program} to run", lambda program=program: shop.pid(program), 60)
        customers.stop.set()
        for done in running:
            done.result()
    return trouble, repeats


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bin", type=Path, default=REPO / "build/dev/bin")
    parser.add_argument("--dir", type=Path, default=REPO / "build/dev/chaos")
    parser.add_argument("--seconds", type=float, default=45)
    parser.add_argument("--seed", type=int, default=random.randrange(100_000))
    parser.add_argument("--customers", type=int, default=6)
    args = parser.parse_args()
    say(f"seed {args.seed}, {args.seconds:.0f} seconds")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    passed, shop = False, None
    try:
        shop, people, products = start(args)
        customers = Customers(people, list(products), args.seed)
        trouble, repeats = disturb(shop, customers, args)
        began = time.monotonic()
        wait_for("quiet", lambda: at_rest(shop), QUIET)
        quiet = time.monotonic() - began
        seen = look(shop, customers, products)
        wrong = checks.violations(seen)
        report(args, seen, trouble, repeats, quiet, wrong)
        passed = not wrong
    finally:
        if shop is not None:
            shop.script("down" if passed else "stop", check=False)
            if not passed:
                say(f"seed {args.seed}: data and logs are in {shop.folder}")
    sys.exit(0 if passed else 1)


def report(args, seen, trouble, repeats, quiet, wrong):
    ends = defaultdict(int)
    for order in seen.orders.values():
        ends[order["status"]] += 1
    kills = sum(what == "kill" for _, what, _ in trouble.done)
    print(f"seed {args.seed}: {len(seen.requests)} requests sent {sum(r.sent for r in seen.requests)} times,"
          f" {len(seen.orders)} orders ({', '.join(f'{n} {status}' for status, n in sorted(ends.items()))}),"
          f" {kills} kills, {len(trouble.done) - kills} pauses, {repeats.count} events repeated,"
          f" {len(seen.mails)} mails; quiet after {quiet:.0f} s")
    for check in checks.ALL:
        found = wrong.get(check.__name__, [])
        print(f"  {'FAILED' if found else 'holds '}  {re.sub('_', ' ', check.__name__)}")
        for sentence in found[:10]:
            print(f"            {sentence}")
        if len(found) > 10:
            print(f"            and {len(found) - 10} more")


if __name__ == "__main__":
    main()
