"""The page at /live, in a browser: by keyboard alone, while connections are lost, on a phone, in the dark."""

import json
import subprocess
import unittest
from decimal import Decimal

from selenium.webdriver.common.keys import Keys

from case import Case
from harness import PASSWORD, Person, tool, wait_for
from live_page import FAINT, PHONE, Page, browser


def setUpModule():  # pylint: disable=invalid-name
    LivePage.driver = unittest.enterModuleContext(browser())


class LivePage(Case):
    driver = None

    def setUp(self):
        super().setUp()
        self.page = Page(self.driver, self.shop)

    def buyer_at_the_page(self, name="watcher"):
        """Somebody with an account, logged in at a page that was just opened."""
        buyer = Person(self.shop, name)
        self.page.open()
        self.page.log_in(buyer.email)
        return buyer

    def product(self, name="Watched", stock=100):
        return self.boss.make_product(name, Decimal("12.50"), stock)

    def move(self, order, status):
        wait_for(f"order {order} to be {status}", lambda: self.boss.call(
            "PUT", f"/orders/{order}/status", {"status": status}).status == 200, 60)

    def assert_all_steps(self, buyer, order):
        """What the page shows is the order's timeline: every entry once, in its order."""
        timeline = buyer.call("GET", f"/orders/{order}/timeline").data["items"]
        self.assertEqual([(entry["sequence"], entry["what"]) for entry in timeline], self.page.steps())
        self.assertEqual(list(range(1, len(timeline) + 1)), [entry["sequence"] for entry in timeline])


class ALogin(LivePage):
    def test_that_fails_says_why(self):
        buyer = Person(self.shop)
        self.page.open()
        self.page.fill("#login [name=email]", buyer.email)
        self.page.fill("#login [name=password]", "not the password")
        self.page.press(Keys.ENTER)
        wait_for("the reason", lambda: self.page.text("#login .problem"))
        self.assertTrue(self.page.shows("#login"))

    def test_that_ends_leaves_nothing_behind(self):
        self.buyer_at_the_page()
        token = self.page.run("return JSON.parse(sessionStorage.session).token")
        self.page.tab_to("#logout")
        self.page.press(Keys.ENTER)
        wait_for("the entrance", lambda: self.page.shows("#login"))
        self.assertEqual("[0,0,\"\"]", self.page.run(
            "return JSON.stringify([sessionStorage.length, localStorage.length, document.cookie])"))
        wait_for("the token to be refused", lambda: self.shop.call("GET", "/auth/me", token=token).status == 401)

    def test_that_is_over_is_asked_for_again_and_the_order_goes_on(self):
        product = self.product()
        buyer = self.buyer_at_the_page()
        order = self.page.place_order(product)
        self.page.wait_for_step("ORDER_CONFIRMED")
        # As an expiry does, it ends the streams of the page.
        token = self.page.run("return JSON.parse(sessionStorage.session).token")
        self.assertEqual(200, self.shop.call("POST", "/auth/logout", {}, token=token).status)
        wait_for("the login to expire", lambda: "expired" in self.page.text("#expired"))
        self.assertFalse(self.page.shows("#watched"))
        self.assertIsNone(self.page.run("return sessionStorage.session ?? null"))
        self.move(order, "SHIPPED")
        self.page.log_in(buyer.email)
        self.page.wait_for_step("ORDER_SHIPPED")
        self.assert_all_steps(buyer, order)


class AnOrder(LivePage):
    def test_is_watched_to_its_delivery_by_keyboard_alone(self):
        page, product = self.page, self.product()
        page.open()
        email = "by.keyboard@example.com"
        page.fill("#register [name=name]", "By Keyboard")
        page.fill("#register [name=email]", email)
        page.fill("#register [name=password]", PASSWORD)
        page.press(Keys.ENTER)
        order = page.place_order(product, 2)
        buyer = Person(self.shop, email_address=email)
        page.wait_for_step("ORDER_CONFIRMED")
        self.assertEqual("PROCESSING", page.text("#status"))
        self.assertIn("2 × Watched: 25.00 USD", page.text("#bought"))
        self.move(order, "SHIPPED")
        page.wait_for_step("ORDER_SHIPPED")
        self.assertFalse(page.shows("#cancel"))
        self.move(order, "DELIVERED")
        page.wait_for_step("ORDER_DELIVERED")
        self.assert_all_steps(buyer, order)
        self.assertEqual("DELIVERED", page.text("#status"))
        wait_for("the last notification", lambda: f"order {order} " in page.text("#notifications li"))
        self.assertEqual([], page.problems())

    def test_that_cannot_be_paid_is_cancelled_and_says_why(self):
        product = self.product()
        buyer = self.buyer_at_the_page()
        order = self.page.place_order(product, payment="The card is declined")
        self.page.wait_for_step("ORDER_CANCELLED")
        self.page.wait_for_step("STOCK_RELEASED")
        self.assert_all_steps(buyer, order)
        failed = self.page.text("#steps [data-what=PAYMENT_FAILED]")
        self.assertRegex(failed, r"The payment has failed: \w+")
        self.assertEqual("CANCELLED", self.page.text("#status"))
        self.assertFalse(self.page.shows("#cancel"))

    def test_is_cancelled_by_its_button(self):
        product = self.product()
        buyer = self.buyer_at_the_page()
        order = self.page.place_order(product)
        self.page.wait_for_step("ORDER_CONFIRMED")
        self.page.tab_to("#cancel")
        self.page.press(Keys.ENTER)
        for what in ("ORDER_CANCELLED", "STOCK_RELEASED", "PAYMENT_REFUNDED"):
            self.page.wait_for_step(what)
        self.assert_all_steps(buyer, order)
        self.assertFalse(self.page.shows("#cancel"))
        self.assertEqual("watched-title", self.page.run("return document.activeElement.id"))

    def test_is_there_again_when_the_page_is_loaded_again(self):
        product = self.product()
        buyer = self.buyer_at_the_page()
        order = self.page.place_order(product)
        self.page.wait_for_step("ORDER_CONFIRMED")
        self.page.driver.refresh()
        self.page.wait_for_step("ORDER_CONFIRMED")
        self.assert_all_steps(buyer, order)


