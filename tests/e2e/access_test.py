"""Every method, asked by everybody: is it as docs/access.md says?

Requests name things that are not there and have no content, so that whoever is let in gets no further.
"""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal

from case import Case
from harness import PASSWORD, REPO, Person, wait_for
from service_token import service_token
from settings import SERVICES

NOBODY = "a guest"
ROLES = ("USER", "SELLER", "ADMIN", "SUPER_ADMIN")
NO_SUCH_ID = 2 ** 52


@dataclass
class Method:
    name: str  # shop.orders.v1.OrdersService/GetOrder
    http: str | None  # GET, or None where it is internal
    path: str
    who: tuple[str, ...]  # as the table names them

    def lets_in(self, who):
        if "anyone" in self.who or who in self.who:
            return True
        if who == NOBODY:
            return False
        return "USER" in self.who or (who == "SUPER_ADMIN" and "ADMIN" in self.who)

    @property
    def service(self):
        return self.name.split(".")[1]

    @property
    def ends_a_session(self):
        return self.name.endswith(("/Logout", "/LogoutAll"))


def table():
    """The methods, those last that end the session of who calls them."""
    rows = re.findall(r"^\| `([\w./]+)` \| (internal|`(\w+) ([^`]+)`) \| ([^|]+) \|$",
                      (REPO / "docs/access.md").read_text(), re.M)
    methods = [Method(name, verb or None, path, tuple(part.strip() for part in who.split(",")))
               for name, _, verb, path, who in rows]
    return sorted(methods, key=lambda method: method.ends_a_session)


