"""Metrics, traces and logs of every process, as they arrive at a Prometheus, at a collector and in the files."""

import json
import os
import re
import time
from decimal import Decimal
from urllib.parse import urlencode

import order_trail
from case import Case
from harness import Person, fetch, say, wait_for
from settings import PROCESSES

# Of each process: a metric that has counted something, a span and a line of the log, as an order leaves them.
SIGNALS = {
    "gateway": ('http_requests_total{route="/api/v1/orders",method="POST",status="201"}', "POST /api/v1/orders", "request"),
    "auth": ('rpc_handled_total{method=~".*/Login",code="OK"}', "shop.auth.v1.AuthService/Login", "rpc"),
    "users": ('rpc_handled_total{method=~".*/GetUser",code="OK"}', "shop.users.v1.UsersService/GetUser", "rpc"),
    "products": ('rpc_handled_total{method=~".*/BatchReserveStock",code="OK"}', "shop.products.v1.ProductsService/BatchReserveStock", "rpc"),
    "cart": ('rpc_handled_total{method=~".*/AddItem",code="OK"}', "shop.cart.v1.CartService/AddItem", "rpc"),
    "orders": ('rpc_handled_total{method=~".*/CreateOrder",code="OK"}', "shop.orders.v1.OrdersService/CreateOrder", "rpc"),
    "payments": ('payment_calls_total{operation="capture"}', "capture payment", "the payment provider has answered"),
    "stock": ('consumer_events_total{type="ORDER_CREATED",outcome="handled"}', "process orders", "ready"),
    "shipping": ('consumer_events_total{type="ORDER_CREATED",outcome="handled"}', "process orders", "ready"),
    "notification": ('mail_attempts_total', "send mail", "ready"),
    "provider": ('trace_spans_total{outcome="exported"}', "POST", "ready"),
    "reconciler": ('reconciler_runs_total', "reconcile", "ready"),
}


def walk(trees, depth=0):
    """Every span below some, with its depth."""
    for span in trees:
        yield depth, span
        yield from walk(span.children, depth + 1)


def find(trees, *path):
    """The first span that lies on a path of (process, name), each somewhere below the one before."""
    (process, name), rest = path[0], path[1:]
    for _, span in walk(trees):
        if (span.process, span.name) == (process, name):
            found = find(span.children, *rest) if rest else span
            if found:
                return found
    return None


