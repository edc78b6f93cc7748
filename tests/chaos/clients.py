"""Customers who order, cancel, send back and try again, a shop that gives money back, and what they were promised."""

import random
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal

from event_stream import EventStream
from harness import Answer

# What customers pay with, and how often. The provider decides by these (services/provider/README.md).
TOKENS = {"tok_approve": 10, "tok_decline": 2, "tok_insufficient_funds": 1, "tok_timeout": 1,
          "tok_timeout_charged": 1, "tok_reset_charged": 1, "tok_late": 2, "tok_twice": 2, "tok_webhook_lost": 1}
# How many seconds a request is sent again that was not answered.
PATIENCE = 120
# How many seconds after an order somebody looks whether there is anything to give back.
SOON = 3
# How many seconds the desk goes on with what is left once the customers are gone.
OVERTIME = 15
# The entries of a timeline with which people stop watching.
ENDS = ("ORDER_DELIVERED", "ORDER_CANCELLED")
# How long a customer watches for the charge, in order to cancel while it is under way.
WATCHES = 6


@dataclass
class Request:
    """An order that somebody wants, under one Idempotency-Key, however often it is sent."""
    buyer: object
    key: str
    body: dict
    made_at: float = field(default_factory=time.monotonic)
    orders: set = field(default_factory=set)  # the ids that were answered 201
    sent: int = 0


@dataclass
class Refund:
    """Money that the shop wants to give back, under one Idempotency-Key."""
    order: int
    key: str
    items: list                               # empty: all that is left
    given: dict = field(default_factory=dict)  # uuid -> amount, of each answer that was 201


@dataclass
class Got:
    """An answer, and when the request that it belongs to left and it came."""
    answer: Answer
    began: float
    ended: float

    @property
    def replayed(self):
        return self.answer.headers.get("Idempotent-Replayed") == "true"


def is_final(answer):
    """Whether this says what became of the request, and not to try again."""
    return (answer.status not in (429, 502, 503, 504)
            and not (answer.status == 409 and answer.headers.get("Retry-After")))


def insist(send):
    """Sends until there is an answer that is one."""
    deadline = time.monotonic() + PATIENCE
    while True:
        began = time.monotonic()
        try:
            answer = send()
        except OSError:
            answer = None
        if answer is not None and is_final(answer):
            return Got(answer, began, time.monotonic())
        if time.monotonic() > deadline:
            raise AssertionError(f"sent for {PATIENCE} s without an answer; last: {answer}")
        threading.Event().wait(0.1)


def at_once(*sends):
    """Starts all of them at the same moment; what each has answered."""
    barrier = threading.Barrier(len(sends))

    def start(send):
        barrier.wait()
        return send()

    with ThreadPoolExecutor(len(sends)) as pool:
        return [done.result() for done in [pool.submit(start, send) for send in sends]]


def waited_for_the_first(one, other):
    """Whether one of two requests was answered as a repeat, and had been sent before the first was answered."""
    return any(repeat.replayed and not first.replayed and repeat.began < first.ended
               for first, repeat in ((one, other), (other, one)))


class Customers:
    def __init__(self, people, products, seed):
        self.people = people
        self.products = products
        self.random = random.Random(seed)
        self.lock = threading.Lock()
        self.requests = []
        self.cancelled = set()  # orders whose cancellation was answered 200
        self.repeats_that_waited = 0
        self.stop = threading.Event()

    def chance(self):
        """A source of chance for one thread, which follows from the seed."""
        with self.lock:
            return random.Random(self.random.random())

    def run(self):
        """One customer, until told to stop; what was begun is brought to an answer."""
        chance = self.chance()
        while not self.stop.is_set():
            request = self.wish(chance)
            if chance.random() < 0.1:
                self.order_twice_at_once(request)
            else:
                self.order(request)
            what = chance.random()
            if what < 0.2:
                threading.Event().wait(chance.choice((0, 0, 0.05, 0.5, 2)))
                self.cancel(request)
            elif what < 0.3:
                self.cancel_while_it_is_charged(request)
            self.stop.wait(chance.uniform(0.1, 0.8))  # a customer's pace; a mail takes longer than an order

    def wish(self, chance, token=None, products=None):
        chosen = chance.sample(products or self.products, chance.randint(1, 2))
        body = {"items": [{"productId": product, "quantity": chance.randint(1, 3)} for product in chosen],
                "paymentToken": token or chance.choices(list(TOKENS), list(TOKENS.values()))[0],
                "shippingAddress": {"street": "Main Street 1", "city": "Springfield", "country": "US"}}
        request = Request(chance.choice(self.people), str(uuid.UUID(int=chance.getrandbits(128))), body)
        with self.lock:
            self.requests.append(request)
        return request

    def order(self, request):
        def send():
            request.sent += 1
            return request.buyer.call("POST", "/orders", request.body, {"Idempotency-Key": request.key})
        got = insist(send)
        if got.answer.status != 201:
            raise AssertionError(f"an order was answered {got.answer}")
        request.orders.add(got.answer.data["id"])
        return got

    def order_twice_at_once(self, request):
        got = at_once(*[lambda: self.order(request)] * 2)
        with self.lock:
            self.repeats_that_waited += waited_for_the_first(*got)

    def cancel(self, request):
        """Once; a lost answer promises nothing."""
        order = next(iter(request.orders))
        try:
            answer = request.buyer.call("POST", f"/orders/{order}/cancel", {"reason": "changed my mind"},
                                        {"Idempotency-Key": f"cancel-{request.key}"})
        except OSError:
            return False
        if answer.status == 200:
            self.cancelled.add(order)
        elif is_final(answer) and answer.status != 409:
            raise AssertionError(f"a cancellation was answered {answer}")
        return answer.status == 200

    def cancel_while_it_is_charged(self, request):
        if self.is_charged(request):
            self.cancel(request)

    def is_charged(self, request):
        """Waits until the customer sees that the money is being taken; False where that is not to be seen."""
        order = next(iter(request.orders))
        end = time.monotonic() + WATCHES
        while time.monotonic() < end and not self.stop.is_set():
            try:
                seen = request.buyer.call("GET", f"/payments/{order}")
            except OSError:
                return False
            attempts = seen.data["attempts"] if seen.status == 200 else []
            if any(attempt["operation"] == "CAPTURE" for attempt in attempts):
                return True
            threading.Event().wait(0.02)
        return False


