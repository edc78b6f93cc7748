#!/usr/bin/python3
"""Each check of the chaos run finds what it is for, and finds nothing where nothing is wrong."""

import sys
import unittest
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

sys.path[:0] = [str(Path(__file__).resolve().parent)]

import checks  # pylint: disable=wrong-import-position

GOOD, GONE = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"


def event(topic, key, kind, ce_id, seq):
    return SimpleNamespace(topic=topic, key=str(key), type=kind, headers={"ce_id": ce_id}, json={"seq": seq})


def seen():
    """Order 1 was delivered, order 2 cancelled after it had been charged; an event of each came twice."""
    buyer = SimpleNamespace(id=7)
    return checks.Seen(
        requests=[SimpleNamespace(buyer=buyer, orders={1}), SimpleNamespace(buyer=buyer, orders={2})],
        cancelled={2},
        orders={1: {"id": 1, "uuid": GOOD, "user_id": 7, "status": "DELIVERED", "total_price": 1250},
                2: {"id": 2, "uuid": GONE, "user_id": 7, "status": "CANCELLED", "total_price": 2500}},
        timeline={1: [1, 2, 3], 2: [1, 2]},
        payments={GOOD: {"captured": 1250, "refunded": 0}, GONE: {"captured": 2500, "refunded": 2500}},
        ledger={GOOD: {"captured": 1250, "refunded": 0},
                GONE: {"captured": 2500, "refunded": 2500}},
        reservations={GOOD: "COMMITTED", GONE: "RETURNED"},
        held={GOOD: {3: 1}, GONE: {3: 2}},
        products={3: {"on_hand": 24, "reserved": 0, "received": 25}},
        movements={3: {"on_hand": 24, "reserved": 0}},
        shipments={GOOD: "DELIVERED", GONE: "CANCELLED"},
        events=[event("orders", 1, "ORDER_CREATED", "a", 1), event("orders", 1, "ORDER_CREATED", "a", 1),
                event("orders", 1, "ORDER_CONFIRMED", "b", 2), event("orders", 2, "ORDER_CREATED", "c", 1),
                event("orders", 2, "ORDER_CANCELLED", "d", 2), event("orders", 2, "ORDER_CANCELLED", "d", 2)],
        mails=["order-1-created@shop", "order-2-created@shop"])


class TheChecks(unittest.TestCase):
    def found_by(self, spoil):
        spoiled = deepcopy(seen())
        spoil(spoiled)
        return set(checks.violations(spoiled))

    def test_find_nothing_where_nothing_is_wrong(self):
        self.assertEqual({}, checks.violations(seen()))

    def test_find_each_what_it_is_for(self):
        cases = {
            "no_order_is_lost": lambda s: s.requests[0].orders.add(9),
            "a_request_made_one_order": lambda s: s.requests[0].orders.add(2),
            "every_order_was_asked_for": lambda s: s.requests.pop(),
            "every_order_was_published": lambda s: s.events.__delitem__(3),
            "every_order_has_ended": lambda s: s.orders[2].update(status="PENDING"),
            "what_was_cancelled_stays_cancelled": lambda s: s.cancelled.add(1),
            "stock_follows_the_order": lambda s: s.reservations.update({GONE: "HELD"}),
            "shipments_follow_the_order": lambda s: s.shipments.update({GONE: "PREPARING"}),
            "sequences_have_no_gap": lambda s: s.timeline.update({1: [1, 3]}),
            "an_event_has_one_id": lambda s: s.events.append(event("orders", 1, "ORDER_CREATED", "x", 1)),
            "one_mail_a_change": lambda s: s.mails.append("order-1-created@shop"),
        }
        for name, spoil in cases.items():
            with self.subTest(name):
                self.assertIn(name, self.found_by(spoil))

    def test_find_money_that_does_not_follow_the_order(self):
        spoils = {
            "charged twice": lambda s: (s.ledger[GOOD].update(captured=2500), s.payments[GOOD].update(captured=2500)),
            "kept for a cancelled order": lambda s: (s.ledger[GONE].update(refunded=0),
                                                     s.payments[GONE].update(refunded=0)),
            "delivered and not paid": lambda s: (s.ledger[GOOD].update(captured=0), s.payments[GOOD].update(captured=0)),
            "unknown to payments": lambda s: s.payments[GOOD].update(captured=0),
            "of no order": lambda s: s.ledger.update({"none": {"captured": 5, "refunded": 0}}),
        }
        for name, spoil in spoils.items():
            with self.subTest(name):
                self.assertEqual({"money_follows_the_order"}, self.found_by(spoil))

    def test_find_stock_that_is_not_conserved(self):
        spoils = {
            "sold twice": lambda s: s.products[3].update(on_hand=25),
            "below zero": lambda s: s.products[3].update(on_hand=-1),
            "held for nobody": lambda s: s.products[3].update(reserved=1),
            "moved without a movement": lambda s: s.movements[3].update(on_hand=23),
        }
        for name, spoil in spoils.items():
            with self.subTest(name):
                self.assertIn("stock_is_conserved", self.found_by(spoil))

    def test_find_a_gap_in_the_events(self):
        self.assertIn("sequences_have_no_gap", self.found_by(lambda s: s.events[2].json.update(seq=3)))

    def test_allow_as_many_mails_again_as_had_an_unknown_outcome(self):
        again = deepcopy(seen())
        again.mails.append("order-1-created@shop")
        again.mails_in_doubt = 1
        self.assertEqual({}, checks.violations(again))


if __name__ == "__main__":
    unittest.main()
