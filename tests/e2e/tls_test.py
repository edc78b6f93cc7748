"""What TLS between all is for: who is let in, and by what. The other tests that run over it show that all the rest goes on."""

import socket
import ssl
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

from case import Case
from harness import Person, tool, wait_for
from service_token import service_token
from settings import SERVICES
from web_socket import WebSocket

HEALTH = "grpc.health.v1.Health/Check"


class Tls(Case):
    def test_the_gateway_speaks_nothing_but_tls(self):
        with socket.create_connection(("127.0.0.1", self.shop.port("gateway")), timeout=10) as plain:
            plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            self.assertNotIn(b"HTTP/", plain.recv(1000))
        self.assertEqual(200, self.shop.fetch("/healthz").status)

    def test_a_service_lets_nobody_in_without_a_certificate(self):
        def health(service, *way):
            done = subprocess.run([tool("grpcurl", "bin/grpcurl"), "-connect-timeout", "2", *way,
                                   f"127.0.0.1:{self.shop.port(service)}", HEALTH],
                                  capture_output=True, text=True, check=False, timeout=30)
            return done.returncode, done.stdout
        with ThreadPoolExecutor() as pool:
            plain = pool.map(lambda service: health(service, "-plaintext"), SERVICES)
            unnamed = pool.map(lambda service: health(service, "-cacert", self.shop.http_ca), SERVICES)
            for code, said in (*plain, *unnamed):
                self.assertNotEqual(0, code)
                self.assertNotIn("SERVING", said)
        for service in SERVICES:
            self.assertEqual(0, self.grpcurl(service, HEALTH)[0], service)

    def test_a_services_token_is_no_good_with_anothers_certificate(self):
        token = f"x-service-token: {service_token(self.shop.settings, 'orders', 'products')}"
        method, body = "shop.products.v1.ProductsService/QuoteProducts", {"ids": [1]}
        for certificate in ("client", "gateway", "notification"):
            with self.subTest(certificate):
                code, text = self.grpcurl("products", method, headers=[token], body=body, certificate=certificate)
                self.assertNotEqual(0, code)
                self.assertIn("Code: Unauthenticated", text)
        code, text = self.grpcurl("products", method, headers=[token], body=body, certificate="orders")
        self.assertEqual(0, code, text)

    def test_an_order_is_watched_by_a_web_socket(self):
        buyer = Person(self.shop)
        order = buyer.order(self.boss.make_product("Watched", Decimal("12.50"), 10))
        with WebSocket(self.shop, buyer.token, f"/orders/{order}/watch") as timeline:
            self.assertEqual("ORDER_CREATED", timeline.next()["what"])

    def test_the_providers_webhooks_arrive(self):
        buyer = Person(self.shop)
        product = self.boss.make_product("Paid for late", Decimal("12.50"), 10)
        buyer.call("POST", "/orders", {"items": [{"productId": product, "quantity": 1}], "paymentToken": "tok_late"})
        wait_for("a webhook to be taken", lambda: self.shop.metric(
            "gateway", "http_requests_total", 'route="/api/v1/payments/webhook"', 'status="200"') > 0)

    def test_keys_are_closed_to_others(self):
        keys = list(self.shop.certificate("ca")[0].parent.glob("*.key"))
        self.assertGreater(len(keys), len(SERVICES))
        self.assertEqual({0o600}, {stat.S_IMODE(key.stat().st_mode) for key in keys})

    def test_a_certificate_that_was_renewed_is_shown_without_a_restart(self):
        certificate, _ = self.shop.certificate("https")

        def shown():
            return ssl.get_server_certificate(("127.0.0.1", self.shop.port("gateway")), ca_certs=self.shop.http_ca)
        before, pid = shown(), self.shop.pid("gateway")
        self.assertEqual(before, certificate.read_text())
        self.assertIn("all are there", self.shop.script("certs"))
        certificate.unlink()
        self.assertIn("made https\n", self.shop.script("certs"))
        wait_for("the new certificate", lambda: shown() == certificate.read_text() != before)
        self.assertEqual(pid, self.shop.pid("gateway"))
