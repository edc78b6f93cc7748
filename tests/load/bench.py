#!/usr/bin/python3
"""Measures the release build on a stack of its own, each figure beside its own limit in the same run.

  tests/load/bench.py --bin build/release/bin [--rounds 3] [--seconds 4] [--only orders] [--write]

Everything runs on this machine: the load, the platform and the servers share its processors, so
what counts are the ratios within a run. Every round measures everything once, in the same order; the
figures are medians over the rounds. With --write they go into docs/performance.md.
"""

import argparse
import json
import os
import resource
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import psutil

import loads
import report
from shop import REPO, Shop, fetch, free_ports, say, servers, wait_for

CONNECTIONS = 64   # of a closed loop over HTTP or gRPC
POOL = 8           # what a service opens to PostgreSQL, and pgbench with it
BCRYPT_COST = 12   # the services' default
CART_PRODUCTS = 4  # in a buyer's cart


@dataclass
class Case:
    """One thing that is measured."""

    name: str
    port: int
    requests: list                       # (method, path, token, body)
    rpc: Callable[[int], float]          # the rpc itself, for so many seconds
    limits: dict = field(default_factory=dict)  # what it cannot be quicker than: {name: measure}
    connections: int = CONNECTIONS
    longer: int = 1                      # times the usual seconds, where answers are few
    prepare: Callable[[], None] = lambda: None
    outlasts: bool = False               # whether work goes on once everything was answered


