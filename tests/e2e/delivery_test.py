"""Bad days: many at once, twice, killed, and nobody there. Each ends as a good day does."""

import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

from case import Case
from harness import Person, say, wait_for
from settings import GROUPS, PROCESSES


class Deliveries(Case):
    """Verbs that the tests below share."""

    def decided(self, orders, limit=60):
        """How many of these (buyer, order) ended up where, once none is PENDING."""
        buyers = {buyer for buyer, _ in orders}
        wait_for(f"{len(orders)} orders to be decided", lambda: not any(
            buyer.call("GET", "/orders?status=PENDING&limit=1").data["total"] for buyer in buyers), limit)
        return dict(Counter(buyer.status(order) for buyer, order in orders))

    def created(self, order):
        return self.shop.events("orders", order, "ORDER_CREATED")

    def shipment(self, buyer, order):
        return wait_for(f"the shipment of order {order}",
                        lambda: buyer.call("GET", f"/shipments/{order}").data)

    def wait_for_mails(self, buyer, count):
        return wait_for(f"{count} mails to {buyer.email}",
                        lambda: len(self.shop.mails(buyer.email)) >= count, 60)


class TheLastPieces(Deliveries):
    def test_are_sold_once_to_those_who_came_first(self):
        pieces, wanted = 7, 40
        product = self.boss.make_product("Rare thing", Decimal("10.00"), pieces)
        buyers = [Person(self.shop) for _ in range(5)]
        with ThreadPoolExecutor(wanted) as pool:
            orders = list(pool.map(lambda n: (buyers[n % 5], buyers[n % 5].order(product)), range(wanted)))
        self.assertEqual({"PROCESSING": pieces, "CANCELLED": wanted - pieces}, self.decided(orders))
        wait_for("the stock to be 0", lambda: self.stock_of(product) == 0, 10)
        self.shop.wait_until_consumed()
        self.assertEqual(0, self.stock_of(product))
        for buyer, order in orders:
            state = buyer.call("GET", f"/orders/{order}").data
            self.assertEqual(state["status"] == "CANCELLED", bool(state.get("reason")), state)

    def test_are_not_given_to_an_order_that_cannot_have_all_its_lines(self):
        plenty = self.boss.make_product("Plenty", Decimal("1.00"), 50)
        few = self.boss.make_product("Few", Decimal("1.00"), 1)
        buyer = Person(self.shop)
        order = buyer.call("POST", "/orders", {"items": [
            {"productId": plenty, "quantity": 5}, {"productId": few, "quantity": 2}]}).data["id"]
        self.assertEqual("CANCELLED", buyer.wait_until_decided(order))
        self.shop.wait_until_consumed()
        self.assertEqual((50, 1), (self.stock_of(plenty), self.stock_of(few)))


class TheSameEventTwice(Deliveries):
    def repeated(self, group):
        return self.shop.metric(GROUPS[group], "consumer_events_total",
                                f'group="{group}"', 'outcome="repeated"')

    def test_changes_nothing(self):
        product = self.boss.make_product("Twice", Decimal("12.50"), 10)
        buyer = Person(self.shop)
        order = buyer.order(product, 2)
        self.assertEqual("PROCESSING", buyer.wait_until_decided(order))
        self.wait_for_mails(buyer, 1)
        self.shop.wait_until_consumed()
        before_shipment = self.shipment(buyer, order)
        before_order = buyer.call("GET", f"/orders/{order}").data
        before_events = Counter(event.type for topic in ("orders", "stock")
                                for event in self.shop.events(topic, order))
        self.assertEqual({"ORDER_CREATED": 1, "ORDER_CONFIRMED": 1, "STOCK_RESERVED": 1}, before_events)

        consumers = set(GROUPS) - {"auth"}
        repeats = {group: self.repeated(group) for group in consumers}
        again = self.created(order) + self.shop.events("stock", order)
        for event in again * 2:
            self.shop.publish_again(event)
        self.shop.wait_until_consumed()
        for group in consumers:
            self.assertEqual(repeats[group] + 2, self.repeated(group), f"{group} did not consume the repeats")

        after_events = Counter(event.type for topic in ("orders", "stock")
                               for event in self.shop.events(topic, order))
        self.assertEqual({"ORDER_CREATED": 3, "ORDER_CONFIRMED": 1, "STOCK_RESERVED": 3}, after_events,
                         "a repeat was answered with a new event")
        self.assertEqual(8, self.stock_of(product))
        self.assertEqual(before_shipment, self.shipment(buyer, order))
        self.assertEqual(before_order, buyer.call("GET", f"/orders/{order}").data)
        self.assertEqual(1, len(self.shop.mails(buyer.email)))


