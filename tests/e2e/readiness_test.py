"""What /readyz says when something is away: the table in docs/runbook.md, tried."""

from decimal import Decimal

from case import Case
from harness import wait_for
from settings import DATABASES, PROCESSES


class Readiness(Case):
    def back_to_normal(self):
        for process in PROCESSES:
            wait_for(f"{process} to be all there", lambda process=process: self.shop.ready(process), 60)

    def public(self):
        """Status and body of /readyz where the gateway's clients are."""
        answer = self.shop.fetch("/readyz")
        return answer.status, answer.json

    def test_of_a_whole_stack_nothing_is_missing(self):
        self.back_to_normal()
        self.assertEqual((200, {"status": "ready", "missing": []}), self.public())
        for process in PROCESSES:
            self.assertEqual((200, "ready\n"), self.shop.readyz(process), process)

    def test_who_keeps_data_in_postgresql_is_not_ready_without_it(self):
        self.shop.script("stop-program", "postgres")
        try:
            for process in DATABASES:
                text = wait_for(f"{process} to miss PostgreSQL",
                                lambda process=process: self.shop.readyz(process)[0] == 503
                                and self.shop.readyz(process)[1])
                self.assertIn("not ready: PostgreSQL", text)
            # They are there to be asked and answer 503 themselves.
            self.assertEqual(200, self.public()[0])
            self.assertEqual(200, self.shop.readyz("cart")[0])
        finally:
            self.shop.script("start-program", "postgres")
        self.back_to_normal()

    def test_carts_are_not_ready_without_mongodb(self):
        self.shop.script("stop-program", "mongo")
        try:
            wait_for("cart to miss MongoDB",
                     lambda: self.shop.readyz("cart") == (503, "not ready: MongoDB\n"), 60)
        finally:
            self.shop.script("start-program", "mongo")
        self.back_to_normal()

    def test_one_absent_service_leaves_the_gateway_ready_for_the_others(self):
        self.shop.script("stop-program", "cart")
        try:
            product = self.boss.make_product("Readiness", Decimal("5.00"), 10)
            wait_for("the gateway to miss cart", lambda: self.public() == (
                200, {"status": "degraded", "missing": ["cart"]}))
            self.assertEqual((200, "ready; degraded: cart\n"), self.shop.readyz("gateway"))
            self.assertEqual(503, self.shop.readyz("gateway", strict=True)[0])
            self.assertEqual(200, self.shop.call("GET", f"/products/{product}").status)
            self.assertEqual(503, self.boss.call("GET", "/cart").status)
            self.assertEqual((200, "ready\n"), self.shop.readyz("products"))
        finally:
            self.shop.script("start-program", "cart")
        self.back_to_normal()
