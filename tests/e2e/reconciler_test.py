"""The reconciler beside the running stack: what is broken behind the services' backs is told, until it is mended."""

import re
from decimal import Decimal

from case import Case
from harness import Person, wait_for


class Drift(Case):
    def change(self, database, sql):
        said = self.shop.script("psql", database, "--sql", sql, quiet=True)
        self.assertRegex(said, r"UPDATE [1-9]", sql)

    def drift(self):
        """Kind and subject of each drift that `make reconcile` prints."""
        return {tuple(words[:2]) for line in self.shop.reconcile().splitlines()
                if len(words := re.split("  +", line)) == 3 and words[0] != "kind"}

    def metric(self, kind):
        return self.shop.metric("reconciler", "reconciler_drift", f'kind="{kind}"')

    def test_is_told_in_the_table_and_by_the_metric_and_only_until_it_is_mended(self):
        product = self.boss.make_product("Watched", Decimal("8.00"), 10)
        buyer = Person(self.shop)
        order = buyer.call("POST", "/orders", {"items": [{"productId": product, "quantity": 2}]}).data
        self.assertEqual("PROCESSING", buyer.wait_until_decided(order["id"]))
        self.shop.check_consistency()
        # (database, what breaks it, what mends it), and what it is then.
        broken = {
            ("on_hand_differs_from_movements", f"product {product}"):
                ("products", f"UPDATE products SET on_hand = on_hand + %d WHERE id = {product}", 1, -1),
            ("captured_differs_from_provider", f"order {order['id']}"):
                ("provider", f"UPDATE payments SET captured = captured - %d WHERE key = '{order['uuid']}'", 100, -100),
            ("payment_contradicts_order", f"order {order['id']}"):
                ("payments", f"UPDATE payments SET cancelled = %d::bool WHERE order_uuid = '{order['uuid']}'", 1, 0),
            ("shipment_contradicts_order", f"order {order['id']}"):
                ("shipping", "UPDATE shipments SET state = (ARRAY['READY', 'CANCELLED'])[%d]"
                             f" WHERE order_uuid = '{order['uuid']}'", 2, 1)}
        for database, sql, breaks, _ in broken.values():
            self.change(database, sql % breaks)
        try:
            self.assertEqual(set(broken), self.drift())
            for kind, _ in broken:
                wait_for(f"the metric of {kind}", lambda kind=kind: self.metric(kind) == 1, 60)
            self.assertEqual(0, self.metric("stock_negative"))
        finally:
            for database, sql, _, mends in broken.values():
                self.change(database, sql % mends)
        self.assertEqual(set(), self.drift())
        for kind, _ in broken:
            wait_for(f"the metric of {kind} to be 0", lambda kind=kind: self.metric(kind) == 0, 60)
        logged = self.shop.drift_reported()
        for kind, subject in broken:
            self.assertTrue(any(f'"kind":"{kind}"' in line and f'"about":"{subject}"' in line for line in logged), kind)
        # Whatever the other tests did: kills, pauses, events that came twice.
        self.assertEqual(len(broken), len(logged), logged)

    def test_a_run_that_cannot_read_something_names_it(self):
        self.shop.script("stop-program", "provider")
        try:
            self.assertRegex(self.shop.reconcile(), "could not read the payment provider: ")
        finally:
            self.shop.script("start-program", "provider")
        wait_for("the reconciler to have read everything again", lambda: self.shop.ready("reconciler"), 60)