class WhileKafkaIsAway(Deliveries):
    def setUp(self):
        super().setUp()
        self.product = self.boss.make_product("Patience", Decimal("3.00"), 100)
        self.buyer = Person(self.shop)

    def tearDown(self):
        self.shop.script("start-program", "kafka")

    def test_orders_are_taken_and_all_arrive_afterwards(self):
        self.shop.script("stop-program", "kafka")
        orders = [self.buyer.order(self.product) for _ in range(20)]
        self.assertEqual({"PENDING"}, {self.buyer.status(order) for order in orders})
        self.shop.script("start-program", "kafka")

        self.assertEqual({"PROCESSING": 20}, self.decided([(self.buyer, order) for order in orders], 90))
        for order in orders:
            self.shipment(self.buyer, order)
        self.wait_for_mails(self.buyer, 20)
        self.shop.wait_until_consumed()
        self.assertEqual(20, len(self.shop.mails(self.buyer.email)))
        self.assertEqual(80, self.stock_of(self.product))
        ids = {str(order): set() for order in orders}
        for event in self.shop.events("orders", kind="ORDER_CREATED"):
            ids.get(event.key, set()).add(event.headers["ce_id"])
        self.assertEqual({1}, {len(found) for found in ids.values()}, ids)

    def test_an_order_whose_process_is_killed_before_it_published_is_published(self):
        self.shop.script("stop-program", "kafka")
        order = self.buyer.order(self.product, 3)
        self.shop.script("kill-program", "orders")
        self.shop.script("start-program", "kafka")

        event = wait_for("ORDER_CREATED of the killed process", lambda: self.created(order), 60)[0]
        self.assertEqual(3, event.json["items"][0]["quantity"])
        self.assertEqual("PROCESSING", self.buyer.wait_until_decided(order, 60))
        self.shop.wait_until_consumed()
        self.assertEqual(97, self.stock_of(self.product))
        self.assertEqual(1, len({event.headers["ce_id"] for event in self.created(order)}))
        self.assertEqual(1, len(self.shop.mails(self.buyer.email)))


