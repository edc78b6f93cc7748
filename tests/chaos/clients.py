"""Customers who order, cancel and try again, and remember what they were promised."""

import itertools
import random
import threading
import uuid
from dataclasses import dataclass, field

# What customers pay with, and how often. The provider decides by these (services/provider/README.md).
TOKENS = {"tok_approve": 10, "tok_decline": 2, "tok_insufficient_funds": 1, "tok_timeout": 1,
          "tok_timeout_charged": 1, "tok_reset_charged": 1, "tok_late": 2, "tok_twice": 2, "tok_webhook_lost": 1}
# How many times a request is sent again that was not answered.
PATIENCE = 200


@dataclass
class Request:
    """An order that somebody wants, under one Idempotency-Key, however often it is sent."""
    buyer: object
    key: str
    body: dict
    orders: set = field(default_factory=set)  # the ids that were answered 201
    sent: int = 0


class Customers:
    def __init__(self, people, products, seed):
        self.people = people
        self.products = products
        self.random = random.Random(seed)
        self.lock = threading.Lock()
        self.requests = []
        self.cancelled = set()     # orders whose cancellation was answered 200
        self.stop = threading.Event()
        self.numbers = itertools.count()

    def run(self):
        """One customer, until told to stop; what was begun is brought to an answer."""
        with self.lock:
            chance = random.Random(self.random.random())
        while not self.stop.is_set():
            request = self.wish(chance)
            self.insist(request)
            if request.orders and chance.random() < 0.2:
                self.cancel(request, chance)
            self.stop.wait(chance.uniform(0.1, 0.8))  # a customer's pace; a mail takes longer than an order

    def wish(self, chance):
        chosen = chance.sample(self.products, chance.randint(1, 2))
        body = {"items": [{"productId": product, "quantity": chance.randint(1, 3)} for product in chosen],
                "paymentToken": chance.choices(list(TOKENS), list(TOKENS.values()))[0],
                "shippingAddress": {"street": "Main Street 1", "city": "Springfield", "country": "US"}}
        request = Request(chance.choice(self.people), str(uuid.UUID(int=chance.getrandbits(128))), body)
        with self.lock:
            self.requests.append(request)
        return request

    def insist(self, request):
        """Sends it until there is an answer that is one; a lost answer leaves nobody without an order."""
        for _ in range(PATIENCE):
            request.sent += 1
            try:
                answer = request.buyer.call("POST", "/orders", request.body, {"Idempotency-Key": request.key})
            except OSError:
                answer = None
            if answer is not None and answer.status == 201:
                request.orders.add(answer.data["id"])
                return
            if answer is not None and answer.status not in (409, 429, 502, 503, 504):
                raise AssertionError(f"an order was answered {answer}")
            threading.Event().wait(0.1)

    def cancel(self, request, chance):
        order = next(iter(request.orders))
        threading.Event().wait(chance.choice((0, 0, 0.05, 0.5, 2)))
        try:
            answer = request.buyer.call("POST", f"/orders/{order}/cancel", {"reason": "changed my mind"},
                                        {"Idempotency-Key": f"cancel-{request.key}"})
        except OSError:
            return
        if answer.status == 200:
            self.cancelled.add(order)
        elif answer.status not in (409, 429, 502, 503, 504):
            raise AssertionError(f"a cancellation was answered {answer}")
