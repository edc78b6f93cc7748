#!/usr/bin/python3
"""A backup of a stack whose customers go on ordering, and an empty stack that is made of it.

  tests/backup/run.py --bin build/dev/bin --dir build/dev/backup

Whatever was promised before the backup has to be there and come to its end. The payment provider is somebody else's and
is not set back with the shop: it has the money of orders that came after the backup, which docs/runbook.md foretells and
the reconciler has to find. It must find nothing else.
"""

import argparse
import shutil
import signal
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "replicas"))

from fleet import Fleet  # pylint: disable=wrong-import-position
import backup  # pylint: disable=wrong-import-position
import checks  # pylint: disable=wrong-import-position
import outside  # pylint: disable=wrong-import-position
from harness import PASSWORD, REPO, Person, say, wait_for  # pylint: disable=wrong-import-position
from load import Load  # pylint: disable=wrong-import-position
from processes import Folder  # pylint: disable=wrong-import-position
from settings import Settings  # pylint: disable=wrong-import-position

FORETOLD = "ledger_without_order"
# Of the checks of `make chaos` those that a set back shop has to pass: what is not there is its requests and its mails.
CHECKS = (checks.every_order_has_ended, checks.every_order_was_published, checks.every_event_is_on_its_topic,
          checks.stock_is_conserved, checks.stock_follows_the_order, checks.shipments_follow_the_order,
          checks.sequences_have_no_gap, checks.an_event_has_one_id, checks.an_event_takes_effect_once,
          checks.who_can_pay_is_not_refused)


def money_is_there_once(seen):
    wrong = []
    for order in seen.orders.values():
        captured = seen.ledger.get(order["uuid"], {"captured": 0})["captured"]
        if captured != order["total_price"]:
            wrong.append(f"order {order['id']} costs {order['total_price']}, and the provider has taken {captured}")
    return wrong


def order_a_lot(fleet, copy):
    """Answers the orders that were placed before the copy was begun, and all of them."""
    load = Load(fleet.shop, fleet.people, fleet.products)
    load.start()
    wait_for("orders to be placed", lambda: len(load.placed()) > 25, 120)
    before = load.placed()
    print(fleet.shop.script("backup", "--to", str(copy)))
    copied = len(load.placed())
    wait_for("more orders to be placed", lambda: len(load.placed()) > copied + 15, 120)
    load.end()
    fleet.wait_for_quiet()
    return before, load


def fill_a_cart(fleet):
    """Somebody who buys nothing; answers their session and what is in the cart."""
    person = Person(fleet.shop, "undecided")
    session = fleet.shop.call("POST", "/auth/login", {"email": person.email, "password": PASSWORD}).data
    for quantity, product in enumerate(fleet.products, 1):
        person.call("POST", "/cart/add", {"productId": product, "quantity": quantity}).data  # pylint: disable=expression-not-assigned
    return session, person.call("GET", "/cart").data["items"]


def cart_of(fleet, session):
    """What is in it, for who comes back with a session of before."""
    session = fleet.shop.call("POST", "/auth/refresh", {"refreshToken": session["refreshToken"]}).data
    return fleet.shop.call("GET", "/cart", token=session["accessToken"]).data["items"]


def copy_provider(fleet, copy):
    """As it is now: the provider is not set back."""
    file = backup.file_of(copy, "provider")
    file.unlink()
    with open(file, "wb") as dump:
        backup.tool("pg_dump", Folder(fleet.shop.folder), Settings.read(fleet.shop.env_file), "provider",
                    ["--format=custom"], stdout=dump)


def check_drift(fleet, seen):
    """The reconciler finds the money of orders that are gone, all of it, and nothing else."""
    gone = {uuid for uuid, ledger in seen.ledger.items()
            if uuid not in {order["uuid"] for order in seen.orders.values()} and ledger["captured"]}
    assert gone, "no order came after the backup, so nothing was tried"
    found = []

    def decided():
        found[:] = fleet.shop.reconcile().splitlines()
        return not any("could not" in line or "undecided" in line for line in found)
    wait_for("the reconciler to be through", decided, 90)
    told = [line for line in found if line.startswith(FORETOLD)]
    say(f"the reconciler: {found[-1]}")
    others = [line for line in found[1:-1] if not line.startswith(FORETOLD)]
    return others + ([] if len(told) == len(gone) else
                     [f"{len(gone)} orders are gone whose money the provider has, and the reconciler tells of {len(told)}"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bin", type=Path, default=REPO / "build/dev/bin")
    parser.add_argument("--dir", type=Path, default=REPO / "build/dev/backup")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    fleet = Fleet(args.dir, args.bin, {})
    copy = args.dir / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    passed = False
    try:
        fleet.start(people=9)
        session, cart = fill_a_cart(fleet)
        before, load = order_a_lot(fleet, copy)
        copy_provider(fleet, copy)
        fleet.shop.script("down")
        say("all is gone but the copy")
        fleet.shop.script("restore", "--from", str(copy))
        fleet.wait_for_quiet()

        seen = checks.Seen()
        outside.look(fleet.shop, fleet.databases, fleet.people, fleet.products, seen)
        wrong = load.failures + [f"order {order} was answered 201 before the backup and is gone"
                                 for order in before if order not in seen.orders]
        for check in (*CHECKS, money_is_there_once):
            wrong += [f"{check.__name__}: {sentence}" for sentence in check(seen)]
        wrong += check_drift(fleet, seen)
        if (held := cart_of(fleet, session)) != cart:
            wrong.append(f"a cart that held {cart} holds {held}")
        print(fleet.shop.script("audit"))  # fails unless each log is whole
        say(f"{len(load.placed())} orders, {len(before)} before the backup, {len(seen.orders)} after the restore")
        for sentence in wrong[:40]:
            print(sentence)
        customer = Person(fleet.shop, email_address=fleet.people[0].email)  # with the password of before
        order = customer.order(next(iter(fleet.products)))
        if customer.wait_until_decided(order) != "PROCESSING":
            wrong.append("a new order does not go on")
        passed = not wrong
        print("everything from before the backup is there, and went on" if passed else f"{len(wrong)} things are wrong")
    finally:
        fleet.end(passed)
        if passed:
            shutil.rmtree(copy, ignore_errors=True)
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
