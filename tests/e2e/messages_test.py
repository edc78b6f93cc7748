"""What an operator does about messages that went wrong, by the commands that make has for it."""

import re
import uuid
from decimal import Decimal

from case import Case
from harness import Person, say, wait_for


class ADeadEvent(Case):
    def test_is_listed_and_discarded_once_that_is_said(self):
        key, event_id = "999999001", str(uuid.uuid4())
        self.shop.publish("shipments", key, "{}", {"ce_id": event_id, "ce_type": "SHIPMENT_FORGOTTEN"})
        listed = wait_for("the event to be dead", lambda: re.search(
            rf"(orders-\d+)  dead  orders  SHIPMENT_FORGOTTEN  shipments key {key}\n.*ce_id {event_id}",
            self.shop.script("dead", quiet=True)))
        self.assertIn("Nothing was changed", self.shop.script("redrive", listed[1]))
        self.assertIn("Nothing was changed", self.shop.script("discard", listed[1]))
        self.assertIn(listed[1], self.shop.script("dead", "orders"))
        self.assertIn("is discarded", self.shop.script("discard", listed[1], "--apply"))
        self.assertIn("nothing is dead", self.shop.script("dead"))


class ATopicsEvents(Case):
    def test_are_published_again_and_change_nothing(self):
        product = self.boss.make_product("Twice told", Decimal("3.00"), 10)
        buyer = Person(self.shop)
        order = buyer.order(product, 2)
        self.assertEqual("PROCESSING", buyer.wait_until_decided(order))
        self.shop.wait_until_consumed()
        before = len(self.shop.events("orders", order))
        self.assertRegex(self.shop.script("republish", "orders"), r"\d+ events of orders.*\nNothing was changed")
        self.assertEqual(before, len(self.shop.events("orders", order)))
        say(self.shop.script("republish", "orders", "--apply"))
        wait_for("the events to come again", lambda: len(self.shop.events("orders", order)) == 2 * before)
        self.shop.wait_until_consumed()
        self.assertEqual("PROCESSING", buyer.status(order))
        self.assertEqual(8, self.stock_of(product))
        self.assertIn("no group stopped", self.shop.script("gaps"))
