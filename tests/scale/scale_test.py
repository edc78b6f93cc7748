#!/usr/bin/python3
"""Whether the simulation answers what is known otherwise, and whether the pages have the figures that it needs."""

import math
import random
import statistics
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import check  # pylint: disable=wrong-import-position
import figures  # pylint: disable=wrong-import-position
import model  # pylint: disable=wrong-import-position
import scale  # pylint: disable=wrong-import-position
from model import Cores, Layout, simpy, simulate  # pylint: disable=wrong-import-position

# 10 ms of CPU an order, in four places that are neither a database's nor Kafka's.
COSTS = {"gateway": 0.001, "orders": 0.003, "stock": 0.002, "payments": 0.004}


def erlang_c(servers, load):
    """The share of customers that wait, where `load` is what arrives in the time of one service."""
    last = load**servers / math.factorial(servers) * servers / (servers - load)
    return last / (sum(load**n / math.factorial(n) for n in range(servers)) + last)


class KnownAnswers(unittest.TestCase):
    def test_processors_are_shared_as_queueing_theory_says(self):
        """M/M/c: customers that come at random with work of random length, c processors."""
        for servers, load in ((1, 0.6), (3, 2.0)):
            env, chance, stays = simpy.Environment(), random.Random(7), []
            cores, mean = Cores(env, servers), 0.0005

            def customer(env=env, cores=cores, chance=chance, stays=stays, mean=mean):
                began = env.now
                yield from cores.work(chance.expovariate(1 / mean))
                stays.append(env.now - began)

            def arrivals(env=env, chance=chance, customer=customer, rate=load / mean):
                for _ in range(12_000):
                    env.process(customer())
                    yield env.timeout(chance.expovariate(rate))
            env.process(arrivals())
            env.run()
            expected = mean * (1 + erlang_c(servers, load) / (servers - load))
            self.assertAlmostEqual(1, statistics.mean(stays) / expected, delta=0.08, msg=f"{servers} processors")
            self.assertAlmostEqual(load * mean / mean, cores.used / env.now, delta=0.05 * servers)

    def test_a_lone_order_takes_its_own_steps_and_waits(self):
        waits = {"ORDER_CREATED": [0.010], "STOCK_RESERVED": [0.020], "PAYMENT_COMPLETED": [0.030], "charge": [0.005]}
        found = simulate(COSTS, Layout(machine=8), waits, rate=1, seconds=1)
        # gateway; orders place and paid; stock reserve; payments wanted and charge. Not: orders reserved, stock sell.
        worked = 0.001 + 0.003 * 2 / 3 + 0.002 / 2 + 0.004
        self.assertAlmostEqual(worked + 0.065, found.delays[0], places=6)

    def test_where_everything_shares_two_cores_these_are_the_limit_for_one_process_or_two_of_each(self):
        for replicas in (1, 2):
            found = simulate(COSTS, Layout(machine=2, replicas=replicas), clients=64, seconds=2)
            self.assertAlmostEqual(2 / sum(COSTS.values()), found.finished, delta=8, msg=f"{replicas} of each")
            self.assertGreater(found.busy["all processes"], 0.99)

    def test_more_cores_finish_more_until_a_thread_is_the_limit(self):
        self.assertGreater(simulate(COSTS, Layout(machine=4), clients=64, seconds=2).finished, 1.6 * 200)
        # Of an order the thread that consumes for orders has 2 ms, so one process consumes 500 a second.
        self.assertAlmostEqual(500, self.finished(COSTS, replicas=1), delta=40)
        self.assertAlmostEqual(1000, self.finished(COSTS, replicas=2), delta=80)

    def test_processes_beyond_the_partitions_have_nothing_to_consume(self):
        self.assertAlmostEqual(1000, self.finished(COSTS, replicas=4, partitions=2), delta=80)

    def test_the_row_of_a_hot_product_is_one_for_all_replicas(self):
        costs = {"products": 0.006}  # 2 ms of an order with the row
        self.assertAlmostEqual(500, self.finished(costs, replicas=6, slots=1), delta=20)
        self.assertGreater(self.finished(costs, replicas=6, slots=4), 900)

    def finished(self, costs, **layout):
        """Orders a second with more cores than can be used, and more orders than can be finished."""
        return simulate(costs, Layout(machine=64, **layout), rate=2000, seconds=0.7).finished

    def test_a_relay_publishes_one_event_after_the_other_however_many_processes_there_are(self):
        layout = Layout(machine=64, replicas=6, relay_seconds=0.001)
        # Two events an order in the outbox of orders.
        found = simulate({"gateway": 0.0001}, layout, rate=2000, seconds=1, drain=False)
        self.assertGreater(found.busy["relay of orders"], 0.99)
        self.assertLess(found.finished, 1000)


