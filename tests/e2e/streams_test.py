"""What happens to an order, watched live through the gateway while processes die."""

import time
from decimal import Decimal

from case import Case
from event_stream import EventStream
from harness import Person, wait_for


class AnOrderIsWatched(Case):
    def setUp(self):
        super().setUp()
        self.buyer = Person(self.shop)
        product = self.boss.make_product("Watched", Decimal("12.50"), 10)
        self.order = self.buyer.order(product)
        self.timeline = EventStream(self.shop, self.buyer.token, f"/orders/{self.order}/watch")

    @staticmethod
    def next_of(stream):
        end = time.monotonic() + 60
        message = stream.next(lambda: time.monotonic() > end)
        assert message, f"nothing comes of {stream.path}"
        return message

    def until(self, what):
        """The entries up to the one that says so."""
        entries = [self.next_of(self.timeline)]
        while entries[-1]["what"] != what:
            entries.append(self.next_of(self.timeline))
        return entries

    def test_to_its_end_without_a_gap_or_a_repeat_while_gateway_and_orders_die(self):
        seen = self.until("ORDER_CONFIRMED")
        self.shop.script("kill-program", "gateway")
        wait_for("the gateway", lambda: self.shop.ready("gateway"), 60)
        self.boss.call("PUT", f"/orders/{self.order}/status", {"status": "SHIPPED"})
        seen += self.until("ORDER_SHIPPED")
        self.shop.script("kill-program", "orders")
        wait_for("orders", lambda: self.shop.ready("orders"), 60)
        # The gateway may need a moment to notice that it is back.
        wait_for("the order to be delivered",
                 lambda: self.boss.call("PUT", f"/orders/{self.order}/status", {"status": "DELIVERED"}).data)
        seen += self.until("ORDER_DELIVERED")

        self.assertEqual(list(range(1, len(seen) + 1)), [entry["sequence"] for entry in seen])
        self.assertEqual(self.buyer.call("GET", f"/orders/{self.order}/timeline").data["items"], seen)
        self.assertEqual(["error"], self.timeline.ends)  # orders died; a gateway that is killed says nothing

    def test_and_its_customer_is_told_once_a_change(self):
        notifications = EventStream(self.shop, self.buyer.token, "/notifications/subscribe")
        told = [self.next_of(notifications) for _ in range(2)]
        self.shop.script("kill-program", "notification")
        self.buyer.call("POST", f"/orders/{self.order}/cancel", {"reason": "ordered twice"})
        told += [self.next_of(notifications) for _ in range(2)]
        # The last two are of two topics.
        self.assertEqual(["ORDER_CREATED", "ORDER_CONFIRMED"], [one["what"] for one in told[:2]])
        texts = {one["what"]: one["text"] for one in told[2:]}
        self.assertEqual({"ORDER_CANCELLED", "PAYMENT_REFUNDED"}, set(texts))
        self.assertIn("was cancelled", texts["ORDER_CANCELLED"])
        self.assertEqual({self.order}, {one["orderId"] for one in told})
