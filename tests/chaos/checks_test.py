#!/usr/bin/python3
"""Each check of the chaos run finds what it is for, and finds nothing where nothing is wrong."""

import itertools
import sys
import unittest
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

sys.path[:0] = [str(Path(__file__).resolve().parent)]

import checks  # pylint: disable=wrong-import-position
import situations  # pylint: disable=wrong-import-position

GOOD, GONE = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
offsets = itertools.count()


def event(topic, key, kind, ce_id, seq=0, offset=None, partition=0, **said):
    offset = next(offsets) if offset is None else offset
    return SimpleNamespace(topic=topic, key=str(key), type=kind, headers={"ce_id": ce_id}, json={"seq": seq, **said},
                           partition=partition, offset=offset)


def entries(order, *told):
    return [{"order_id": order, "sequence": number, "what": what, "cause": cause, "at": at}
            for number, (what, cause, at) in enumerate(told, 1)]


def seen():
    """Order 1 was delivered, and one of its two pieces came back; order 2 was cancelled before it had been charged, as
    its charge was slow. Some events came twice."""
    buyer = SimpleNamespace(id=7)

    def request(order, token):
        return SimpleNamespace(buyer=buyer, orders={order}, body={"paymentToken": token})
    return checks.Seen(
        requests=[request(1, "tok_approve"), request(2, "tok_timeout")],
        cancelled={2},
        refunds_wanted=[SimpleNamespace(order=1, given={"by-hand": 250}), SimpleNamespace(order=1, given={})],
        returns_accepted=[1],
        left={"orders": 0, "mails": 0},
        orders={1: {"id": 1, "uuid": GOOD, "user_id": 7, "status": "DELIVERED", "reason": None, "total_price": 2500},
                2: {"id": 2, "uuid": GONE, "user_id": 7, "status": "CANCELLED", "reason": "changed my mind",
                    "total_price": 2500}},
        timeline={1: entries(1, ("ORDER_CREATED", "CUSTOMER", 1.0), ("PAYMENT_COMPLETED", "p", 2.0),
                             ("ORDER_CONFIRMED", "p", 2.0)),
                  2: entries(2, ("ORDER_CREATED", "CUSTOMER", 1.0), ("ORDER_CANCELLED", "CUSTOMER", 2.0))},
        watched={2: [{"sequence": 1, "what": "ORDER_CREATED"}, {"sequence": 2, "what": "ORDER_CANCELLED"}]},
        payments={GOOD: {"captured": 2500, "refunded": 1500}, GONE: {"captured": 2500, "refunded": 2500}},
        refunds=[{"uuid": "by-hand", "order_uuid": GOOD, "source": "hand:1", "cause": "BY_HAND", "amount": 250,
                  "state": "DONE"},
                 {"uuid": "return", "order_uuid": GOOD, "source": "return:r", "cause": "RETURN", "amount": 1250,
                  "state": "DONE"},
                 {"uuid": "all", "order_uuid": GONE, "source": "cancellation", "cause": "ORDER_CANCELLED",
                  "amount": 2500, "state": "DONE"}],
        returns=[{"order_uuid": GOOD, "order_id": 1, "return_uuid": "r", "product_id": 3, "quantity": 1}],
        ledger={GOOD: {"captured": 2500, "refunded": 1500, "held": 0},
                GONE: {"captured": 2500, "refunded": 2500, "held": 0}},
        captures={GONE: 3.0},
        reservations={GOOD: {"state": "COMMITTED", "shortages": []}, GONE: {"state": "RETURNED", "shortages": []}},
        lines={GOOD: {3: {"quantity": 2, "returned": 1}}, GONE: {3: {"quantity": 2, "returned": 2}}},
        products={3: {"on_hand": 24, "reserved": 0, "received": 25}},
        movements={3: {"on_hand": 24, "reserved": 0}},
        shipments={GOOD: "DELIVERED", GONE: "CANCELLED"},
        events=[event("orders", 1, "ORDER_CREATED", "a", 1), event("orders", 1, "ORDER_CREATED", "a", 1),
                event("orders", 1, "ORDER_CONFIRMED", "b", 2), event("orders", 2, "ORDER_CREATED", "c", 1),
                event("orders", 2, "ORDER_CANCELLED", "d", 2), event("orders", 2, "ORDER_CANCELLED", "d", 2),
                event("payments", 1, "PAYMENT_REFUNDED", "e", refundUuid="return")],
        written={"a", "b", "c", "d", "e"},
        inbox={"stock": {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}},
        mails=["order-1-created@shop", "order-1-confirmed@shop", "order-2-created@shop", "order-2-cancelled@shop",
               "refund-return@shop"])


