"""What every process shows to operators and to clients that go past the gateway."""

import json
import os
import subprocess
from decimal import Decimal

from case import Case
from harness import PASSWORD, REPO, Person, fetch, tool, wait_for
from settings import GROUPS, PROCESSES, SERVICES

# Services that clients call; stock and notification only consume topics.
CALLED = ("auth", "users", "products", "cart", "orders", "payments", "shipping")
WITH_RPCS = (*CALLED, "notification")  # whose one is a stream, which does not end


class EveryService(Case):
    def test_lists_itself_by_reflection(self):
        for service in WITH_RPCS:
            with self.subTest(service):
                code, text = self.grpcurl(service, "list")
                self.assertEqual(0, code, text)
                self.assertIn(f"shop.{service}.v1.{service.title()}Service", text)

    def test_describes_its_methods_by_reflection(self):
        code, text = self.grpcurl("orders", "describe", "shop.orders.v1.OrdersService")
        self.assertEqual(0, code, text)
        self.assertIn("rpc CreateOrder", text)

    def test_says_that_it_is_serving(self):
        for service in SERVICES:
            with self.subTest(service):
                code, text = self.grpcurl(service, "grpc.health.v1.Health/Check")
                self.assertEqual(0, code, text)
                self.assertIn('"SERVING"', text)

    def test_is_shown_by_make_grpc(self):
        for service in SERVICES:
            with self.subTest(service):
                shown = self.shop.script("grpc", service)
                self.assertIn('"status": "SERVING"', shown)
                self.assertIn(f"shop.{service}.v1" if service in WITH_RPCS else "has no rpcs of its own", shown)
                self.assertNotIn(self.shop.settings["SUPER_ADMIN_PASSWORD"], shown)

    def test_can_be_called_as_make_grpc_shows_it(self):
        for service in CALLED:
            with self.subTest(service):
                shown = self.shop.script("grpc", service)
                lines = [line[2:] for line in shown.splitlines() if line.startswith("$ ")]
                self.assertEqual(service != "products", any("Bearer ${token}" in line for line in lines))
                folder = os.path.dirname(tool("grpcurl", "bin/grpcurl"))
                done = subprocess.run(["bash", "-c", "set -o pipefail\n" + "\n".join(lines)], cwd=REPO, text=True,
                                      env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"},
                                      capture_output=True, check=False, timeout=60)
                if service != "shipping":  # of the one it asks for there may be none
                    self.assertEqual(0, done.returncode, done.stdout + done.stderr)
                self.assertNotIn("Unauthenticated", done.stdout + done.stderr)

    def test_answers_a_public_method_without_a_token(self):
        product = self.boss.make_product("Lamp", Decimal("20.00"), 1)
        code, text = self.grpcurl("products", "shop.products.v1.ProductsService/GetProduct",
                                  body={"id": product})
        self.assertEqual(0, code, text)
        self.assertEqual("2000", json.loads(text)["price"])

    def test_takes_an_order_from_the_example_client(self):
        buyer = Person(self.shop)
        product = self.boss.make_product("Mirror", Decimal("60.00"), 5)
        done = subprocess.run([self.shop.binaries / "place_order", f"127.0.0.1:{self.shop.port('auth')}",
                               f"127.0.0.1:{self.shop.port('orders')}", buyer.email, PASSWORD, str(product)],
                              env=os.environ | ({"SHOP_CERTS": str(self.shop.certificate("ca")[0].parent)} if self.shop.http_ca else {}),
                              capture_output=True, text=True, check=False, timeout=30)
        self.assertEqual((0, ""), (done.returncode, done.stderr))
        order = buyer.call("GET", f"/orders/{done.stdout.strip()}").data
        self.assertEqual([product], [item["productId"] for item in order["items"]])

    def test_refuses_a_caller_without_a_token(self):
        for service, method, body in (("orders", "orders.v1.OrdersService/ListOrders", {}),
                                      ("cart", "cart.v1.CartService/GetCart", {}),
                                      ("users", "users.v1.UsersService/ListUsers", {}),
                                      ("shipping", "shipping.v1.ShippingService/GetShipment", {"orderId": 1}),
                                      ("products", "products.v1.ProductsService/CreateProduct", {})):
            with self.subTest(method):
                code, text = self.grpcurl(service, "shop." + method, body=body)
                self.assertNotEqual(0, code)
                self.assertIn("Code: Unauthenticated", text)

    def test_refuses_a_token_that_is_none(self):
        code, text = self.grpcurl("orders", "shop.orders.v1.OrdersService/ListOrders", body={},
                                  headers=["authorization: Bearer not.a.token"])
        self.assertNotEqual(0, code)
        self.assertIn("Code: Unauthenticated", text)

    def test_refuses_users_its_internal_methods(self):
        order = {"orderUuid": "00000000-0000-4000-8000-000000000000", "orderId": 1,
                 "items": [{"productId": 1, "quantity": 1}]}
        for service, method, body in (
                ("products", "products.v1.ProductsService/ReserveStock", order),
                ("products", "products.v1.ProductsService/QuoteProducts", {"ids": [1]}),
                ("users", "users.v1.UsersService/CreateUser",
                 {"id": 1, "name": "x", "email": "x@example.com", "role": "ROLE_USER"})):
            for who in (Person(self.shop), self.boss):
                with self.subTest(method, who=who.email):
                    code, text = self.grpcurl(service, "shop." + method, body=body,
                                              headers=[f"authorization: Bearer {who.token}"])
                    self.assertNotEqual(0, code)
                    self.assertIn("Code: PermissionDenied", text)

    def test_enforces_the_roles_and_rules_of_the_gateway(self):
        buyer, other = Person(self.shop), Person(self.shop)
        product = self.boss.make_product("Chair", Decimal("80.00"), 5)
        order = buyer.order(product)
        for claim, who, service, method, body, code in (
                ("a customer makes no product", buyer,
                 "products", "products.v1.ProductsService/CreateProduct", {}, "PermissionDenied"),
                ("another's order is not there", other, "orders", "orders.v1.OrdersService/GetOrder",
                 {"id": order}, "NotFound"),
                ("nobody orders minus five", buyer, "orders", "orders.v1.OrdersService/CreateOrder",
                 {"items": [{"productId": product, "quantity": -5}]}, "InvalidArgument")):
            with self.subTest(claim):
                _, text = self.grpcurl(service, "shop." + method, body=body,
                                       headers=[f"authorization: Bearer {who.token}"])
                self.assertIn(f"Code: {code}", text)


class EveryProcess(Case):
    def test_is_alive_and_ready(self):
        for process in PROCESSES:
            for path in ("/healthz", "/readyz"):
                with self.subTest(process + path):
                    self.assertEqual(200, fetch(self.shop.admin_port(process), path, plain=True).status)

    def test_counts_what_it_answers(self):
        for path in ("/users", "/products", "/cart", "/orders", "/payments/1", "/shipments/1"):  # and auth has let the boss in
            self.boss.call("GET", path)
        for service in CALLED:
            with self.subTest(service):
                self.assertGreater(self.shop.metric(service, "rpc_handled_total"), 0)
                self.assertGreater(self.shop.metric(service, "rpc_duration_seconds_count"), 0)
        self.assertGreater(self.shop.metric("gateway", "http_requests_total"), 0)

    def test_counts_what_it_consumes(self):
        buyer = Person(self.shop)
        order = buyer.order(self.boss.make_product("Desk", Decimal("120.00"), 5))
        buyer.wait_until_decided(order)
        for process in sorted(set(GROUPS.values())):
            with self.subTest(process):
                wait_for(f"{process} to have counted an event",
                         lambda process=process: self.shop.metric(process, "consumer_events_total") > 0)
