"""What is asked of the platform: requests, as the load programs take them from a file."""

import json
import random
from dataclasses import dataclass, field
from typing import Callable

CONNECTIONS = 64   # of a closed loop over HTTP or gRPC
CART_PRODUCTS = 4  # in a buyer's cart
PASSWORD = "Walk-Through-1!"

KEPT, UNCACHED = "GET /products/{id}, kept", "GET /products/{id}, uncached"
LIST, SEARCH, LOGIN, CART = "GET /products", "GET /products/search", "POST /auth/login", "POST /cart/add"
ORDERS, HOT = "POST /orders", "POST /orders, all of one product"

# The mixed load: how many products are read, how unevenly, and what is asked besides.
MIXED_PRODUCTS = 10_000
ZIPF = 0.99
READS, ADDS, PLACED = 0.90, 0.08, 0.02


@dataclass
class Case:
    """One thing that is measured."""

    name: str
    port: int
    requests: list                       # (method, path, token, body)
    rpc: Callable[[int], float] | None = None   # the rpc itself, for so many seconds
    limits: dict = field(default_factory=dict)  # what it cannot be quicker than: {name: measure}
    connections: int = CONNECTIONS
    longer: int = 1                      # times the usual seconds, where answers are few
    share: float = 1                     # of its requests, those that its rate is about
    prepare: Callable[[], None] = lambda: None
    outlasts: bool = False               # whether work goes on once everything was answered


def reads(products, people=None):
    """Every product once; with people, signed in as these."""
    return [("GET", f"/products/{product}", people[product % len(people)].token if people else None, None)
            for product in products]


def logins(people):
    return [("POST", "/auth/login", None, {"email": person.email, "password": PASSWORD}) for person in people]


def adds(people, products):
    """A buyer's few products again and again, buyer after buyer."""
    return [("POST", "/cart/add", person.token, {"productId": 1 + (number * CART_PRODUCTS + turn) % products, "quantity": 1})
            for turn in range(CART_PRODUCTS) for number, person in enumerate(people)]


def orders(people, products):
    """A piece of each of these products, of one buyer after the other."""
    return [("POST", "/orders", people[number % len(people)].token, {"items": [{"productId": product, "quantity": 1}]})
            for number, product in enumerate(products)]


def zipf_reads(count, seed=1):
    """Reads of many products, the n-th most wanted of which is read n^0.99 times less than the first."""
    chance = random.Random(seed)
    ranked = chance.sample(range(1, MIXED_PRODUCTS + 1), MIXED_PRODUCTS)
    weights = [1 / rank ** ZIPF for rank in range(1, MIXED_PRODUCTS + 1)]
    return [("GET", f"/products/{product}", None, None) for product in chance.choices(ranked, weights, k=count)]


def mixed(people, count=40_000, seed=1):
    """These reads, with carts filled and orders placed in between, in no order."""
    chance = random.Random(seed)
    some_adds = adds(people, MIXED_PRODUCTS)
    some_orders = orders(people, chance.sample(range(1, MIXED_PRODUCTS + 1), round(count * PLACED)))
    requests = (zipf_reads(round(count * READS), seed) + some_orders +
                [some_adds[number % len(some_adds)] for number in range(round(count * ADDS))])
    chance.shuffle(requests)
    return requests


def written(path, requests):
    """A file of requests, for wrk and for the open loop."""
    path.write_text("".join(
        f"{method}\t/api/v1{path_}\t{token or '-'}\t{json.dumps(body) if body else ''}\n"
        for method, path_, token, body in requests))
    return path


def bodies(requests):
    """The messages of the rpc itself."""
    return [body for *_, body in requests]
