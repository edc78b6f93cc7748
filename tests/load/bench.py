#!/usr/bin/python3
"""Measures the release build on a stack of its own, each figure beside its own limit in the same run.

  tests/load/bench.py --bin build/release/bin [--rounds 3] [--seconds 4] [--only orders,mixed] [--aged] [--write]

Everything runs on this machine: the load, the platform and the servers share its processors, so
what counts are the ratios within a run. Every round measures everything once, in the same order; what is set
side by side is measured in turn, the other one first in every second round. The
figures are medians over the rounds. With --write they go into docs/performance.md, unless others took too much of
the machine.

--only chooses by names: cases that have one in theirs (orders, kept, uncached), and these sections:
  defaults   kept reads and orders with the default LOG_LEVEL beside LOG_LEVEL=warning
  traced     orders with a tenth of the requests traced, and with all, beside orders of which no process records spans
  peer       reads through our gateway and through grpc-gateway, before the same service
  pinned     kept reads with the load on a processor of its own, and a bare Beast server under the same
  sustained  orders for a minute, and at 60 % of what was finished then
  mixed      reads alone, and with carts and orders among them
  aged       nothing but what --aged measures
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import aged
import cases
import loads
import others
import report
from cases import CART, CONNECTIONS, HOT, KEPT, LIST, LOGIN, ORDERS, SEARCH, UNCACHED, Case
from measure import Measure, children_cpu, cores, in_turn
from page import write_between
from shop import REPO, TOOLS, Shop, fetch, free_ports, say, servers, wait_for

POOL = 8           # what a service opens to PostgreSQL, and pgbench with it
BCRYPT_COST = 12   # the services' default
WARM_UP = 3        # seconds of the load on a core of its own that do not count: at first all that is kept is missing
# Old orders are in the database of orders alone, which the reconciler would have to say of each.
AGED_SETTINGS = {"RECONCILE_SECONDS": "86400"}


class Bench(Measure):
    def __init__(self, shop, folder, args):
        super().__init__(shop, folder)
        self.args = args
        self.latencies = {}
        self.beside = []     # (what, the case, the case beside it)
        self.found = {}      # what single sections say
        self.messages = 0

    # --- the things to measure ---

    def direct(self, service, method, messages, people=(), address=None, connections=CONNECTIONS):
        self.messages += 1
        path = self.folder / f"messages-{self.messages}.json"
        path.write_text(json.dumps(messages))
        address = address or self.shop.settings.service_address(service)
        name = f"shop.{service}.v1.{service.title()}Service/{method}"
        tokens = [person.token for person in people]
        return lambda seconds: loads.ghz(address, name, path, seconds, connections, tokens)

    def sql(self, script, database="products"):
        return lambda seconds: loads.pgbench(self.shop, database, script, seconds, POOL, self.products)

    def fill(self):
        self.people, self.products = self.shop.fill(self.args.buyers)
        self.orders = Case(ORDERS, self.shop.port("gateway"), cases.orders(self.people, range(1, self.products + 1)), outlasts=True)
        self.kept = Case(KEPT, self.shop.port("gateway"), cases.reads(range(1, self.products + 1)))
        self.asking = self.shop.start_gateway("gateway-asking", {})
        self.uncached_gateway, self.uncached_products, self.uncached_address = self.shop.start_without_cache()
        self.collector = self.shop.start_collector()
        self.bare = self.start_bare()

    def start_bare(self):
        """A server with nothing but Beast, which answers with as many bytes as a product has; its port."""
        port = free_ports(1)[0]
        body = len(fetch(self.shop.port("gateway"), "/api/v1/products/1").text)
        self.shop.start_beside("bare", [self.args.bin / "bare_beast", port, body])
        wait_for("the bare Beast", lambda: servers.answers("127.0.0.1", port), 10)
        return port

    def cases(self):
        """Each is measured by itself, and beside its rpc and its limit."""
        shop, people, products = self.shop, self.people, range(1, self.products + 1)
        gateway, asking = shop.port("gateway"), self.asking
        kept = {"ANSWER_CACHE_MS": "1000"}
        limited = shop.start_gateway("gateway-limited", kept | {
            "RATE_LIMIT_ENABLED": "true", "RATE_LIMIT_USER": "1000000000", "RATE_LIMIT_ADDRESS": "1000000000"})
        collector = {"OTEL_EXPORTER_OTLP_ENDPOINT": self.collector}
        traced = {share: shop.start_gateway(f"gateway-traced-{share}", kept | collector | {"OTEL_TRACES_SAMPLER_ARG": share})
                  for share in ("0.1", "1")}
        order_copy = {"pgbench": self.sql("order.sql", shop.copy_of_orders())}

        ids = [{"id": product} for product in products]
        reads, signed_reads = self.kept.requests, cases.reads(products, people)
        logins, adds = cases.logins(people), cases.adds(people, self.products)
        same = cases.orders(people, [1] * len(people))

        bare_file = cases.written(self.folder / "bare", reads[:1])
        bare = {"bare Beast": lambda seconds: loads.wrk(self.bare, bare_file, seconds, CONNECTIONS)[0]}
        get = self.direct("products", "GetProduct", ids)
        listing = self.direct("products", "ListProducts", [{}])
        self.beside.append(("orders of one product, to those of many", HOT, ORDERS))
        self.beside.append(("kept reads with a token and limits, to those with a token", KEPT + ", limited, signed in", KEPT + ", signed in"))
        return [
            Case(KEPT, gateway, reads, get, bare),
            Case(KEPT + ", limited", limited, reads, None, bare),
            Case(KEPT + ", signed in", gateway, signed_reads, None, bare),
            Case(KEPT + ", limited, signed in", limited, signed_reads,
                 self.direct("products", "GetProduct", ids, people), bare),
            Case(KEPT + ", a tenth traced", traced["0.1"], reads, None, bare),
            Case(KEPT + ", all traced", traced["1"], reads, None, bare),
            Case("GET /products/{id}, cached", asking, reads, get, bare),
            Case(UNCACHED, self.uncached_gateway, reads,
                 self.direct("products", "GetProduct", ids, address=self.uncached_products), {"pgbench": self.sql("product.sql")}),
            Case(LIST + ", kept", gateway, [("GET", "/products", None, None)], listing, bare),
            Case(LIST, asking, [("GET", "/products", None, None)], listing, {"pgbench": self.sql("list.sql")}),
            Case(SEARCH, asking, [("GET", "/products/search?q=wireless+mouse", None, None)],
                 self.direct("products", "SearchProducts", [{"q": "wireless mouse"}]), {"pgbench": self.sql("search.sql")}),
            Case(LOGIN, gateway, logins, self.direct("auth", "Login", cases.bodies(logins), connections=8),
                 {"bcrypt": lambda seconds: loads.bcrypt(BCRYPT_COST, seconds)}, connections=8, longer=2),
            Case(CART, gateway, adds, self.direct("cart", "AddItem", cases.bodies(adds), people), prepare=self.empty_carts),
            Case(ORDERS, gateway, self.orders.requests,
                 self.direct("orders", "CreateOrder", cases.bodies(self.orders.requests), people), order_copy, outlasts=True),
            Case(HOT, gateway, same,
                 self.direct("orders", "CreateOrder", cases.bodies(same), people), order_copy, outlasts=True)]

    def empty_carts(self):
        """So that no cart comes to the 1,000 pieces it may hold of a product."""
        for person in self.people:
            person.call("DELETE", "/cart")

    def measure(self, some):
        """Every case by itself: closed loop, its rpc and its limits in every round, then its latencies."""
        seconds = self.args.seconds
        self.warm_up(some)
        for number in range(1, self.args.rounds + 1):
            for case in some:
                say(f"round {number} of {self.args.rounds}: {case.name}")
                self.closed_loop(case, seconds)
                if case.rpc:
                    case.prepare()
                    self.rates[case.name, "rpc"].append(case.rpc(seconds * case.longer))
                    self.shop.settle()
                for name, limit in case.limits.items():
                    self.rates[case.name, name].append(limit(seconds * case.longer))
        for case in some:
            self.open_loop(case, self.without_leftovers(case) / 2, seconds * case.longer * 2)

    def open_loop(self, case, rate, seconds, name=None, core=None, warm_up=0):
        """Its latencies at that rate, without those of the first seconds; of orders also what became of them."""
        rate = max(1, round(rate))
        say(f"open loop: {name or case.name} at {rate}/s")
        case.prepare()
        self.shop.settle()
        last = self.last()
        said = loads.openloop(case.port, self.path(case), seconds, rate, core, warm_up)
        if said["failed"]:
            raise RuntimeError(f"{case.name}: {said['failed']} of {said['requests']} requests of the open loop failed")
        if case.outlasts:
            said["left"] = self.pending()
            self.wait_until_decided()
            said["decided"] = self.decisions(last)
        self.latencies[name or case.name] = said
        return said

    def without_leftovers(self, case):
        """The rate at which nothing is left over: of orders, that at which they are finished."""
        if case.name in self.decided:
            return report.median(found["overall"] for found in self.decided[case.name])
        return report.median(self.rates[case.name, "http"])

    # --- what stands side by side, and what is measured once ---

    def side_by_side(self, pairs, choose=lambda case: None):
        """Pairs of (what, case, case beside it), in turn; `choose` prepares the platform for a case."""
        some = list({case.name: case for _, *pair in pairs for case in pair}.values())
        self.warm_up(some)
        for number in range(self.args.rounds):
            for case in some[::-1] if number % 2 else some:
                say(f"round {number + 1} of {self.args.rounds}: {case.name}")
                choose(case)
                self.closed_loop(case, self.args.seconds)
        self.beside += [(what, case.name, beside.name) for what, case, beside in pairs]

    def defaults(self):
        def at(case, level):
            return Case(f"{case.name}, LOG_LEVEL={level}", case.port, case.requests, outlasts=case.outlasts)
        try:
            self.side_by_side([(f"{what}, LOG_LEVEL=info, to warning", at(case, "info"), at(case, "warning"))
                               for what, case in (("kept reads", self.kept), ("orders", self.orders))],
                              lambda case: self.shop.log_level(case.name.partition("LOG_LEVEL=")[2]))
        finally:
            self.shop.log_level("warning")

    def traced(self):
        """A process records spans from its start on or not at all, so each case is a start of the stack."""
        where = {"OTEL_EXPORTER_OTLP_ENDPOINT": self.collector}
        settings = {"nothing traced": {name: "" for name in where}, "a tenth traced": where | {"OTEL_TRACES_SAMPLER_ARG": "0.1"},
                    "all traced": where | {"OTEL_TRACES_SAMPLER_ARG": "1"}}
        none, tenth, each = (Case(f"{ORDERS}, {how}", self.orders.port, self.orders.requests, outlasts=True) for how in settings)

        def choose(case):
            self.shop.start_again(settings[case.name.partition(", ")[2]])
            self.warm_up([case])
        try:
            self.side_by_side([("orders, a tenth traced, to none", tenth, none), ("orders, all traced, to none", each, none)], choose)
        finally:
            self.shop.start_again(settings["nothing traced"])

    def peer(self):
        if not (TOOLS / "bin" / "grpc-gateway").exists():
            say("grpc-gateway is missing: tests/load/install.sh says why")
            return
        port = self.shop.start_peer(self.uncached_address)
        lists = [("GET", "/products", None, None)]
        self.side_by_side([(f"{what}, to grpc-gateway", Case(f"{name}, by ours", self.uncached_gateway, requests),
                            Case(f"{name}, by grpc-gateway", port, requests))
                           for what, name, requests in (("uncached product", UNCACHED, self.kept.requests),
                                                        ("uncached list of 20", LIST + ", uncached", lists))])

    def pinned(self):
        *platform, load = cores()
        if not platform:
            say("there is one processor alone: nothing can have one of its own")
            return
        self.shop.pin(platform)
        try:
            rate, _ = loads.wrk(self.kept.port, self.path(self.kept), self.args.seconds, CONNECTIONS, load)
            bare = self.open_loop(Case("bare Beast", self.bare, self.kept.requests[:1]), rate / 2, self.args.seconds * 2,
                                  "bare Beast, the load on a core of its own", load, WARM_UP)
            before, begun = children_cpu(), time.monotonic()
            said = self.open_loop(self.kept, rate / 2, self.args.seconds * 2, KEPT + ", the load on a core of its own", load, WARM_UP)
            self.found["pinned"] = {"closed": rate, "rate": said["rate"], "p50": said["p50"], "p999": said["p999"],
                                    "requests": said["requests"], "bare": bare["p999"],
                                    "load": (children_cpu() - before) / (time.monotonic() - begun)}
        finally:
            self.shop.pin(cores())

    def sustained(self):
        """A tenth more orders than were finished in short rounds, for a minute: from the first one placed to the last
        one finished they come at the rate that can be kept up."""
        if ORDERS not in self.decided:
            self.closed_loop(self.orders, self.args.seconds)
        burst = self.without_leftovers(self.orders)
        self.shop.settle()
        before, begun = self.shop.cpu(), time.monotonic()
        said = self.open_loop(self.orders, burst * 1.1, self.args.minute, ORDERS + ", for a minute")
        self.cpu[ORDERS + ", for a minute"].append(self.since(before, begun, said["requests"]))
        finished = said["decided"]["overall"]
        easy = self.open_loop(self.orders, finished * 0.6, max(self.args.minute / 4, 2), ORDERS + ", at 60 % of that")
        self.found["sustained"] = {"seconds": self.args.minute, "offered": said["rate"], "orders": said["requests"],
                                   "left": said["left"], "finished": finished, "rate": easy["rate"],
                                   "p50": easy["decided"]["p50"], "p99": easy["decided"]["p99"]}

    def mixed(self):
        self.shop.fill_up(cases.MIXED_PRODUCTS)
        alone, among = cases.zipf_reads(40_000), cases.mixed(self.people)
        self.side_by_side([(f"{what}, to reads alone",
                            Case(f"reads among carts and orders, {how}", port, among, share=cases.READS, prepare=self.empty_carts,
                                 outlasts=True),
                            Case(f"reads alone, {how}", port, alone))
                           for what, how, port in (("reads in the mixed load", "kept", self.kept.port),
                                                   ("reads in the mixed load, no answer kept", "asked for", self.asking))])

    def aged(self):
        """Orders on this stack, once its databases hold what a month leaves behind, and on one without, in turn."""
        seconds = aged.fill(self.shop, self.args.aged, self.args.aged_rows)
        self.found["aged"] = {"orders": self.args.aged, "rows": self.args.aged_rows, "seconds": seconds}
        fresh = Shop(self.folder / "fresh-stack", self.args.bin)
        try:
            fresh.start(AGED_SETTINGS)
            (self.folder / "fresh").mkdir()
            beside = Measure(fresh, self.folder / "fresh", self.others, [self.shop])
            sides = [(self, self.orders_of(self.shop, self.people, "with a month's data")),
                     (beside, self.orders_of(fresh, fresh.fill(self.args.buyers)[0], "without"))]
            self.all_shops.append(fresh)
            in_turn(sides, (ORDERS, HOT), self.args.rounds, self.args.seconds)
            for name in ("rates", "cpu", "decided"):
                getattr(self, name).update(getattr(beside, name))
            for name in (ORDERS, HOT):
                old, new = (some[name].name for _, some in sides)
                self.beside.append((f"{old}, to without", old, new))
        finally:
            self.all_shops = [self.shop]
            fresh.stop()

    def orders_of(self, shop, people, how):
        return {name: Case(f"{name} {how}", shop.port("gateway"), cases.orders(people, products), outlasts=True)
                for name, products in ((ORDERS, range(1, self.products + 1)), (HOT, [1] * len(people)))}

    def results(self):
        return super().results() | {
            "latencies": self.latencies, "beside": self.beside, "found": self.found, "products": self.products,
            "buyers": len(self.people), "bcrypt_cost": BCRYPT_COST, "rounds": self.args.rounds, "seconds": self.args.seconds}

    def run(self):
        sections = {section.__name__: section for section in (self.defaults, self.traced, self.peer, self.pinned, self.sustained, self.mixed)}
        only = self.args.only
        self.fill()
        self.warm_up([self.kept, self.orders])
        self.look_at_idle()
        if not only or set(only) - set(sections) - {"aged"}:
            self.measure([case for case in self.cases() if not only or any(word in case.name for word in only)])
        for name, section in sections.items():
            if not only or name in only:
                section()
        memory = self.shop.memory()
        if self.args.aged:
            self.aged()
        return memory


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bin", type=Path, default=REPO / "build/release/bin", help="the executables")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4, help="of one measurement")
    parser.add_argument("--minute", type=int, default=60, help="seconds of the sustained orders")
    parser.add_argument("--buyers", type=int, default=32)
    parser.add_argument("--aged", type=int, nargs="?", const=1_000_000, default=0, metavar="ORDERS",
                        help="orders with so many old ones (a million) and their rows of inboxes and outboxes, beside orders without")
    parser.add_argument("--aged-rows", type=int, metavar="ROWS",
                        help="of all inboxes, and of all outboxes; 20 an old order")
    parser.add_argument("--limit", type=int, default=2400, help="seconds for everything, but for --aged")
    parser.add_argument("--results", type=Path, default=REPO / "build/bench.json")
    parser.add_argument("--commit", help="what the executables were built from, when not from this tree")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the stack, such as PROFILE=observability")
    parser.add_argument("--only", default="", help="parts of names, with commas between them: see above")
    parser.add_argument("--write", action="store_true", help="into docs/performance.md")
    args = parser.parse_args()
    args.only = [word for word in args.only.split(",") if word]
    args.aged_rows = args.aged_rows or 20 * args.aged
    if (args.only or args.set) and args.write:
        parser.error("--write needs everything, and the usual settings")
    return args


def give_up(*_):
    raise KeyboardInterrupt("the benchmark took too long, or was told to stop")


def main():
    args = arguments()
    args.bin = args.bin.resolve()
    signal.signal(signal.SIGALRM, give_up)
    signal.signal(signal.SIGTERM, give_up)
    signal.alarm(args.limit + (3600 if args.aged else 0))
    folder = Path(tempfile.mkdtemp(prefix="shop-bench-"))
    shop = Shop(folder / "stack", args.bin)
    machine = report.machine(args.commit)
    args.results.parent.mkdir(parents=True, exist_ok=True)
    bench = None
    try:
        shop.start((AGED_SETTINGS if args.aged else {}) | dict(setting.split("=", 1) for setting in args.set))
        started = shop.start_again()
        time.sleep(3)
        idle = shop.memory()
        bench = Bench(shop, folder, args)
        memory = bench.run()
        results = bench.results() | {"machine": machine, "started": started, "memory": {"idle": idle, "after": memory}}
    except BaseException:
        if bench:  # what it took so long to find
            args.results.write_text(json.dumps(bench.results(), indent=1))
        for log in (folder / "stack" / "run" / "log").glob("*.log"):
            lines = log.read_text(errors="replace").splitlines()
            print(f"--- {log.stem}\n" + "\n".join(line[:400] for line in lines[-3:]), file=sys.stderr)
        raise
    finally:
        signal.alarm(0)
        shop.stop()
        shutil.rmtree(folder, ignore_errors=True)
    args.results.write_text(json.dumps(results, indent=1))
    text = report.part(results) if args.only else report.text(results)
    print(text)
    print(others.told(results["others"]), file=sys.stderr)
    if args.write:
        if others.too_much(results["others"]):
            sys.exit(f"error: docs/performance.md is left as it was, as others may take {others.ALLOWED * 100:.0f} %")
        write_between(report.PAGE, report.BEGIN, report.END, text)


if __name__ == "__main__":
    main()