class Watcher(threading.Thread):
    """Somebody who watches orders live, each from soon after it was placed to its end, whatever connection is lost."""

    def __init__(self, shop, customers, seen):
        super().__init__(daemon=True)
        self.shop = shop
        self.customers = customers
        self.seen = seen     # order -> the entries of its timeline as they came; shared by all watchers
        self.end = None      # when to give up, once everything is at rest

    def run(self):
        while not self.customers.stop.wait(0.05):
            request = self.choose()
            if request is None:
                continue
            order = next(iter(request.orders))
            stream = EventStream(self.shop, request.buyer.token, f"/orders/{order}/watch", silence=5)
            while entry := stream.next(self.given_up):
                self.seen[order].append(entry)
                if entry["what"] in ENDS:
                    break

    def choose(self):
        """The newest order that nobody watches."""
        with self.customers.lock:
            placed = [request for request in self.customers.requests
                      if request.orders and next(iter(request.orders)) not in self.seen]
            if not placed:
                return None
            self.seen[next(iter(placed[-1].orders))] = []
            return placed[-1]

    def given_up(self):
        return self.end is not None and time.monotonic() > self.end


class Desk:
    """Where the shop gives money back and takes goods back, for orders that are some seconds old."""

    def __init__(self, boss, customers):
        self.boss = boss
        self.customers = customers
        self.refunds = []
        self.returns = []    # orders of which a return was accepted
        self.seen = set()    # keys of requests that were looked at

    def run(self):
        chance = self.customers.chance()
        end = None
        while end is None or time.monotonic() < end:
            if self.customers.stop.wait(0.05):
                end = end or time.monotonic() + OVERTIME
            request = self.choose(chance)
            if request is None:
                continue
            order = next(iter(request.orders))
            status = insist(lambda order=order: self.boss.call("GET", f"/orders/{order}/status")).answer.data["status"]
            if status == "PENDING" or (status in ("PROCESSING", "SHIPPED") and chance.random() < 0.6):
                continue  # later
            self.seen.add(request.key)
            if status == "DELIVERED" and chance.random() < 0.6:
                self.take_back(request, order, chance)
            elif status != "CANCELLED":
                self.give_back(request, order, chance)

    def choose(self, chance):
        """One of those that are old enough: under way, or delivered already."""
        now = time.monotonic()
        old = [request for request in list(self.customers.requests)
               if request.orders and request.key not in self.seen and now - request.made_at > SOON]
        return chance.choice(old) if old else None

    def give_back(self, request, order, chance):
        line = [{"productId": request.body["items"][0]["productId"], "quantity": 1}]
        one = self.wish(order, f"refund-{request.key}", chance.choice(([], line)))
        what = chance.random()
        if what < 0.3:  # the same request, twice
            at_once(*[lambda: self.refund(one)] * 2)
        elif what < 0.8:  # two people who do not know of each other
            other = self.wish(order, f"refund-too-{request.key}", chance.choice(([], [], line)))
            at_once(lambda: self.refund(one), lambda: self.refund(other))
        else:
            self.refund(one)

    def wish(self, order, key, items):
        self.refunds.append(Refund(order, key, items))
        return self.refunds[-1]

    def refund(self, wanted):
        got = insist(lambda: self.boss.call("POST", f"/orders/{wanted.order}/refunds", {"items": wanted.items},
                                            {"Idempotency-Key": wanted.key}))
        if got.answer.status == 201:
            wanted.given[got.answer.data["uuid"]] = minor(got.answer.data["amount"])
        elif got.answer.status not in (404, 409):  # nothing was charged, or no more is left
            raise AssertionError(f"a refund was answered {got.answer}")

    def take_back(self, request, order, chance):
        item = chance.choice(request.body["items"])
        line = {"productId": item["productId"], "quantity": chance.randint(1, item["quantity"])}
        asked = insist(lambda: request.buyer.call(
            "POST", f"/orders/{order}/returns", {"items": [line], "reason": "too loud"},
            {"Idempotency-Key": f"return-{request.key}"})).answer
        if asked.status >= 300:
            raise AssertionError(f"a return was answered {asked}")
        accepted = insist(lambda: self.boss.call(
            "POST", f"/orders/{order}/returns/{asked.data['id']}/accept", {})).answer
        if accepted.status != 200:
            raise AssertionError(f"the acceptance of a return was answered {accepted}")
        self.returns.append(order)


def minor(amount):
    return int(Decimal(str(amount)) * 100)