class APage(LivePage):
    def test_fits_a_phone_and_can_be_read_in_the_dark(self):
        page, product = self.page, self.product("A thing with a name as long as names may be " * 4)
        buyer = Person(self.shop)
        page.open()
        page.narrow()

        def look():
            self.assertEqual(PHONE, page.run("return document.documentElement.scrollWidth"))
            grounds = set()
            for scheme in ("dark", "light"):
                page.scheme(scheme)
                self.assertEqual([], page.run(FAINT), scheme)
                grounds.add(page.run("return getComputedStyle(document.body).backgroundColor"))
            self.assertEqual(2, len(grounds))
            self.assertEqual([], page.run(
                "return [...document.querySelectorAll('input, select')].filter(field => !field.labels.length)"))
        look()
        page.log_in(buyer.email)
        page.place_order(product, payment="The card is declined")
        page.wait_for_step("ORDER_CANCELLED")
        wait_for("a notification", lambda: page.shows("#notifications li"))
        look()
        self.assertEqual("polite", page.run("return document.querySelector('#steps').ariaLive"))

    def test_shows_as_text_what_others_have_written(self):
        name = "<b class=injected>Bold</b>"
        product = self.product(name)
        self.buyer_at_the_page()
        self.page.place_order(product)
        self.page.wait_for_step("ORDER_CREATED")
        self.assertIn(name, self.page.text("#products"))
        self.assertIn(name, self.page.text("#bought"))
        self.assertFalse(self.page.shows(".injected"))

    def test_takes_no_html_from_anybody(self):
        self.page.open()
        self.assertIn("default-src 'none'", self.shop.fetch("/live", plain=True)
                      .headers["content-security-policy"])
        self.assertEqual("TypeError", self.page.run(
            "try { document.body.innerHTML += '<p>more</p>'; return 'taken' } catch (error) { return error.name }"))


class AnotherPage(LivePage):
    def test_runs_without_a_complaint(self):
        for path, shown in (("/", "/live"), ("/docs", "OAS 3.1"), ("/docs/events", "ORDER_CREATED")):
            with self.subTest(path):
                self.page.open(path)
                wait_for(f"{shown} on {path}", lambda shown=shown: shown in self.page.text("body"))
                self.assertEqual([], self.page.problems())


class TheConnection(LivePage):
    """What is lost comes back without a gap and without a repeat."""

    def grpc_move(self, order, status):
        wait_for(f"order {order} to be {status}", lambda: subprocess.run(
            [tool("grpcurl", "bin/grpcurl"), "-plaintext", "-H", f"authorization: Bearer {self.boss.token}",
             "-d", json.dumps({"id": order, "status": "ORDER_STATUS_" + status}),
             f"127.0.0.1:{self.shop.port('orders')}", "shop.orders.v1.OrdersService/UpdateOrderStatus"],
            capture_output=True, check=False, timeout=30).returncode == 0, 60)

    def test_to_a_gateway_that_was_killed(self):
        product = self.product()
        buyer = self.buyer_at_the_page()
        order = self.page.place_order(product)
        self.page.wait_for_step("ORDER_CONFIRMED")
        self.shop.script("kill-program", "gateway")
        self.shop.script("stop-program", "gateway")
        try:
            wait_for("the page to notice", lambda: "Reconnecting" in self.page.text("#connection"))
            self.grpc_move(order, "SHIPPED")
        finally:
            self.shop.script("start-program", "gateway")
        self.page.wait_for_step("ORDER_SHIPPED", 60)
        self.move(order, "DELIVERED")
        self.page.wait_for_step("ORDER_DELIVERED")
        self.assert_all_steps(buyer, order)
        wait_for("the page to say so", self.page.is_connected)
        self.assertEqual([], self.page.problems(network=False))

    def test_to_orders_that_were_killed(self):
        product = self.product()
        buyer = self.buyer_at_the_page()
        order = self.page.place_order(product)
        self.page.wait_for_step("ORDER_CONFIRMED")
        self.shop.script("kill-program", "orders")
        self.move(order, "SHIPPED")
        self.page.wait_for_step("ORDER_SHIPPED", 60)
        self.page.run("dispatchEvent(new Event('online'))")  # while nothing was lost
        self.move(order, "DELIVERED")
        self.page.wait_for_step("ORDER_DELIVERED")
        self.assert_all_steps(buyer, order)
        self.assertEqual([], self.page.problems(network=False))
