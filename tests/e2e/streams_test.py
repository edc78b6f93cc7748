"""What happens to an order, watched live through the gateway while processes die."""

import http.client
import json
from decimal import Decimal

from case import Case
from harness import Person, wait_for


class Stream:
    """Server-sent events of a path, from whatever gateway there is: comes back after the last id that it has seen,
    as browsers do."""

    def __init__(self, shop, token, path):
        self.shop = shop
        self.token = token
        self.path = path
        self.last_id = None
        self.response = None
        self.ends = []  # the events that ended a connection: bye, error

    def connect(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.shop.port("gateway"), timeout=30)
        headers = {"Authorization": f"Bearer {self.token}"}
        if self.last_id is not None:
            headers["Last-Event-ID"] = self.last_id
        connection.request("GET", "/api/v1" + self.path, headers=headers)
        response = connection.getresponse()
        if response.status != 200:
            raise ConnectionError(f"{response.status} {response.read()}")
        self.response = response
        return True

    def read_event(self):
        """The next event's fields; ConnectionError when the connection ends before there is one."""
        fields = {}
        while line := self.response.readline().decode():
            if line == "\n" and "data" in fields:
                return fields
            name, _, value = line.rstrip("\n").partition(": ")
            if name:
                fields[name] = value
        raise ConnectionError("the connection has ended")

    def next(self):
        """The next message, over as many connections as it takes."""
        while True:
            if self.response is None:
                wait_for(f"a stream of {self.path}", self.connect)
            try:
                fields = self.read_event()
            except (OSError, http.client.HTTPException):
                self.response = None
                continue
            if "event" in fields:
                self.ends.append(fields["event"])
                self.response = None
                continue
            self.last_id = fields["id"]
            return json.loads(fields["data"])


class AnOrderIsWatched(Case):
    def setUp(self):
        super().setUp()
        self.buyer = Person(self.shop)
        product = self.boss.make_product("Watched", Decimal("12.50"), 10)
        self.order = self.buyer.order(product)
        self.timeline = Stream(self.shop, self.buyer.token, f"/orders/{self.order}/watch")

    def until(self, what):
        """The entries up to the one that says so."""
        entries = [self.timeline.next()]
        while entries[-1]["what"] != what:
            entries.append(self.timeline.next())
        return entries

    def test_to_its_end_without_a_gap_or_a_repeat_while_gateway_and_orders_die(self):
        seen = self.until("ORDER_CONFIRMED")
        self.shop.script("kill-program", "gateway")
        wait_for("the gateway", lambda: self.shop.ready("gateway"), 60)
        self.boss.call("PUT", f"/orders/{self.order}/status", {"status": "SHIPPED"})
        seen += self.until("ORDER_SHIPPED")
        self.shop.script("kill-program", "orders")
        wait_for("orders", lambda: self.shop.ready("orders"), 60)
        self.boss.call("PUT", f"/orders/{self.order}/status", {"status": "DELIVERED"})
        seen += self.until("ORDER_DELIVERED")

        self.assertEqual(list(range(1, len(seen) + 1)), [entry["sequence"] for entry in seen])
        self.assertEqual(self.buyer.call("GET", f"/orders/{self.order}/timeline").data["items"], seen)
        self.assertEqual(["error"], self.timeline.ends)  # orders died; a gateway that is killed says nothing

    def test_and_its_customer_is_told_once_a_change(self):
        notifications = Stream(self.shop, self.buyer.token, "/notifications/subscribe")
        told = [notifications.next() for _ in range(2)]
        self.shop.script("kill-program", "notification")
        self.buyer.call("POST", f"/orders/{self.order}/cancel", {"reason": "ordered twice"})
        told += [notifications.next() for _ in range(2)]
        # The last two are of two topics.
        self.assertEqual(["ORDER_CREATED", "ORDER_CONFIRMED"], [one["what"] for one in told[:2]])
        texts = {one["what"]: one["text"] for one in told[2:]}
        self.assertEqual({"ORDER_CANCELLED", "PAYMENT_REFUNDED"}, set(texts))
        self.assertIn("was cancelled", texts["ORDER_CANCELLED"])
        self.assertEqual({self.order}, {one["orderId"] for one in told})
