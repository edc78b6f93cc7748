"""Measures one thing at a time on a running stack: rate, CPU of every process for a request, what becomes of the orders."""

import os
import resource
import statistics
import time
from collections import defaultdict

import cases
import loads
from others import Others
from shop import say, wait_for


def children_cpu():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def own_cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime + children_cpu()


class Measure:
    """What was found on one stack, by the names of cases; a value a round."""

    def __init__(self, shop, folder, others=None, idle_shops=()):
        self.shop, self.folder = shop, folder
        self.others = others or Others()
        self.all_shops = [shop, *idle_shops]  # those that are ours, whichever is measured
        self.rates = defaultdict(list)    # (case, what): requests a second
        self.cpu = defaultdict(list)      # case: {process: µs a request}
        self.decided = defaultdict(list)  # case: orders to PROCESSING, what SQL says of them
        self.paths = {}                   # case: its file of requests
        self.idle = {}                    # CPU seconds a second of each process when nothing is asked

    def path(self, case):
        if case.name not in self.paths:
            self.paths[case.name] = cases.written(self.folder / f"requests-{len(self.paths)}", case.requests)
        return self.paths[case.name]

    def warm_up(self, some):
        """Connections, plans, caches."""
        for case in some:
            loads.wrk(case.port, self.path(case), 1, case.connections)
        self.shop.settle()

    def look_at_idle(self, seconds=3):
        before, begun = self.shop.cpu(), time.monotonic()
        time.sleep(seconds)
        self.idle = {name: used / (time.monotonic() - begun) for name, used in self.since(before, begun).items()}

    def closed_loop(self, case, seconds):
        """The case over HTTP as quickly as it goes, with the CPU that every process used for it, until all it set off
        was done. Answers the requests a second."""
        case.prepare()
        self.shop.settle()
        last = self.last() if case.outlasts else None
        pids = [pid for shop in self.all_shops for some in shop.processes().values() for pid in some]
        ours_before, seen = self.ours(), self.others.look(pids)
        before, load_before = self.shop.cpu(), children_cpu()
        begun = time.monotonic()
        rate, requests = loads.wrk(case.port, self.path(case), seconds * case.longer, case.connections)
        load_cpu = children_cpu() - load_before
        self.others.note(seen, self.others.look(pids), self.ours() - ours_before)
        if case.outlasts:
            self.wait_until_decided()
            self.shop.settle()
        spent = self.since(before, begun, requests)
        if case.outlasts:
            self.decided[case.name].append(self.decisions(last))
        self.rates[case.name, "http"].append(rate * case.share)
        self.cpu[case.name].append(spent | {"wrk": load_cpu / requests * 1e6})
        return rate

    def ours(self):
        """Seconds of CPU that the load, its measuring and all that is ours have used so far."""
        return own_cpu() + sum(sum(shop.cpu().values()) for shop in self.all_shops)

    def since(self, before, begun, requests=1e6):
        """CPU of each process since then, in µs a request, without what it uses when idle."""
        took, after = time.monotonic() - begun, self.shop.cpu()
        return {name: max(0.0, after[name] - before.get(name, 0) - self.idle.get(name, 0) * took) / requests * 1e6
                for name in after}

    # --- orders, from the databases ---

    def last(self):
        """The last order and the last event of orders, so that those after them can be found."""
        return [int(self.shop.sql("orders", f"SELECT coalesce(max(id), 0) FROM {table};")[0][0]) for table in ("orders", "outbox")]

    def pending(self):
        return int(self.shop.sql("orders", "SELECT count(*) FROM orders WHERE status = 'PENDING';")[0][0])

    def wait_until_decided(self):
        def decided():
            time.sleep(0.5)  # what looks for it is counted with what an order costs
            return self.pending() == 0
        # Whatever rate they are finished at is told, so this only ends a run in which they stand still.
        wait_for("all orders to be decided", decided, 600)

    def decisions(self, last):
        """Of decided orders, those after these: how quickly they came to PROCESSING, that is reserved and paid,
        and how long their first events took from the outbox to their consumer."""
        row = self.shop.sql("orders", f"""
            WITH mine AS (SELECT created_at, at AS confirmed_at
                          FROM orders LEFT JOIN order_timeline ON order_id = id AND what = 'ORDER_CONFIRMED'
                          WHERE id > {last[0]}),
                 bounds AS (SELECT min(created_at) AS first, max(created_at) AS last FROM mine)
            SELECT count(*), count(*) FILTER (WHERE confirmed_at IS NULL),
              count(*) / extract(epoch FROM max(confirmed_at) - min(first)),
              count(*) FILTER (WHERE confirmed_at <= last) / extract(epoch FROM min(last) - min(first)),
              percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM confirmed_at - created_at)),
              percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM confirmed_at - created_at))
            FROM mine, bounds;""")[0]
        orders, others, overall, meanwhile, p50, p99 = map(float, row)
        if others:
            raise RuntimeError(f"{others:.0f} of {orders:.0f} orders did not come to PROCESSING")
        return {"orders": orders, "overall": overall, "meanwhile": meanwhile,
                "p50": p50 * 1000, "p99": p99 * 1000, "delay": self.delays(last)}

    def delays(self, last):
        """From the transaction that wrote ORDER_CREATED to the outbox to the one that recorded it as consumed by
        stock, in ms."""
        written = dict(self.shop.sql("orders", f"""
            SELECT event_id, extract(epoch FROM created_at) FROM outbox WHERE type = 'ORDER_CREATED' AND id > {last[1]};"""))
        consumed = dict(self.shop.sql("stock", """
            SELECT event_id, extract(epoch FROM seen_at) FROM inbox WHERE seen_at > now() - interval '15 minutes';"""))
        took = sorted((float(consumed[event]) - float(begun)) * 1000 for event, begun in written.items())
        return {"p50": took[len(took) // 2], "p99": took[len(took) * 99 // 100]}

    # --- all of it ---

    def results(self):
        medians = defaultdict(dict)
        for (case, what), rates in self.rates.items():
            medians[case][what] = {"median": statistics.median(rates), "rounds": rates}
        cpu = {case: {name: statistics.median(spent.get(name, 0) for spent in rounds) for name in rounds[-1]}
               for case, rounds in self.cpu.items()}
        return {"rates": medians, "cpu": cpu, "cpu_rounds": self.cpu, "decided": self.decided,
                "others": self.others.found(), "idle_cpu": self.idle}


def cores():
    return sorted(os.sched_getaffinity(0))


def in_turn(sides, names, rounds, seconds):
    """The same cases on stacks that run side by side, one stack after the other and in every second round the other way
    round. `sides` are (measure, {name: case})."""
    for found, some in sides:
        found.warm_up([some[name] for name in names])
    for found, _ in sides:
        found.look_at_idle()
    for number in range(rounds):
        for name in names:
            say(f"round {number + 1} of {rounds}: {name}")
            for found, some in sides[::-1] if number % 2 else sides:
                found.closed_loop(some[name], seconds)
