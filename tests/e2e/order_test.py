"""One order, and every trace that it leaves: its events, stock, shipment, mail."""

import re
from decimal import Decimal

from case import Case
from harness import Person, mail_text, wait_for

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


class AnOrderThatWasPlaced(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.buyer = Person(cls.shop, "buyer")
        cls.mouse = cls.boss.make_product("Mouse", Decimal("49.99"), 10)
        cls.pen = cls.boss.make_product("Pen", Decimal("1.10"), 10)
        answer = cls.buyer.call("POST", "/orders", {
            "products": [{"productId": cls.mouse, "quantity": 1}, {"productId": cls.pen, "quantity": 3}],
            "paymentMethod": "BANK_TRANSFER",
            "shippingAddress": {"street": "1 Main Street", "city": "Springfield", "country": "US"},
        }, headers={"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"})
        cls.placed = answer.data
        cls.order = cls.placed["id"]
        cls.outcome = cls.buyer.wait_until_decided(cls.order)

    def created(self):
        return wait_for("ORDER_CREATED on topic orders",
                        lambda: self.shop.events("orders", self.order, "ORDER_CREATED"))

    def test_becomes_processing(self):
        self.assertEqual("PROCESSING", self.outcome)

    def test_is_published_once_under_its_id(self):
        self.created()
        self.shop.wait_until_consumed()
        events = self.shop.events("orders", kind="ORDER_CREATED")
        about = [event for event in events if event.json["orderId"] == self.order]
        self.assertEqual([str(self.order)], [event.key for event in about])

    def test_is_published_with_the_headers_of_a_cloud_event(self):
        headers = self.created()[0].headers
        self.assertEqual("1.0", headers["ce_specversion"])
        self.assertEqual("ORDER_CREATED", headers["ce_type"])
        self.assertEqual("/orders", headers["ce_source"])
        self.assertEqual(str(self.order), headers["ce_subject"])
        self.assertRegex(headers["ce_id"], r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
        self.assertRegex(headers["ce_time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")
        self.assertTrue(headers["content-type"].startswith("application/json"), headers)

    def test_carries_the_trace_of_its_request_to_the_topic(self):
        self.assertRegex(self.created()[0].headers["traceparent"], rf"^00-{TRACE_ID}-[0-9a-f]{{16}}-0\d$")

    def test_is_published_as_json_that_reads_well(self):
        event = self.created()[0]
        value = event.json
        self.assertEqual(self.order, value["orderId"])
        self.assertEqual(self.buyer.id, value["userId"])
        self.assertEqual(self.placed["uuid"], value["orderUuid"])
        self.assertEqual("BANK_TRANSFER", value["paymentMethod"])
        self.assertEqual("Springfield", value["shippingAddress"]["city"])
        self.assertEqual(self.shop.settings["CURRENCY"], value["currency"])
        self.assertEqual([
            {"productId": self.mouse, "name": "Mouse", "quantity": 1,
             "unitPrice": Decimal("49.99"), "totalPrice": Decimal("49.99")},
            {"productId": self.pen, "name": "Pen", "quantity": 3,
             "unitPrice": Decimal("1.10"), "totalPrice": Decimal("3.30")}], value["items"])
        # Decimals compare equal without their zeros; the text must have both digits.
        self.assertRegex(event.text, r'^\{"orderId":\d+,.*"totalPrice":53\.29,')
        self.assertRegex(event.text, r'"unitPrice":1\.10,"totalPrice":3\.30\}')

    def test_takes_its_pieces_from_stock(self):
        wait_for("the stock to show", lambda: self.stock_of(self.mouse) == 9)
        wait_for("the stock to show", lambda: self.stock_of(self.pen) == 7)

    def test_leads_to_the_reservation_and_the_confirmation(self):
        reserved = self.shop.events("stock", self.order)
        self.assertEqual(["STOCK_RESERVED"], [event.type for event in reserved])
        self.assertEqual(Decimal("53.29"), reserved[0].json["totalPrice"])
        wait_for("ORDER_CONFIRMED", lambda: self.shop.events("orders", self.order, "ORDER_CONFIRMED"))
        for event in reserved + self.shop.events("orders", self.order):
            self.assertIn(TRACE_ID, event.headers["traceparent"], event.type)

    def test_has_a_shipment(self):
        shipment = wait_for("the shipment", lambda: self.buyer.call("GET", f"/shipments/{self.order}").data)
        self.assertEqual(self.order, shipment["orderId"])
        self.assertEqual(self.buyer.id, shipment["userId"])
        self.assertEqual(("PREPARING", ""), (shipment["status"], shipment["trackingNumber"]))
        wait_for("SHIPMENT_CREATED", lambda: self.shop.events("shipments", self.order, "SHIPMENT_CREATED"))

    def test_sends_its_buyer_one_mail_with_the_total(self):
        wait_for("the confirmation mail", lambda: self.shop.mails(self.buyer.email))
        self.shop.wait_until_consumed()
        mails = self.shop.mails(self.buyer.email)
        self.assertEqual(1, len(mails))
        self.assertEqual(self.buyer.email, mails[0]["To"].addresses[0].addr_spec)
        self.assertTrue(mails[0]["Message-ID"])
        text = mail_text(mails[0])
        self.assertIn("53.29", text)
        self.assertRegex(text, rf"\b{self.order}\b")
        self.assertTrue(re.search("Mouse", text) and re.search("Pen", text), text)

    def test_sends_its_buyer_another_mail_once_it_is_confirmed(self):
        wait_for("the mail", lambda: self.shop.mails(self.buyer.email, "confirmed"))
        self.shop.wait_until_consumed()
        mails = self.shop.mails(self.buyer.email, "confirmed")
        self.assertEqual(1, len(mails))
        self.assertEqual({"text/plain", "text/html"}, {part.get_content_type() for part in mails[0].iter_parts()})


class TheLastPiece(Case):
    def test_that_was_sold_since_a_seller_looked_is_not_put_back(self):
        lamp = self.boss.make_product("Lamp", Decimal("49.99"), 1)
        read = self.shop.call("GET", f"/products/{lamp}")
        tag = {"If-Match": read.headers["ETag"]}
        self.assertEqual(1, read.data["stock"])
        buyer = Person(self.shop, "buyer")
        self.assertEqual("PROCESSING", buyer.wait_until_decided(buyer.order(lamp)))

        stale = self.boss.call("PUT", f"/products/{lamp}", read.data, headers=tag)
        self.assertEqual(412, stale.status, stale)
        late = buyer.order(lamp)
        self.assertEqual("CANCELLED", buyer.wait_until_decided(late), "the piece was sold twice")

        edit = self.boss.call("PUT", f"/products/{lamp}", {"description": "Bright."}, headers=tag)
        self.assertEqual(200, edit.status, f"a sale made the edit of a description stale: {edit}")
        self.assertEqual(0, edit.data["stock"])
