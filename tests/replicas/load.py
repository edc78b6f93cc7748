"""Clients that keep their connections and send each request once: what is not answered as it should be has failed."""

import http.client
import json
import random
import threading
import time
import uuid
from collections import Counter

import http_client
from clients import Request
from harness import PASSWORD, Answer, say

# How long a client is silent between two requests, at most.
SILENCE = 0.3
# How often who fills a cart orders as well: an order makes four mails, and a mail takes longer than an order.
ORDERS = 0.1


class Client(threading.Thread):
    """One client, on one connection until the gateway ends it; `keeps` is False for one that opens a new one each time."""

    def __init__(self, load, person, seed, keeps=True):
        super().__init__(daemon=True)
        self.load = load
        self.person = person
        self.chance = random.Random(seed)
        self.keeps = keeps
        self.connection = None

    def send(self, method, path, body=None, expected=(200,), headers=None):
        """The answer, or None when the request has failed."""
        if self.connection is None:
            self.connection = http_client.connect(f"127.0.0.1:{self.load.port}")
        headers = {"Authorization": f"Bearer {self.person.token}", **(headers or {})}
        if body is not None:
            headers["Content-Type"] = "application/json"
        began = time.monotonic()
        try:
            self.connection.request(method, "/api/v1" + path, None if body is None else json.dumps(body), headers)
            got = self.connection.getresponse()
            answer = Answer(got.status, got.headers, got.read().decode())
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            self.load.failed(began, f"{method} {path}: {error!r}")
            return None
        if not self.keeps:
            self.connection.close()
        if answer.headers.get("Connection") == "close":
            self.load.count["connections ended by the gateway"] += 1
        self.load.count["requests"] += 1
        if answer.status in expected:
            return answer
        self.load.failed(began, f"{method} {path}: {answer}")
        return None

    def run(self):
        while not self.load.stop.wait(self.chance.uniform(0.01, SILENCE)):
            self.work()
        if self.connection is not None:
            self.connection.close()

    def work(self):
        raise NotImplementedError


class Buyer(Client):
    """Fills the cart, orders, and looks at what it has ordered."""

    def work(self):
        products = self.load.products
        if self.send("POST", "/cart/add", {"productId": self.chance.choice(products), "quantity": 1}, (200, 201)):
            with self.load.lock:
                self.load.added[self.person.id] += 1
        if self.chance.random() < ORDERS:
            self.order(products)
        if not self.load.placed_by(self.person):
            return
        earlier = self.chance.choice(self.load.placed_by(self.person))
        self.send("GET", f"/orders/{earlier}")
        # Of an order that is this new there may be none yet.
        self.send("GET", f"/payments/{earlier}", expected=(200, 404))
        self.send("GET", f"/shipments/{earlier}", expected=(200, 404))

    def order(self, products):
        request = Request(self.person, str(uuid.uuid4()), {
            "items": [{"productId": product, "quantity": self.chance.randint(1, 2)}
                      for product in self.chance.sample(products, 2)], "paymentToken": "tok_approve"}, sent=1)
        with self.load.lock:
            self.load.requests.append(request)
        answer = self.send("POST", "/orders", request.body, (201,), {"Idempotency-Key": request.key})
        if answer:
            request.orders.add(answer.data["id"])


class Reader(Client):
    """Looks around."""

    def work(self):
        self.send("GET", self.chance.choice((
            f"/products/{self.chance.choice(self.load.products)}", "/products?limit=3", "/products/search?q=replicated",
            f"/users/{self.person.id}", "/cart", "/orders?limit=3", "/auth/me")))


class Newcomer(Client):
    """Logs in, on a connection of its own each time."""

    def work(self):
        self.send("POST", "/auth/login", {"email": self.person.email, "password": PASSWORD})


class Load:
    def __init__(self, shop, people, products):
        self.port = shop.port("gateway")
        self.products = list(products)
        self.lock = threading.Lock()
        self.stop = threading.Event()
        self.began = time.monotonic()
        self.count = Counter()
        self.requests = []      # clients.Request, one for each order that was asked for
        self.added = Counter()  # user -> pieces that were put in the cart
        self.failures = []
        kinds = (Buyer, Buyer, Buyer, Reader, Reader, Newcomer)
        self.clients = [kinds[number % len(kinds)](self, person, number, kinds[number % len(kinds)] is not Newcomer)
                        for number, person in enumerate(people)]

    def start(self):
        for client in self.clients:
            client.start()

    def end(self):
        self.stop.set()
        for client in self.clients:
            client.join()
        say(f"{self.count['requests']} requests, {len(self.placed())} orders, {len(self.failures)} requests failed;"
            f" the gateway ended {self.count['connections ended by the gateway']} connections")
        for failure in self.failures[:20]:
            say(failure)

    def failed(self, began, what):
        with self.lock:
            self.failures.append(f"{began - self.began:6.1f} s to {time.monotonic() - self.began:6.1f} s: {what}")

    def placed(self):
        """The orders that were answered 201, in the order in which they were asked for."""
        with self.lock:
            return [order for request in self.requests for order in request.orders]

    def placed_by(self, person):
        with self.lock:
            return [order for request in self.requests for order in request.orders if request.buyer is person]
