"""A discrete-event simulation of orders on their way from placed to PROCESSING, with SimPy.

What is simulated is who waits for what: processors, by the CPU that an order costs in each process; the threads that
there is one of (a relay a database, a consuming thread a group and process); the batches that these take; the workers
that ask the payment provider; the row of a product that everybody buys; the lock under which notification writes mails.
What is not: memory, disks, networks, failures. Costs are linear: a batch costs as much as its orders.
"""

import glob
import random
import sys
from dataclasses import dataclass, field
from typing import NamedTuple

from figures import REPO

sys.path += glob.glob(str(REPO / ".local/tools/simulation/lib/python3*/site-packages"))
try:
    import simpy  # pylint: disable=wrong-import-position
except ImportError:
    sys.exit("SimPy is missing: ./install-all.sh --for=test brings it")

SLICE = 0.002      # seconds for which somebody has a processor before it is somebody else's turn
BATCH = 100        # events that a consumer takes at once (libs/common/kafka/consumer.h),
BATCHES = {"stock": 20}  # but for these (services/stock/main.cpp)
ROUND = 1000       # events that a relay takes at once (libs/common/kafka/relay.h)
CALLS_AT_ONCE = 16  # to the payment provider, a process of payments (PAYMENT_CALLS_AT_ONCE)
CONNECTIONS = 8    # to its database, a process (POSTGRES_CONNECTIONS)

# At which steps a process works for an order, and its database with it. Measured is what an order costs the process in
# all; each of its steps is taken to cost the same.
STEPS = {"gateway": ("place",), "orders": ("place", "reserved", "paid"), "products": ("place", "reserve", "sell"),
         "stock": ("reserve", "sell"), "payments": ("wanted", "charge"), "provider": ("charge",),
         "shipping": ("ship", "ready"), "notification": ("mail placed", "mail paid")}
# Event -> the outbox it is published from, and the steps that it leads to.
EVENTS = {"ORDER_CREATED": ("orders", ("reserve", "ship", "mail placed")), "STOCK_RESERVED": ("stock", ("wanted", "reserved")),
          "PAYMENT_COMPLETED": ("payments", ("paid",)), "ORDER_CONFIRMED": ("orders", ("sell", "ready", "mail paid")),
          "SHIPMENT_CREATED": ("shipping", ())}
# Consumer group -> the steps that its events lead to.
GROUPS = {"stock": ("reserve", "sell"), "orders": ("reserved", "paid"), "payments": ("wanted",), "shipping": ("ship", "ready"),
          "notification": ("mail placed", "mail paid")}
GROUP_OF = {step: group for group, steps in GROUPS.items() for step in steps}
# What an order waits for on its way besides processors and turns: an event, from its outbox to its consumers; the provider.
WAITS = ("ORDER_CREATED", "STOCK_RESERVED", "PAYMENT_COMPLETED", "charge")
ROW, MAILS = "row of the hot product", "lock of the mails"


def cost_of(costs, process, step):
    """Seconds of CPU in a process, or in its database ("postgres/orders"), at one step of one order. What PostgreSQL
    does for all databases is theirs in equal parts."""
    steps = STEPS[process.removeprefix("postgres/")]
    if step not in steps or process not in costs:
        return 0.0
    cost = costs[process]
    if process.startswith("postgres/"):
        cost += costs.get("postgres", 0.0) / sum(1 for name in costs if name.startswith("postgres/"))
    return cost / len(steps)


def cost_of_others(costs):
    """What an order costs in processes that have no step of their own here, such as Redis."""
    return sum(cost for name, cost in costs.items()
               if name not in ("kafka", "postgres") and name.removeprefix("postgres/") not in STEPS)


@dataclass
class Layout:
    """How much there is of what. `machine`: the cores that everything shares; 0: each process of a service has
    `service_cores` of its own, each database a server with `database_cores`, Kafka `kafka_cores`."""

    replicas: int = 1
    partitions: int = 6
    machine: int = 0
    service_cores: int = 2
    database_cores: int = 16
    kafka_cores: int = 24
    relay_seconds: float = 0.0  # that a relay takes for an event, besides processors
    slots: int = 0              # rows over which the stock of a hot product is spread; 0: no product is hot


class Order(NamedTuple):
    number: int
    placed: float