class TheChecks(unittest.TestCase):
    def found_by(self, spoil):
        spoiled = deepcopy(seen())
        spoil(spoiled)
        return set(checks.violations(spoiled))

    def test_find_nothing_where_nothing_is_wrong(self):
        self.assertEqual({}, checks.violations(seen()))

    def test_find_each_what_it_is_for(self):
        cases = {
            "everything_came_to_rest": lambda s: s.left.update(mails=1),
            "no_order_is_lost": lambda s: s.requests[0].orders.add(9),
            "a_request_made_one_order": lambda s: s.requests[0].orders.add(2),
            "every_order_was_asked_for": lambda s: s.requests.pop(),
            "every_order_was_published": lambda s: s.events.__delitem__(3),
            "every_event_is_on_its_topic": lambda s: s.written.add("y"),
            "every_order_has_ended": lambda s: s.orders[2].update(status="PENDING"),
            "what_was_cancelled_stays_cancelled": lambda s: s.cancelled.add(1),
            "who_can_pay_is_not_refused": lambda s: s.orders[2].update(reason="the payment failed: not found"),
            "stock_follows_the_order": lambda s: s.reservations[GONE].update(state="HELD"),
            "shipments_follow_the_order": lambda s: s.shipments.update({GONE: "PREPARING"}),
            "sequences_have_no_gap": lambda s: s.timeline[1].pop(1),
            "an_event_has_one_id": lambda s: s.events.append(event("orders", 1, "ORDER_CREATED", "x", 1)),
            "who_watches_an_order_sees_all_of_it": lambda s: s.watched[2].pop(),
            "every_change_has_its_mail": lambda s: s.mails.remove("order-2-cancelled@shop"),
            "nothing_has_drifted": lambda s: s.drift.append("stock_negative  product 3  -1 on hand, 0 reserved"),
            "one_mail_a_change": lambda s: s.mails.append("order-1-created@shop"),
        }
        for name, spoil in cases.items():
            with self.subTest(name):
                self.assertIn(name, self.found_by(spoil))

    def finds(self, name, spoils):
        for what, spoil in spoils.items():
            with self.subTest(what):
                self.assertIn(name, self.found_by(spoil))

    def test_find_money_that_does_not_follow_the_order(self):
        def both(uuid, **amounts):
            return lambda s: (s.ledger[uuid].update(amounts), s.payments[uuid].update(amounts))
        self.finds("money_follows_the_order", {
            "charged twice": both(GOOD, captured=5000),
            "kept for a cancelled order": both(GONE, refunded=0),
            "delivered and not paid": both(GOOD, captured=0),
            "given back twice": both(GOOD, refunded=1750),
            "still held": lambda s: s.ledger[GONE].update(held=2500),
            "unknown to payments": lambda s: s.payments[GOOD].update(captured=0),
            "of no order": lambda s: s.ledger.update({"none": {"captured": 5, "refunded": 0, "held": 0}}),
            "held of no order": lambda s: s.ledger.update({"none": {"captured": 0, "refunded": 0, "held": 5}}),
        })

    def test_find_refunds_that_were_not_promised_or_not_kept(self):
        self.finds("refunds_are_as_promised", {
            "never made": lambda s: s.refunds.pop(0),
            "of another amount": lambda s: s.refunds[0].update(amount=100),
            "two for one request": lambda s: s.refunds_wanted[0].given.update(another=250),
            "of which nobody was told": lambda s: s.refunds_wanted.pop(0),
            "more than was captured": lambda s: s.refunds[0].update(state="FAILED"),
        })

    def test_find_returns_that_do_not_come_back_once(self):
        self.finds("returns_come_back_once", {
            "no goods": lambda s: s.lines[GOOD][3].update(returned=0),
            "goods twice": lambda s: s.lines[GOOD][3].update(returned=2),
            "no money": lambda s: s.refunds.__delitem__(slice(0, 2)),
            "lost": lambda s: s.returns.clear(),
        })

    def test_find_stock_that_is_not_conserved(self):
        self.finds("stock_is_conserved", {
            "sold twice": lambda s: s.products[3].update(on_hand=25),
            "below zero": lambda s: s.products[3].update(on_hand=-1),
            "held for nobody": lambda s: s.products[3].update(reserved=1),
            "moved without a movement": lambda s: s.movements[3].update(on_hand=23),
        })

    def test_find_an_event_that_took_effect_twice(self):
        self.finds("an_event_takes_effect_once", {
            "in the timeline": lambda s: s.timeline[1].append(dict(s.timeline[1][1], sequence=4)),
            "in an outbox": lambda s: s.written_again.append("a"),
        })

    def test_find_a_gap_in_the_events(self):
        self.assertIn("sequences_have_no_gap", self.found_by(lambda s: s.events[2].json.update(seq=3)))

    def test_find_events_that_overtook_others_unless_the_run_did_it(self):
        spoiled = deepcopy(seen())
        spoiled.events[3].offset, spoiled.events[4].offset = spoiled.events[4].offset, spoiled.events[3].offset
        self.assertIn("events_come_in_their_order", checks.violations(spoiled))
        spoiled.shuffled.add(2)
        self.assertNotIn("events_come_in_their_order", checks.violations(spoiled))

    def test_allow_as_many_mails_again_as_had_an_unknown_outcome(self):
        again = deepcopy(seen())
        again.mails.append("order-1-created@shop")
        again.mails_in_doubt = 1
        self.assertEqual({}, checks.violations(again))