class Figures(unittest.TestCase):
    PAGE = """
Commit abc123, release build, 2026-11-29; 2 cores of "some CPU".

| open loop | rate, /s | p50, ms | p99, ms |
| --- | --: | --: | --: |
| POST /orders | 89.0 | 11.65 | 29.64 |
| the same orders, from placed to paid and PROCESSING | 89.0 | 554 | 917 |
| POST /orders, all of one product | 64.0 | 11.61 | 31.38 |
| the same orders, from placed to paid and PROCESSING | 64.0 | 108 | 225 |

| orders confirmed | orders | /s |
| --- | --: | --: |
| POST /orders | 1,628 | 1,178 |

| CPU a request, µs | all | of which |
| --- | --: | --- |
| POST /orders | 11,000 | postgres/orders 8,000, orders 2,000 |
| POST /orders, all of one product | 20 | orders 12.5, stock 7.5 |
"""

    def read(self, text):
        page = Path(self.enterContext(tempfile.TemporaryDirectory())) / "page.md"
        page.write_text(text)
        return figures.read(page)

    def test_are_read_by_their_headings(self):
        found = self.read(self.PAGE)
        self.assertEqual(("abc123", 2, 1178.0, 89.0, 0.554, 0.917),
                         (found.commit, found.cores, found.finished, found.rate, found.p50, found.p99))
        # What the page does not name, a tenth here, is in the others.
        self.assertAlmostEqual(0.0088, found.costs["postgres/orders"])
        self.assertAlmostEqual(0.0022, found.costs["orders"])
        self.assertAlmostEqual(0.0000125, found.hot["orders"])

    def test_that_are_missing_are_named(self):
        for gone, said in (("| POST /orders | 11,000", "the table “CPU a request, µs” has no row “POST /orders”"),
                           ("| open loop |", "no table whose first heading is “open loop”"),
                           ("| POST /orders | 89.0", "no row “POST /orders”"),
                           ("Commit abc123", "does not begin its figures"),
                           ("| orders confirmed | orders | /s |", "no table whose first heading is “orders confirmed”")):
            with self.assertRaisesRegex(figures.Missing, said):
                self.read(self.PAGE.replace(gone, gone.replace("o", "0")))

    def test_of_docs_performance_are_there(self):
        found = figures.read()
        self.assertGreater(sum(found.costs.values()), 0)
        for process in model.STEPS:
            self.assertIn(process, found.costs, "the simulation has a step for it")

    def test_have_their_place_in_docs_scale(self):
        scale.check_page()


class Comparison(unittest.TestCase):
    """Of what one process and two of each have done with what is simulated."""

    FOUND = figures.Figures("abc", 2, 200.0, 100.0, 0.1, 0.2, COSTS, COSTS, 6)
    WAITS = {"ORDER_CREATED": [0.02], "STOCK_RESERVED": [0.01], "PAYMENT_COMPLETED": [0.01], "charge": [0.0]}

    def runs(self, two):
        """Two cores that order for 10 ms of CPU: 200 a second; two of each do `two`."""
        return {"one, full load": check.Run(400, 190, 1, 2, 0.010, 0.01),
                "one, half load": check.Run(200, 95, 0.048, 0.055, 0.010, 0.01, rate=95),
                "two, full load": check.Run(400, two, 1, 2, 0.010, 0.01),
                "two, half load": check.Run(200, 95, 0.048, 0.055, 0.010, 0.01, rate=95)}

    def compared(self, two):
        runs = self.runs(two)
        waits = check.as_found(self.FOUND, 0.045, self.WAITS)
        return check.compared(runs, check.simulated(self.FOUND, waits, runs, 1))

    def test_agrees_where_two_share_the_cores_of_one(self):
        rows, agree = self.compared(188)
        self.assertTrue(agree, rows)

    def test_does_not_agree_where_two_finish_twice_as_many(self):
        rows, agree = self.compared(380)
        self.assertFalse(agree)
        self.assertEqual(["two, full load: finished /s", "two to one, full load: finished"], [row[0] for row in rows if row[-1] == "no"])

    def test_knows_when_others_were_at_work(self):
        runs = self.runs(188)
        self.assertLess(check.strangers(runs), check.AT_REST)
        runs["two, half load"].strangers = 0.2
        self.assertGreater(check.strangers(runs), check.AT_REST)

    def test_is_written_so_that_the_simulation_of_many_machines_reads_it(self):
        runs = self.runs(188)
        told = {"alone": 0.045, "relay": 50e-6, "share": 0.4, "seconds": 20, "strangers": 0.01, "waits": {
            what: [0.010, 0.012, 0.030] for what in model.WAITS}, "runs": {name: vars(run) for name, run in runs.items()}}
        relay, waits = scale.measured_before(check.text(self.FOUND, told, [["…", "1", "1", "1.00", "0.80 to 1.25", "yes"]]))
        self.assertAlmostEqual(50e-6, relay)
        self.assertEqual({what: [0.012] for what in model.WAITS}, waits)
        self.assertEqual((0.0, {}), scale.measured_before("Not measured yet."))

    def test_has_a_lone_order_wait_as_long_as_it_did(self):
        waits = check.as_found(self.FOUND, 0.045, self.WAITS)
        self.assertAlmostEqual(0.045, simulate(COSTS, Layout(machine=2), waits, rate=1, seconds=1).delay(0.5), places=6)


if __name__ == "__main__":
    unittest.main()