@dataclass
class Found:
    placed: int = 0
    since: float = 0.0  # orders that came to PROCESSING before do not count: it was still filling up
    until: float = 0.0
    paid: list = field(default_factory=list)  # (when it came to PROCESSING, seconds since it was placed), an order each
    busy: dict = field(default_factory=dict)  # part -> share of the time of the load that it was at work

    @property
    def delays(self):
        return [delay for when, delay in self.paid if when >= self.since]

    @property
    def finished(self):
        """Orders that came to PROCESSING, a second."""
        return len(self.delays) / (self.until - self.since)

    def delay(self, share):
        ordered = sorted(self.delays)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("inf")

    @property
    def busiest(self):
        return max(self.busy, key=self.busy.get)


class Cores:
    """Processors that are shared fairly: whoever has work left after a slice queues again."""

    def __init__(self, env, count):
        self.env, self.count = env, count
        self.queue = simpy.Resource(env, count)
        self.used = 0.0

    def work(self, seconds):
        while seconds > 1e-12:
            part = min(seconds, SLICE)
            with self.queue.request() as turn:
                yield turn
                yield self.env.timeout(part)
            self.used += part
            seconds -= part


class OneByOne:
    """A thread that takes up to `most` of what waits for it, is at it for a while, and takes the next."""

    def __init__(self, env, most, handle):
        self.env, self.most, self.handle = env, most, handle
        self.waiting = simpy.Store(env)
        self.done = 0.0
        self.since = None  # when it began with what it is at
        env.process(self.run())

    def put(self, item):
        self.waiting.put(item)

    def run(self):
        while True:
            batch = [(yield self.waiting.get())]
            while self.waiting.items and len(batch) < self.most:
                batch.append((yield self.waiting.get()))
            self.since = self.env.now
            yield from self.handle(batch)
            self.done += self.env.now - self.since
            self.since = None

    @property
    def used(self):
        return self.done + (self.env.now - self.since if self.since is not None else 0.0)