class AProcessThatIsKilled(Deliveries):
    def test_comes_back_and_the_shop_goes_on(self):
        product = self.boss.make_product("Endurance", Decimal("5.00"), 1000)
        buyer = Person(self.shop)
        orders = []
        for process in PROCESSES:
            with self.subTest(process):
                before = self.shop.pid(process)
                self.assertTrue(before, f"{process} does not run")
                self.shop.script("kill-program", process)
                if process in ("stock", "shipping", "notification"):
                    orders.append(buyer.order(product))  # placed while nobody consumes it
                wait_for(f"{process} to be another process",
                         lambda process=process, before=before: self.shop.pid(process) not in (None, before))
                wait_for(f"{process} to be ready", lambda process=process: self.shop.ready(process), 60)
                # Those who call it may need a moment to notice that it is back.
                wait_for(f"an order through {process}", lambda: orders.append(buyer.order(product)) or True)
                self.assertEqual("PROCESSING", buyer.wait_until_decided(orders[-1], 60))
        self.assertEqual({"PROCESSING": len(orders)}, self.decided([(buyer, order) for order in orders]))
        for order in orders:
            self.shipment(buyer, order)
        self.wait_for_mails(buyer, len(orders))
        self.shop.wait_until_consumed()
        self.assertEqual(1000 - len(orders), self.stock_of(product))

    def test_while_many_order_loses_and_doubles_nothing(self):
        pieces = 100_000
        product = self.boss.make_product("Stress", Decimal("2.00"), pieces)
        buyer = Person(self.shop)

        def order_for(seconds):
            placed = []
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                answer = buyer.call("POST", "/orders", {"items": [{"productId": product, "quantity": 1}]})
                if answer.status == 201:
                    placed.append(answer.data["id"])
                else:
                    self.assertIn(answer.status, (503, 504), answer)
                time.sleep(0.05)  # a customer's pace; so that the mails are not what is waited for
            return placed

        with ThreadPoolExecutor(3) as pool:
            running = [pool.submit(order_for, 10) for _ in range(3)]
            for process in ("orders", "stock", "shipping", "notification"):
                self.shop.script("kill-program", process, check=False)
                wait_for(f"{process} to be back", lambda process=process: self.shop.ready(process), 60)
            orders = [order for done in running for order in done.result()]
        say(f"{len(orders)} orders were answered 201")
        self.assertGreater(len(orders), 20)

        self.assertEqual({"PROCESSING": len(orders)}, self.decided([(buyer, order) for order in orders], 90))
        # What was answered with an error may have been placed all the same: then it counts too.
        listed = buyer.call("GET", "/orders?limit=1").data["total"]
        self.assertGreaterEqual(listed, len(orders))
        self.wait_for_mails(buyer, listed)
        self.shop.wait_until_consumed()
        wait_for("the stock to be what was not sold", lambda: self.stock_of(product) == pieces - listed, 30)


class AProcessThatIsStopped(Deliveries):
    HOLDER = "LOCK TABLE outbox IN EXCLUSIVE MODE; SELECT pg_sleep(25)"

    def sql(self, text, check=True):
        return self.shop.script("psql", "orders", "--sql", text, check=check, quiet=True)

    def count(self, text):
        return int(re.search(r"(\d+) found", self.sql(f"SELECT count(*) || ' found' FROM {text}"))[1])

    def tearDown(self):
        self.shop.script("start-program", "orders", check=False)

    def test_answers_the_order_in_flight_and_publishes_it_before_it_ends(self):
        """Rpcs end first, then the consumers, and last the relay."""
        product = self.boss.make_product("In flight", Decimal("4.00"), 10)
        buyer = Person(self.shop)
        with ThreadPoolExecutor(3) as pool:
            # Nobody can write an event meanwhile: the order is in the middle of its transaction.
            pool.submit(self.sql, self.HOLDER, check=False)
            wait_for("the lock", lambda: self.count("pg_stat_activity WHERE state = 'active' AND"
                                                    " wait_event = 'PgSleep'") == 1)
            order = pool.submit(buyer.order, product)
            wait_for("the order to be under way", lambda: self.count(
                "pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT INTO outbox%'") == 1)
            stopped = pool.submit(self.shop.script, "stop-program", "orders")
            wait_for("orders to be stopping", lambda: '"stopping"' in self.shop.log("orders").read_text())
            self.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
            order = order.result()
            stopped.result()
        # No process lives that could have done it later.
        self.assertIsNone(self.shop.pid("orders"))
        self.assertEqual(0, self.count("outbox WHERE published_at IS NULL"))
        self.assertEqual(1, len(self.created(order)))
        self.assertNotIn("did not close in time", self.shop.log("orders").read_text())
        self.shop.script("start-program", "orders")
        wait_for("orders to be ready", lambda: self.shop.ready("orders"), 60)
        self.assertEqual("PROCESSING", buyer.wait_until_decided(order, 60))