class TheSituations(unittest.TestCase):
    def counted(self, name, change=lambda s: None):
        changed = deepcopy(seen())
        change(changed)
        return situations.counts(changed)[name]

    def test_that_did_not_occur_are_not_counted(self):
        def calm(s):
            s.captures[GONE] = 1.5
        for name in (situation.__name__ for situation in situations.ALL):
            with self.subTest(name):
                self.assertEqual(0, self.counted(name, calm))

    def test_a_capture_after_the_cancel_counts_if_its_money_went_back(self):
        name = "a_capture_finished_after_the_cancel_and_the_money_went_back"
        self.assertEqual(1, self.counted(name))
        self.assertEqual(0, self.counted(name, lambda s: s.ledger[GONE].update(refunded=0)))

    def test_a_refusal_without_a_shortage_is_a_tombstone(self):
        def refuse(s, shortages=()):
            s.reservations[GONE] = {"state": "REJECTED", "shortages": list(shortages)}
            s.events.append(event("stock", 2, "STOCK_REJECTED", "f", orderUuid=GONE))
        name = "a_reservation_met_a_tombstone"
        self.assertEqual(1, self.counted(name, refuse))
        self.assertEqual(0, self.counted(name, lambda s: refuse(s, [{"product_id": 3}])))
        self.assertEqual(0, self.counted(name, lambda s: (refuse(s), s.events.pop())))

    def test_a_key_was_held_when_an_event_behind_it_came_first(self):
        name = "a_key_was_held_while_its_partition_went_on"
        self.assertEqual(1, self.counted(name, lambda s: s.inbox["stock"].update(b=5.0)))

        def elsewhere(s):
            s.inbox["stock"].update(b=5.0)
            s.events[2].partition = 1
        self.assertEqual(0, self.counted(name, elsewhere))


if __name__ == "__main__":
    unittest.main()