class Platform:
    """`waits`: for some of WAITS, seconds of which one is drawn each time."""

    def __init__(self, costs, layout, waits=None, seed=1):
        self.env = simpy.Environment()
        self.costs, self.layout, self.waits = costs, layout, waits or {}
        self.chance = random.Random(seed)
        self.machines = {"all processes": Cores(self.env, layout.machine)} if layout.machine else {}
        self.connections = [simpy.Resource(self.env, CONNECTIONS) for _ in range(layout.replicas)]
        self.callers = [simpy.Resource(self.env, CALLS_AT_ONCE) for _ in range(layout.replicas)]
        self.rows = [simpy.Resource(self.env) for _ in range(layout.slots)]
        self.mail_lock = simpy.Resource(self.env)
        self.held = {ROW: 0.0, MAILS: 0.0}
        self.found = Found()
        # More processes than partitions have nothing to consume.
        self.threads = {group: [OneByOne(self.env, BATCHES.get(group, BATCH), self.handle)
                                for _ in range(min(layout.replicas, layout.partitions))] for group in GROUPS}
        self.relays = {outbox: OneByOne(self.env, ROUND, self.relay) for outbox, _ in EVENTS.values()}

    # --- who works ---

    def machine(self, process):
        if self.layout.machine:
            return self.machines["all processes"]
        if process not in self.machines:
            count = (self.layout.database_cores if process.startswith("postgres/") else
                     self.layout.kafka_cores if process == "kafka" else
                     self.layout.service_cores * self.layout.replicas)
            self.machines[process] = Cores(self.env, count)
        return self.machines[process]

    def work(self, processes, step, orders=1):
        """One after the other: who asks a database waits for it."""
        for process in processes:
            seconds = cost_of(self.costs, process, step) * orders
            if seconds:
                yield from self.machine(process).work(seconds)

    def wait(self, what):
        if self.waits.get(what):
            yield self.env.timeout(self.chance.choice(self.waits[what]))

    # --- events ---

    def publish(self, event, order):
        self.relays[EVENTS[event][0]].put((event, order))

    def relay(self, events):
        """A round of a relay."""
        if self.layout.relay_seconds:
            yield self.env.timeout(self.layout.relay_seconds * len(events))
        else:
            yield self.env.timeout(0)
        for event, group in by(events, lambda one: one[0]):
            self.env.process(self.deliver(event, [order for _, order in group]))

    def deliver(self, event, orders):
        yield from self.machine("kafka").work(self.costs.get("kafka", 0.0) / len(EVENTS) * len(orders))
        yield from self.wait(event)
        for step in EVENTS[event][1]:
            threads = self.threads[GROUP_OF[step]]
            for order in orders:  # an order's events go to one partition, and that to one process
                threads[order.number % self.layout.partitions % len(threads)].put((step, order))

    def handle(self, batch):
        """A batch of a consumer, as transactions of events of one kind."""
        for step, group in by(batch, lambda one: one[0]):
            orders = [order for _, order in group]
            if step.startswith("mail"):
                yield from self.holding(self.mail_lock, MAILS, self.work(("notification", "postgres/notification"), step, len(orders)))
            else:
                yield from getattr(self, step)(orders)

    # --- the steps of an order ---

    def place(self, number):
        order = Order(number, self.env.now)
        replica = number % self.layout.replicas
        yield from self.work(("gateway",), "place")
        self.env.process(self.machine("others").work(cost_of_others(self.costs)))
        with self.connections[replica].request() as connection:
            yield connection
            yield from self.work(("orders", "products", "postgres/products", "postgres/orders"), "place")
        self.found.placed += 1
        self.publish("ORDER_CREATED", order)

    def reserve(self, orders):
        yield from self.work(("stock",), "reserve", len(orders))
        for row, of_row in by(orders, lambda order: order.number % len(self.rows)) if self.rows else [(None, orders)]:
            work = self.work(("products", "postgres/products"), "reserve", len(of_row))
            yield from work if row is None else self.holding(self.rows[row], ROW, work)
        yield from self.work(("postgres/stock",), "reserve", len(orders))
        for order in orders:
            self.publish("STOCK_RESERVED", order)

    def holding(self, lock, name, work):
        with lock.request() as turn:
            yield turn
            began = self.env.now
            yield from work
            self.held[name] += self.env.now - began

    def reserved(self, orders):
        yield from self.work(("orders", "postgres/orders"), "reserved", len(orders))

    def wanted(self, orders):
        yield from self.work(("payments", "postgres/payments"), "wanted", len(orders))
        for order in orders:
            self.env.process(self.charge(order))

    def charge(self, order):
        with self.callers[order.number % self.layout.replicas].request() as caller:
            yield caller
            yield from self.wait("charge")
            yield from self.work(("provider", "postgres/provider", "payments", "postgres/payments"), "charge")
        self.publish("PAYMENT_COMPLETED", order)

    def paid(self, orders):
        yield from self.work(("orders", "postgres/orders"), "paid", len(orders))
        for order in orders:
            self.found.paid.append((self.env.now, self.env.now - order.placed))
            self.publish("ORDER_CONFIRMED", order)

    def sell(self, orders):
        yield from self.work(("stock", "products", "postgres/products", "postgres/stock"), "sell", len(orders))

    def ship(self, orders):
        yield from self.work(("shipping", "postgres/shipping"), "ship", len(orders))
        for order in orders:
            self.publish("SHIPMENT_CREATED", order)

    def ready(self, orders):
        yield from self.work(("shipping", "postgres/shipping"), "ready", len(orders))

    # --- loads ---

    def open_loop(self, rate, seconds, poisson):
        """At a rate, whatever becomes of them: one after the other as a benchmark does it, or as people come."""
        for number in range(int(rate * seconds)):
            self.env.process(self.place(number))
            yield self.env.timeout(self.chance.expovariate(rate) if poisson else 1 / rate)

    def client(self, first, count, seconds):
        """One of `count`, who orders again as soon as there is an answer."""
        number = first
        while self.env.now < seconds:
            yield from self.place(number)
            number += count

    def run(self, rate=0.0, clients=0, seconds=10.0, poisson=False, drain=True):
        """Orders for so many seconds; then, with `drain`, waits until the last of them is through. Without, the first half
        of the time is for filling up."""
        if clients:
            for first in range(clients):
                self.env.process(self.client(first, clients, seconds))
        else:
            self.env.process(self.open_loop(rate, seconds, poisson))
        self.env.run(seconds)
        busy = self.found.busy
        for name, machine in self.machines.items():
            busy[name] = machine.used / (machine.count * seconds)
        for group, threads in self.threads.items():
            busy[f"consuming threads of {group}"] = sum(thread.used for thread in threads) / len(threads) / seconds
        for outbox, relay in self.relays.items():
            busy[f"relay of {outbox}"] = relay.used / seconds
        busy[ROW] = self.held[ROW] / max(1, len(self.rows)) / seconds
        busy[MAILS] = self.held[MAILS] / seconds
        if drain:
            self.env.run()
        self.found.since, self.found.until = (0.0, self.found.paid[-1][0]) if drain else (seconds / 2, seconds)
        return self.found


def by(items, key):
    """[(key, items)], in the order in which each key came first."""
    groups = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.items())


def simulate(costs, layout, waits=None, seed=1, **load):
    return Platform(costs, layout, waits, seed).run(**load)