class Signals(Case):
    def ordered(self, name):
        """A customer, and an order out of a cart that has come to its mail of confirmation."""
        buyer, product = Person(self.shop), self.boss.make_product(name, Decimal("1.00"), 10)
        buyer.call("POST", "/cart/add", {"productId": product, "quantity": 1})
        order = buyer.call("POST", "/orders", {"fromCart": True}).data["id"]
        self.assertEqual("PROCESSING", buyer.wait_until_decided(order))
        return buyer, order

    def traces_of(self, order):
        return order_trail.traces_of(self.shop.folder / "data/spans", str(order))

    def trace_with(self, order, *path):
        """The tree of the trace that has this path of spans, once it is there."""
        def look():
            return next((trees for trees in self.traces_of(order) if find(trees, *path)), None)
        try:
            return wait_for(f"a trace of order {order} to have {path[-1]}", look, 30)
        except AssertionError:
            say(self.shop.script("trace", str(order), check=False))
            raise

    def test_each_process_has_metrics_spans_and_logs(self):
        self.assertEqual(set(PROCESSES), set(SIGNALS))
        self.ordered("Watched")
        folder = self.shop.folder / "data/spans"

        def missing():
            names = {(span.process, span.name) for span in order_trail.read_spans(folder)}
            gone = []
            for process, (metric, span, message) in SIGNALS.items():
                name, _, labels = metric.partition("{")
                query = f'{name}{{process="{process}",{labels or "}"}'
                answer = fetch(self.shop.port("prometheus"), f"/api/v1/query?{urlencode({'query': query})}", plain=True)
                if not any(float(one["value"][1]) > 0 for one in json.loads(answer.text)["data"]["result"]):
                    gone.append(f"{process}: metric {query}")
                if (process, span) not in names:
                    gone.append(f"{process}: span {span}")
                lines = order_trail.read_lines([self.shop.log(process).read_text()])
                if not any(line["message"] == message for line in lines):
                    gone.append(f"{process}: log {message}")
            return gone
        try:
            wait_for("every signal", lambda: not missing(), 60)
        except AssertionError:
            self.fail("\n".join(missing()))

    def test_each_process_writes_its_log_itself_and_rotates_it(self):
        def streams(process):
            return [os.readlink(f"/proc/{self.shop.pid(process)}/fd/{number}") for number in (1, 2)]
        for process in PROCESSES:
            self.assertEqual([str(self.shop.log(process).resolve())] * 2, streams(process))
        log = self.shop.log("gateway").resolve()

        def ask(request):
            self.shop.call("GET", "/products?limit=1", headers={"X-Request-Id": request})
            return wait_for(f"the line of {request}", lambda: request in (text := log.read_text()) and text, 10)
        ask("before-the-rotation")
        os.truncate(log, 20_000_000)
        text = ask("after-the-rotation")
        self.assertTrue(text.startswith("{") and "before-the-rotation" not in text, text[:200])
        old = log.with_name("gateway.log.1")
        self.assertIn("before-the-rotation", old.read_text())
        self.assertEqual([str(log)] * 2, streams("gateway"))
        old.unlink()  # others read it, and most of it are zeros

    def test_a_metric_leads_to_a_trace(self):
        self.ordered("Exemplary")
        for metric in ('http_request_duration_seconds_bucket{route="/api/v1/orders"}', 'rpc_duration_seconds_bucket{process="orders"}'):
            def led(metric=metric):
                parameters = urlencode({"query": metric, "start": time.time() - 600, "end": time.time() + 60})
                answer = fetch(self.shop.port("prometheus"), f"/api/v1/query_exemplars?{parameters}", plain=True)
                exemplars = {one["labels"]["trace_id"] for series in json.loads(answer.text)["data"] for one in series["exemplars"]}
                return exemplars & {span.trace for span in order_trail.read_spans(self.shop.folder / "data/spans")}
            wait_for(f"an exemplar of {metric} whose trace is kept", led)

    def test_a_trace_leads_from_the_click_to_the_mail(self):
        buyer, order = self.ordered("Traced")
        click = ("gateway", "POST /api/v1/orders")
        created = [click, ("gateway", "shop.orders.v1.OrdersService/CreateOrder"), ("orders", "shop.orders.v1.OrdersService/CreateOrder")]
        reserved = created + [("orders", "publish orders"), ("stock", "process orders")]
        charged = reserved + [("stock", "publish stock"), ("payments", "process stock"), ("payments", "capture payment")]
        confirmed = charged[:-1] + [("payments", "publish payments"), ("orders", "process payments"), ("orders", "publish orders")]
        mailed = confirmed + [("notification", "process orders"), ("notification", "send mail")]
        trees = self.trace_with(order, *mailed)
        self.assertEqual([click], [(tree.process, tree.name) for tree in trees], "the trace is no single tree")
        for path in (created + [("orders", "shop.products.v1.ProductsService/QuoteProducts"),
                                ("products", "shop.products.v1.ProductsService/QuoteProducts"), ("products", "SELECT products")],
                     created + [("orders", "COMMIT")],
                     reserved + [("stock", "shop.products.v1.ProductsService/BatchReserveStock"),
                                 ("products", "shop.products.v1.ProductsService/BatchReserveStock"), ("products", "COMMIT")],
                     charged + [("payments", "POST"), ("provider", "POST")],
                     confirmed + [("shipping", "process orders")],
                     mailed + [("notification", "shop.users.v1.UsersService/GetUser"), ("users", "shop.users.v1.UsersService/GetUser")]):
            self.trace_with(order, *path)
        timeline = buyer.call("GET", f"/orders/{order}/timeline").data["items"]
        self.assertEqual({trees[0].trace}, {entry["traceId"] for entry in timeline})
        shown = self.shop.script("trace", str(order), quiet=True)
        for words in ("POST /api/v1/orders", "send mail", "ORDER_CONFIRMED"):
            self.assertIn(words, shown)
        self.assertNotIn("FAILED", shown)

    def test_the_id_of_a_request_goes_through_its_events(self):
        buyer, product = Person(self.shop), self.boss.make_product("Named", Decimal("1.00"), 10)
        order = buyer.call("POST", "/orders", {"products": [{"productId": product, "quantity": 1}]},
                           headers={"X-Request-Id": "my-own-request-1"}).data["id"]
        buyer.wait_until_decided(order)
        self.shop.wait_until_consumed()

        def told():
            texts = [self.shop.log(process).read_text() for process in PROCESSES]
            return {line["process"] for line in order_trail.lines_of(texts, str(order)) if line.get("requestId") == "my-own-request-1"}
        wait_for("each process to say whose request it was", lambda: told() >= {"gateway", "orders", "products"})
        for topic, kind in (("orders", "ORDER_CREATED"), ("stock", "STOCK_RESERVED")):
            self.assertEqual("my-own-request-1", self.shop.events(topic, order, kind)[0].headers["x-request-id"])

    def test_a_trace_shows_what_was_retried_died_and_was_redriven(self):
        buyer, product = Person(self.shop), self.boss.make_product("Unlucky", Decimal("1.00"), 10)
        self.sql("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no mail today'; END $$")
        self.sql(f"CREATE TRIGGER refuse BEFORE INSERT ON mail_jobs FOR EACH ROW WHEN (NEW.user_id = {buyer.id}) EXECUTE FUNCTION refuse()")
        order = buyer.order(product)
        wait_for("the event to be refused", lambda: self.shop.queued("notification"))
        # Not the many minutes until it has been tried often enough.
        self.sql("UPDATE retry_queue SET attempts = 9, next_at = now() WHERE type = 'ORDER_CREATED'")
        dead = wait_for("the event to be dead", lambda: re.search(
            rf"(notification-\d+)  dead .* key {order}\n", self.shop.script("dead", "notification", quiet=True)))
        self.sql("DROP FUNCTION refuse CASCADE")
        self.shop.script("redrive", dead[1], "--apply")
        wait_for("the mail", lambda: self.shop.mails(buyer.email))
        trees = self.trace_with(order, ("notification", "process orders"), ("notification", "send mail"))
        tried = [span for _, span in walk(trees) if (span.process, span.name, span.attributes.get("shop.event.type"))
                 == ("notification", "process orders", "ORDER_CREATED")]
        attempts = [span.attributes.get("shop.retry.attempt") for span in tried]
        # One more where a second had passed before the ninth was written down.
        self.assertEqual((None, [10, 1]), (attempts[0], attempts[-2:]), attempts)
        for span in tried[:-1]:
            self.assertIn("no mail today", span.error)
        self.assertEqual((None, "handled"), (tried[-1].error, tried[-1].attributes["shop.event.outcome"]))
        self.assertIsNotNone(find(tried[-1].children, ("notification", "send mail")))
        self.trace_with(order, ("orders", "publish orders"), ("notification", "publish notification.dead"))
        self.assertIn("FAILED", self.shop.script("trace", str(order), quiet=True))
        self.shop.wait_until_consumed()

    def sql(self, text):
        self.shop.script("psql", "notification", "--sql", text)
