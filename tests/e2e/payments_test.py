"""Money: what the shop says of it, what the provider's ledger says, and that both agree whoever was killed."""

import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

from case import Case
from harness import Person, fetch, say, wait_for


class Payments(Case):
    """Verbs that the tests below share."""

    def ledger(self):
        """Every payment that the provider knows, by its key."""
        found, after = [], 0
        while after is not None:
            page = fetch(self.shop.port("provider"), f"/v1/ledger?limit=500&after={after}",
                         token=self.shop.settings["PROVIDER_API_KEY"]).json
            found += page["payments"]
            after = page.get("next")
        return {payment["key"]: payment for payment in found}

    def paid(self, buyer, order, limit=60):
        """The order's payment, once the provider has decided."""
        def decided():
            answer = buyer.call("GET", f"/payments/{order}")
            return answer.status == 200 and answer.data["status"] not in ("PENDING", "PROCESSING") and answer.data
        return wait_for(f"the payment of order {order} to be decided", decided, limit)

    def pay_with(self, buyer, product, token):
        return buyer.call("POST", "/orders", {"items": [{"productId": product, "quantity": 1}],
                                              "paymentToken": token}).data

    def told(self, order, kind):
        """The ids of the events of this type, of which a repeat has the same."""
        return {event.headers["ce_id"] for event in self.shop.events("payments", order, kind)}


class AnOrderIsPaid(Payments):
    def test_as_its_token_says_and_once_at_most(self):
        product = self.boss.make_product("Paid for", Decimal("12.50"), 100)
        buyer = Person(self.shop)
        wanted = {"tok_approve": None, "tok_timeout_charged": None, "tok_timeout": None, "tok_reset_charged": None,
                  "tok_late": None, "tok_twice": None, "tok_webhook_lost": None, "tok_decline": "card_declined",
                  "tok_insufficient_funds": "insufficient_funds", "tok_expired_card": "expired_card"}
        orders = {token: self.pay_with(buyer, product, token) for token in wanted}
        payments = {token: self.paid(buyer, order["id"]) for token, order in orders.items()}
        ledger = self.ledger()
        for token, code in wanted.items():
            with self.subTest(token):
                order, payment = orders[token], payments[token]
                self.assertEqual(code, payment.get("failureCode"))
                self.assertEqual("COMPLETED" if code is None else "FAILED", payment["status"])
                self.assertEqual(Decimal("12.50") if code is None else 0, payment["captured"])
                self.assertEqual(1250 if code is None else 0, ledger[order["uuid"]]["captured"])
                told, untold = ("PAYMENT_COMPLETED", "PAYMENT_FAILED")[::1 if code is None else -1]
                ids = wait_for(f"{told} of {token}", lambda kind=told, order=order: self.told(order["id"], kind))
                self.assertEqual((1, 0), (len(ids), len(self.told(order["id"], untold))))

    def test_with_a_token_that_a_provider_can_take(self):
        product = self.boss.make_product("Paid for in words", Decimal("1.00"), 100)
        buyer = Person(self.shop)
        longest = self.pay_with(buyer, product, "tok_approve." + "t" * 188)
        self.assertEqual("COMPLETED", self.paid(buyer, longest["id"])["status"])
        for token in ("€" * 200, "a token", "t" * 201):
            answer = buyer.call("POST", "/orders", {"items": [{"productId": product, "quantity": 1}], "paymentToken": token})
            self.assertEqual((400, "paymentToken"), (answer.status, answer.json["error"]["details"][0]["field"]))

    def test_once_whatever_is_killed_meanwhile(self):
        product = self.boss.make_product("Paid for in a storm", Decimal("3.00"), 1000)
        buyer = Person(self.shop)

        def order_for(seconds):
            placed = []
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                placed.append(buyer.call("POST", "/orders", {"items": [{"productId": product, "quantity": 1}]}).data)
                time.sleep(0.05)  # a customer's pace
            return placed

        with ThreadPoolExecutor(2) as pool:
            running = [pool.submit(order_for, 8) for _ in range(2)]
            for process in ("payments", "provider", "payments", "provider"):
                self.shop.script("kill-program", process, check=False)
                wait_for(f"{process} to be back", lambda process=process: self.shop.ready(process), 60)
            orders = [order for done in running for order in done.result()]
        say(f"{len(orders)} orders were answered 201")
        self.assertGreater(len(orders), 20)

        payments = [self.paid(buyer, order["id"], 120) for order in orders]
        self.assertEqual({"COMPLETED"}, {payment["status"] for payment in payments})
        ledger = self.ledger()
        self.assertEqual({300}, {ledger[order["uuid"]]["captured"] for order in orders})
        self.shop.wait_until_consumed()
        told = {}
        for event in self.shop.events("payments", kind="PAYMENT_COMPLETED"):
            told.setdefault(event.key, set()).add(event.headers["ce_id"])
        self.assertEqual({1}, {len(told[str(order["id"])]) for order in orders})


class MoneyGoesBack(Payments):
    def test_by_line_and_never_more_than_was_paid(self):
        product = self.boss.make_product("Given back", Decimal("7.00"), 10)
        buyer = Person(self.shop)
        order = buyer.call("POST", "/orders", {"items": [{"productId": product, "quantity": 3}]}).data
        self.paid(buyer, order["id"])
        refunds = f"/orders/{order['id']}/refunds"
        all_of_it = self.boss.call("POST", refunds, {})
        self.assertEqual((201, Decimal("21.00")), (all_of_it.status, all_of_it.data["amount"]))
        self.assertEqual(409, self.boss.call("POST", refunds, {}).status)
        self.assertEqual(403, buyer.call("POST", refunds, {}).status)
        wait_for("the refund", lambda: self.paid(buyer, order["id"])["status"] == "REFUNDED")
        self.assertEqual(2100, self.ledger()[order["uuid"]]["refunded"])

    def test_of_an_order_that_was_cancelled(self):
        product = self.boss.make_product("Cancelled", Decimal("4.00"), 10)
        buyer = Person(self.shop)
        order = buyer.call("POST", "/orders", {"items": [{"productId": product, "quantity": 1}]}).data
        buyer.wait_until_decided(order["id"])
        self.boss.call("PUT", f"/orders/{order['id']}/status", {"status": "CANCELLED"}).data
        def back():
            payment = self.paid(buyer, order["id"])
            return payment["captured"] == payment["refunded"] and payment
        wait_for("the money to be back", back)
        entry = self.ledger()[order["uuid"]]
        self.assertEqual(entry["captured"], entry["refunded"])


class AWebhook(Payments):
    def test_that_the_provider_has_not_signed_is_refused(self):
        for headers in ({}, {"Provider-Signature": "t=1,v1=00"}, {"Provider-Signature": "nonsense"}):
            answer = self.shop.call("POST", "/payments/webhook", {"id": "evt_1"}, headers=headers)
            self.assertEqual((401, "UNAUTHENTICATED"), (answer.status, answer.json["error"]["code"]))