class Bench:
    def __init__(self, shop, folder, args):
        self.shop, self.folder, self.args = shop, folder, args
        self.rates = defaultdict(list)   # (case, what): requests a second, a round each
        self.cpu = defaultdict(list)     # case: {process: µs a request}
        self.strangers = []              # share of the machine that was used by none of this
        self.decided = defaultdict(list) # case: orders to PROCESSING, what SQL says of a round
        self.latencies = {}
        self.idle = {}                   # CPU seconds a second of each process when nothing is asked
        self.files = 0

    # --- the things to measure ---

    def lines(self, requests):
        """A file of requests, for wrk and for the open loop."""
        self.files += 1
        path = self.folder / f"requests-{self.files}"
        path.write_text("".join(
            f"{method}\t/api/v1{path_}\t{token or '-'}\t{json.dumps(body) if body else ''}\n"
            for method, path_, token, body in requests))
        return path

    def direct(self, service, method, messages, people=(), address=None, connections=CONNECTIONS):
        self.files += 1
        path = self.folder / f"messages-{self.files}.json"
        path.write_text(json.dumps(messages))
        address = address or self.shop.settings.service_address(service)
        name = f"shop.{service}.v1.{service.title()}Service/{method}"
        tokens = [person.token for person in people]
        return lambda seconds: loads.ghz(address, name, path, seconds, connections, tokens)

    def sql(self, script, database="products"):
        return lambda seconds: loads.pgbench(self.shop, database, script, seconds, POOL, self.products)

    def cases(self):
        shop = self.shop
        self.people, self.products = shop.fill(self.args.buyers)
        people, products = self.people, range(1, self.products + 1)
        gateway = shop.port("gateway")
        asking = shop.start_gateway("gateway-asking", {})
        limited = shop.start_gateway("gateway-limited", {
            "ANSWER_CACHE_MS": "1000", "RATE_LIMIT_ENABLED": "true", "RATE_LIMIT_USER": "1000000000",
            "RATE_LIMIT_ADDRESS": "1000000000"})
        kept = {"ANSWER_CACHE_MS": "1000"}
        logged = shop.start_gateway("gateway-logged", kept | {"LOG_LEVEL": "info"})
        collector = {"OTEL_EXPORTER_OTLP_ENDPOINT": shop.start_collector()}
        traced = {share: shop.start_gateway(f"gateway-traced-{share}", kept | collector | {"OTEL_TRACES_SAMPLER_ARG": share})
                  for share in ("0.1", "1")}
        uncached_gateway, uncached_products = shop.start_without_cache()
        orders_copy = shop.copy_of_orders()

        ids = [{"id": product} for product in products]
        reads = [("GET", f"/products/{product}", None, None) for product in products]
        signed_reads = [("GET", f"/products/{product}", people[product % len(people)].token, None) for product in products]
        logins = [{"email": person.email, "password": "Walk-Through-1!"} for person in people]
        # A buyer's few products again and again, buyer after buyer.
        adds = [(person, {"productId": 1 + (number * CART_PRODUCTS + turn) % self.products, "quantity": 1})
                for turn in range(CART_PRODUCTS) for number, person in enumerate(people)]
        orders = [(people[product % len(people)], {"items": [{"productId": product, "quantity": 1}]})
                  for product in products]
        same = [(person, {"items": [{"productId": 1, "quantity": 1}]}) for person in people]

        self.bare_port = free_ports(1)[0]
        body = len(fetch(gateway, "/api/v1/products/1").text)
        shop.start_beside("bare", [self.args.bin / "bare_beast", self.bare_port, body])
        wait_for("the bare Beast", lambda: servers.answers("127.0.0.1", self.bare_port), 10)
        bare_file = self.lines(reads[:1])
        bare = {"bare Beast": lambda seconds: loads.wrk(self.bare_port, bare_file, seconds,
                                                        CONNECTIONS)[0]}
        return [
            Case("GET /products/{id}, kept", gateway, reads,
                 self.direct("products", "GetProduct", ids), bare),
            Case("GET /products/{id}, kept, limited", limited, reads,
                 self.direct("products", "GetProduct", ids), bare),
            Case("GET /products/{id}, kept, limited, signed in", limited, signed_reads,
                 self.direct("products", "GetProduct", ids, people), bare),
            Case("GET /products/{id}, kept, logged", logged, reads,
                 self.direct("products", "GetProduct", ids), bare),
            Case("GET /products/{id}, kept, a tenth traced", traced["0.1"], reads,
                 self.direct("products", "GetProduct", ids), bare),
            Case("GET /products/{id}, kept, all traced", traced["1"], reads,
                 self.direct("products", "GetProduct", ids), bare),
            Case("GET /products/{id}, cached", asking, reads,
                 self.direct("products", "GetProduct", ids), bare),
            Case("GET /products/{id}, uncached", uncached_gateway, reads,
                 self.direct("products", "GetProduct", ids, address=uncached_products),
                 {"pgbench": self.sql("product.sql")}),
            Case("GET /products, kept", gateway, [("GET", "/products", None, None)],
                 self.direct("products", "ListProducts", [{}]), bare),
            Case("GET /products", asking, [("GET", "/products", None, None)],
                 self.direct("products", "ListProducts", [{}]), {"pgbench": self.sql("list.sql")}),
            Case("GET /products/search", asking, [("GET", "/products/search?q=wireless+mouse", None, None)],
                 self.direct("products", "SearchProducts", [{"q": "wireless mouse"}]),
                 {"pgbench": self.sql("search.sql")}),
            Case("POST /auth/login", gateway, [("POST", "/auth/login", None, login) for login in logins],
                 self.direct("auth", "Login", logins, connections=8),
                 {"bcrypt": lambda seconds: loads.bcrypt(BCRYPT_COST, seconds)}, connections=8, longer=2),
            Case("POST /cart/add", gateway,
                 [("POST", "/cart/add", person.token, add) for person, add in adds],
                 self.direct("cart", "AddItem", [add for _, add in adds], people), prepare=self.empty_carts),
            Case("POST /orders", gateway,
                 [("POST", "/orders", person.token, order) for person, order in orders],
                 self.direct("orders", "CreateOrder", [order for _, order in orders], people),
                 {"pgbench": self.sql("order.sql", orders_copy)}, outlasts=True),
            Case("POST /orders, all of one product", gateway,
                 [("POST", "/orders", person.token, order) for person, order in same],
                 self.direct("orders", "CreateOrder", [order for _, order in same], people),
                 {"pgbench": self.sql("order.sql", orders_copy)}, outlasts=True)]

    def empty_carts(self):
        """So that no cart comes to the 1,000 pieces it may hold of a product."""
        for person in self.people:
            person.call("DELETE", "/cart")

    # --- a round ---

    def closed_loop(self, case, path, seconds):
        """The case over HTTP, with the CPU that every process used for it."""
        case.prepare()
        self.shop.settle()
        last_order = self.last_order()
        before, own_before, busy_before = self.shop.cpu(), children_cpu(), busy()
        begun = time.monotonic()
        rate, requests = loads.wrk(case.port, path, seconds * case.longer, case.connections)
        load_cpu = children_cpu() - own_before
        took = time.monotonic() - begun
        used = sum(self.shop.cpu().values()) - sum(before.values())
        self.strangers.append(max(0.0, busy() - busy_before - used - load_cpu) / (took * os.cpu_count()))
        if case.outlasts:
            self.decided[case.name].append(self.decisions(last_order))
            self.shop.settle()
        spent = self.since(before, begun, requests)
        self.rates[case.name, "http"].append(rate)
        self.cpu[case.name].append(spent | {"wrk": load_cpu / requests * 1e6})

    def since(self, before, begun, requests=1e6):
        """CPU of each process since then, in µs a request, without what it uses when idle."""
        took, after = time.monotonic() - begun, self.shop.cpu()
        return {name: max(0.0, after[name] - before.get(name, 0) - self.idle.get(name, 0) * took) / requests * 1e6
                for name in after}

    def last_order(self):
        return int(self.shop.sql("orders", "SELECT coalesce(max(id), 0) FROM orders;")[0][0])

    def decisions(self, last_order):
        """Once no order after that one is PENDING: how quickly they came to PROCESSING, that is reserved and paid,
        and how long their first events took from the outbox to their consumer."""
        def pending():
            return self.shop.sql("orders", "SELECT count(*) FROM orders WHERE status = 'PENDING';")[0][0]
        wait_for("all orders to be decided", lambda: pending() == "0", 120)
        row = self.shop.sql("orders", f"""
            WITH mine AS (SELECT status, created_at, updated_at FROM orders WHERE id > {last_order}),
                 bounds AS (SELECT min(created_at) AS first, max(created_at) AS last FROM mine)
            SELECT count(*), count(*) FILTER (WHERE status <> 'PROCESSING'),
              count(*) / extract(epoch FROM max(updated_at) - min(first)),
              count(*) FILTER (WHERE updated_at <= last) / extract(epoch FROM min(last) - min(first)),
              percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM updated_at - created_at)),
              percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM updated_at - created_at))
            FROM mine, bounds;""")[0]
        orders, others, overall, meanwhile, p50, p99 = map(float, row)
        if others:
            raise RuntimeError(f"{others:.0f} of {orders:.0f} orders did not come to PROCESSING")
        return {"orders": orders, "overall": overall, "meanwhile": meanwhile,
                "p50": p50 * 1000, "p99": p99 * 1000, "delay": self.delays(last_order)}

    def delays(self, last_order):
        """From the transaction that wrote ORDER_CREATED to the outbox to the one that recorded it as consumed by
        stock, in ms."""
        written = dict(self.shop.sql("orders", f"""
            SELECT event_id, extract(epoch FROM created_at) FROM outbox
            WHERE type = 'ORDER_CREATED' AND key::bigint > {last_order};"""))
        consumed = dict(self.shop.sql("stock", "SELECT event_id, extract(epoch FROM seen_at) FROM inbox;"))
        took = sorted((float(consumed[event]) - float(begun)) * 1000 for event, begun in written.items())
        return {"p50": took[len(took) // 2], "p99": took[len(took) * 99 // 100]}

    def measure(self, cases):
        seconds = self.args.seconds
        paths = {case.name: self.lines(case.requests) for case in cases}
        for case in cases:  # connections, plans, caches
            loads.wrk(case.port, paths[case.name], 1, case.connections)
        self.shop.settle()
        before, begun = self.shop.cpu(), time.monotonic()
        time.sleep(3)
        self.idle = {name: used / (time.monotonic() - begun)
                     for name, used in self.since(before, begun).items()}
        for number in range(1, self.args.rounds + 1):
            for case in cases:
                say(f"round {number} of {self.args.rounds}: {case.name}")
                self.closed_loop(case, paths[case.name], seconds)
                case.prepare()
                self.rates[case.name, "rpc"].append(case.rpc(seconds * case.longer))
                self.shop.settle()
                for name, limit in case.limits.items():
                    self.rates[case.name, name].append(limit(seconds * case.longer))
        for case in cases:
            rate = max(1, round(self.sustained(case) / 2))
            say(f"open loop: {case.name} at {rate}/s")
            case.prepare()
            self.shop.settle()
            last_order = self.last_order()
            said = loads.openloop(case.port, paths[case.name], seconds * case.longer * 2, rate)
            if said["failed"]:
                raise RuntimeError(f"{case.name}: {said['failed']} requests of the open loop failed")
            if case.outlasts:
                said["decided"] = self.decisions(last_order)
            self.latencies[case.name] = said

    def sustained(self, case):
        """The rate at which nothing is left over: of orders, that at which they are finished."""
        if case.name in self.decided:
            return statistics.median(found["overall"] for found in self.decided[case.name])
        return statistics.median(self.rates[case.name, "http"])

    def results(self):
        medians = {case: {} for case, _ in self.rates}
        for (case, what), rates in self.rates.items():
            medians[case][what] = {"median": statistics.median(rates), "rounds": rates}
        cpu = {case: {name: statistics.median(spent.get(name, 0) for spent in rounds) for name in rounds[-1]}
               for case, rounds in self.cpu.items()}
        return {"rates": medians, "cpu": cpu, "latencies": self.latencies, "decided": self.decided,
                "strangers": {"median": statistics.median(self.strangers), "most": max(self.strangers)},
                "idle_cpu": self.idle, "products": self.products, "buyers": len(self.people),
                "bcrypt_cost": BCRYPT_COST, "rounds": self.args.rounds, "seconds": self.args.seconds}


def children_cpu():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def busy():
    """Seconds of CPU that anybody on this machine has used."""
    used = psutil.cpu_times()
    return used.user + used.nice + used.system + used.irq + used.softirq


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bin", type=Path, default=REPO / "build/release/bin", help="the executables")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4, help="of one measurement")
    parser.add_argument("--buyers", type=int, default=32)
    parser.add_argument("--limit", type=int, default=1500, help="seconds for everything")
    parser.add_argument("--results", type=Path, default=REPO / "build/bench.json")
    parser.add_argument("--commit", help="what the executables were built from, when not from this tree")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the stack, such as PROFILE=observability")
    parser.add_argument("--only", default="", help="the cases with this in their name")
    parser.add_argument("--write", action="store_true", help="into docs/performance.md")
    args = parser.parse_args()
    if (args.only or args.set) and args.write:
        parser.error("--write needs all cases, and the usual settings")
    return args


def give_up(*_):
    raise KeyboardInterrupt("the benchmark took too long, or was told to stop")


def main():
    args = arguments()
    args.bin = args.bin.resolve()
    signal.signal(signal.SIGALRM, give_up)
    signal.signal(signal.SIGTERM, give_up)
    signal.alarm(args.limit)
    folder = Path(tempfile.mkdtemp(prefix="shop-bench-"))
    shop = Shop(folder / "stack", args.bin)
    machine = report.machine(args.commit)
    try:
        started = shop.start(dict(setting.split("=", 1) for setting in args.set))
        time.sleep(3)
        idle = shop.memory()
        bench = Bench(shop, folder, args)
        bench.measure([case for case in bench.cases() if args.only in case.name])
        shop.settle()
        results = bench.results() | {"machine": machine, "started": started,
                                     "memory": {"idle": idle, "after": shop.memory()}}
    except BaseException:
        for log in (folder / "stack" / "run" / "log").glob("*.log"):
            lines = log.read_text(errors="replace").splitlines()
            print(f"--- {log.stem}\n" + "\n".join(line[:400] for line in lines[-3:]), file=sys.stderr)
        raise
    finally:
        signal.alarm(0)
        shop.stop()
        shutil.rmtree(folder, ignore_errors=True)
    args.results.parent.mkdir(parents=True, exist_ok=True)
    args.results.write_text(json.dumps(results, indent=1))
    text = report.part(results) if args.only else report.text(results)
    print(text)
    if args.write:
        report.write(text)


if __name__ == "__main__":
    main()