class Access(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.methods = table()
        cls.tokens = {NOBODY: None}
        cls.emails = {}
        for role in ROLES:
            person = Person(cls.shop, f"matrix.{role}")
            cls.emails[role] = person.email
            assert cls.boss.call("PUT", f"/users/{person.id}/role", {"role": role}).status == 200
            cls.tokens[role] = cls.log_in(role)

    @classmethod
    def log_in(cls, role):
        """A token of somebody with the role. A login while it is being given may be refused."""
        def token():
            login = cls.shop.call("POST", "/auth/login", {"email": cls.emails[role], "password": PASSWORD})
            return login.data["accessToken"] if login.data["user"]["role"] == role else None

        return wait_for(f"the role {role}", token)

    def grpc(self, method, who):
        """The code that a service answers somebody who comes straight to it."""
        return self.answered(method, [f"authorization: Bearer {self.tokens[who]}"] if self.tokens[who] else [])

    def answered(self, method, headers):
        found = re.search(r"Code: (\w+)", self.grpcurl(method.service, method.name, headers=headers, body={})[1])
        return found[1] if found else "OK"

    def test_the_table_has_every_method_and_role(self):
        self.assertGreater(len(self.methods), 50)
        named = {who for method in self.methods for who in method.who if not who.startswith("the service ")}
        self.assertEqual({"anyone", *ROLES}, named)

    def test_over_http_each_operation_lets_in_whom_the_table_names(self):
        for method in self.methods:
            if method.http is None:
                continue
            path = re.sub(r"{\w+}", str(NO_SUCH_ID), method.path)
            # The content of what is read, which may have no end, is not needed.
            verb = "HEAD" if method.http == "GET" else method.http
            for who in self.tokens:
                token = self.log_in(who) if method.ends_a_session and who != NOBODY else self.tokens[who]
                with self.subTest(method.name, who=who):
                    status = self.shop.fetch(path, verb, {} if method.http in ("POST", "PUT") else None, token).status
                    if method.lets_in(who):
                        # A webhook is let in and then asked for its signature.
                        refused = () if method.name.endswith("/ReceiveWebhook") else (401, 403)
                        self.assertNotIn(status, refused)
                        self.assertLess(status, 500)
                    else:
                        self.assertEqual(401 if who == NOBODY else 403, status)

    def test_over_grpc_each_method_lets_in_whom_the_table_names(self):
        def ask(method, who):
            return method, who, self.grpc(method, who)
        asked = [(method, who) for method in self.methods if not method.ends_a_session for who in self.tokens]
        with ThreadPoolExecutor(4) as pool:
            for method, who, code in pool.map(lambda pair: ask(*pair), asked):
                with self.subTest(method.name, who=who):
                    if method.lets_in(who):
                        if not method.name.endswith("/ReceiveWebhook"):
                            self.assertNotIn(code, ("Unauthenticated", "PermissionDenied"))
                        self.assertNotIn(code, ("Internal", "Unknown", "Unimplemented"))
                    else:
                        self.assertEqual("Unauthenticated" if who == NOBODY else "PermissionDenied", code)

    def test_a_token_whose_session_has_ended_is_taken_nowhere(self):
        person = Person(self.shop, "ended")
        self.boss.call("PUT", f"/users/{person.id}/role", {"role": "SUPER_ADMIN"})
        login = wait_for("the role", lambda: (answer := self.shop.call("POST", "/auth/login", {
            "email": person.email, "password": PASSWORD}).data)["user"]["role"] == "SUPER_ADMIN" and answer)
        token = login["accessToken"]
        self.assertLess(self.shop.call("POST", "/auth/logout", {}, token).status, 300)
        bearer = [f"authorization: Bearer {token}"]
        asked = [method for method in self.methods if "anyone" not in method.who and method.http]
        for service in {method.service for method in asked}:
            first = next(method for method in asked if method.service == service)
            wait_for(f"{service} to know", lambda first=first: self.answered(first, bearer) == "Unauthenticated", 10)
        with ThreadPoolExecutor(4) as pool:
            for method, code in pool.map(lambda method: (method, self.answered(method, bearer)), asked):
                with self.subTest(method.name):
                    self.assertEqual("Unauthenticated", code)
        for method in asked:
            path = re.sub(r"{\w+}", str(NO_SUCH_ID), method.path).removeprefix("/api/v1")
            with self.subTest(method.path):
                self.assertEqual(401, self.shop.call(
                    method.http, path, {} if method.http in ("POST", "PUT") else None, token).status)

    def test_over_grpc_each_service_is_let_in_where_the_table_names_it(self):
        tokens = {(service, receiver): service_token(self.shop.settings, service, receiver)
                  for service in SERVICES for receiver in SERVICES}

        def ask(method, service):
            return method, service, self.answered(method, [f"x-service-token: {tokens[service, method.service]}"])
        # What anyone may call is anyone's; what users call is asked by one service that is not named, and by those that are.
        asked = [(method, service) for method in self.methods if "anyone" not in method.who for service in SERVICES
                 if not method.http or service == "shipping" or f"the service {service}" in method.who]
        with ThreadPoolExecutor(4) as pool:
            for method, service, code in pool.map(lambda pair: ask(*pair), asked):
                with self.subTest(method.name, service=service):
                    if f"the service {service}" in method.who:
                        self.assertNotIn(code, ("Unauthenticated", "PermissionDenied", "Internal", "Unknown", "Unimplemented"))
                    else:
                        self.assertEqual("PermissionDenied", code)

    def test_a_service_passes_for_no_other_and_its_token_is_good_at_one_place(self):
        reserve = next(method for method in self.methods if method.name.endswith("/ReserveStock"))
        for claim, service, receiver, subject, code in (
                ("itself", "stock", "products", None, "InvalidArgument"),
                ("says it is another", "cart", "products", "stock", "Unauthenticated"),
                ("was given it by another", "stock", "cart", None, "Unauthenticated")):
            with self.subTest(claim):
                token = service_token(self.shop.settings, service, receiver, subject)
                self.assertEqual(code, self.answered(reserve, [f"x-service-token: {token}"]))
        token = service_token(self.shop.settings, "orders", "cart")
        self.assertEqual(401, self.shop.call("GET", "/cart", headers={"X-Service-Token": token}).status)


class AStranger(Case):
    def test_finds_nothing_of_others(self):
        owner, stranger = Person(self.shop, "owner"), Person(self.shop, "stranger")
        seller, other = (self.seller(name) for name in ("seller", "seller.else"))
        product = seller.make_product("Own thing", Decimal("3.00"), 5)
        order = owner.order(product)
        owner.wait_until_decided(order)
        wait_for("the payment", lambda: owner.call("GET", f"/payments/{order}").status == 200)
        wait_for("the shipment", lambda: owner.call("GET", f"/shipments/{order}").status == 200)
        shown = owner.call("GET", f"/orders/{order}").data
        line = {"items": [{"productId": product, "quantity": 1}]}
        for who, method, path, body in (
                (stranger, "GET", f"/orders/{order}", None),
                (stranger, "GET", f"/orders/{order}/status", None),
                (stranger, "GET", f"/orders/{order}/timeline", None),
                (stranger, "GET", f"/orders/{order}/watch", None),
                (stranger, "GET", f"/orders/number/{shown['number']}", None),
                (stranger, "GET", f"/orders/uuid/{shown['uuid']}", None),
                (stranger, "POST", f"/orders/{order}/cancel", {}),
                (stranger, "POST", f"/orders/{order}/returns", line),
                (stranger, "GET", f"/orders/{order}/returns", None),
                (stranger, "GET", f"/payments/{order}", None),
                (stranger, "GET", f"/shipments/{order}", None),
                (stranger, "GET", f"/users/{owner.id}", None),
                (stranger, "PUT", f"/users/{owner.id}", {"name": "Mine"}),
                (other, "PUT", f"/products/{product}", {"price": 1}),
                (other, "DELETE", f"/products/{product}", None),
                (other, "POST", f"/products/{product}/stock", {"delta": 1, "reason": "RECEIVED"}),
                (other, "GET", f"/products/{product}/stock-movements", None)):
            with self.subTest(f"{method} {path}"):
                self.assertEqual(404, who.call(method, path, body).status)
        self.assertEqual([], stranger.call("GET", "/orders").data["items"])
        self.assertEqual("Owner", owner.call("GET", f"/users/{owner.id}").data["name"])

    def seller(self, name):
        person = Person(self.shop, name)
        self.assertEqual(200, self.boss.call("PUT", f"/users/{person.id}/role", {"role": "SELLER"}).status)

        def as_seller():
            again = Person(self.shop, email_address=person.email)
            return again if again.call("POST", "/products", {}).status == 400 else None
        return wait_for(f"{name} to be one", as_seller)
