"""Who did what to whom, as the services keep it and a command verifies it."""

from decimal import Decimal

from case import Case
from harness import Person


class Audit(Case):
    def entries(self, service, of):
        answer = self.boss.call("GET", f"/audit/{service}?object={of.replace(' ', '%20')}")
        self.assertEqual(200, answer.status, answer)
        return [(entry["action"], entry.get("userId"), entry.get("details")) for entry in answer.data["items"]]

    def test_what_is_done_to_a_product_is_kept_with_who_did_it(self):
        product = self.boss.make_product("Audited", Decimal("1.00"), 5)
        self.boss.call("PUT", f"/products/{product}", {"price": Decimal("2.50"), "description": "as before"})
        self.boss.call("PUT", f"/products/{product}", {"description": "not a matter of money"})
        self.boss.call("PUT", f"/products/{product}", {"stock": 7})
        adjusted = {"Idempotency-Key": f"audit-{product}"}
        for _ in range(2):
            self.boss.call("POST", f"/products/{product}/stock", {"delta": -1, "reason": "LOST"}, adjusted)
        refused = Person(self.shop).call("PUT", f"/products/{product}", {"price": Decimal("0.01")})
        self.assertEqual(403, refused.status)
        self.boss.call("DELETE", f"/products/{product}")
        by = self.boss.id
        self.assertEqual([("PRODUCT_DELETED", by, {}),
                          ("STOCK_ADJUSTED", by, {"delta": "-1", "reason": "LOST"}),
                          ("STOCK_SET", by, {"from": "5", "to": "7"}),
                          ("PRICE_CHANGED", by, {"from": "1.00", "to": "2.50"}),
                          ("PRODUCT_CREATED", by, {"price": "1.00", "stock": "5"})],
                         self.entries("products", f"product {product}"))

    def test_a_role_and_a_deletion_are_kept_without_anything_personal(self):
        person = Person(self.shop, "audited")
        self.boss.call("PUT", f"/users/{person.id}/role", {"role": "SELLER"})
        self.boss.call("PUT", f"/users/{person.id}/role", {"role": "SELLER"})
        self.boss.call("DELETE", f"/users/{person.id}")
        self.assertEqual([("USER_DELETED", self.boss.id, {}),
                          ("ROLE_CHANGED", self.boss.id, {"from": "USER", "to": "SELLER"})],
                         self.entries("users", f"user {person.id}"))
        self.assertNotIn("audited", str(self.boss.call("GET", "/audit/users?limit=100").data))

    def test_a_login_and_a_failed_one_are_kept(self):
        person = Person(self.shop, "watched")
        self.shop.call("POST", "/auth/login", {"email": person.email, "password": "Wrong-Password-1!"})
        self.assertEqual([("LOGIN_FAILED", None, {"reason": "WRONG_PASSWORD"}), ("LOGIN", None, {})],
                         self.entries("auth", f"user {person.id}"))

    def test_a_log_that_somebody_changed_past_its_service_is_found(self):
        product = self.boss.make_product("Changed", Decimal("1.00"), 1)
        said = self.shop.script("audit")
        last = next(line for line in said.splitlines() if line.startswith("products: ")).rsplit(" ", 1)[1]
        self.shop.script("audit", f"products:{last}")
        change = (f"ALTER TABLE audit DISABLE TRIGGER USER; UPDATE audit SET user_id = 99 WHERE object = 'product {product}';"
                  "ALTER TABLE audit ENABLE TRIGGER USER")
        self.shop.script("psql", "products", "--sql", change)
        with self.assertRaisesRegex(AssertionError, "does not follow from the one before"):
            self.shop.script("audit")
        self.shop.script("psql", "products", "--sql", change.replace("99", str(self.boss.id)))
        self.shop.script("audit")
        with self.assertRaisesRegex(AssertionError, "is not there as it was"):
            self.shop.script("audit", f"products:{last[:-4]}0000")

    def test_it_is_for_a_super_admin_alone(self):
        person = Person(self.shop, "curious")
        self.boss.call("PUT", f"/users/{person.id}/role", {"role": "ADMIN"})
        admin = Person(self.shop, email_address=person.email)
        for service in ("auth", "users", "products", "payments"):
            self.assertEqual(403, admin.call("GET", f"/audit/{service}").status)
