#!/usr/bin/python3
"""What the benchmark makes of its measurements: ratios of what was measured in turn, what was not measured, who else ran."""

import os
import sys
import unittest
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent)]

import cases  # pylint: disable=wrong-import-position
import report  # pylint: disable=wrong-import-position
from cases import CART, HOT, KEPT, LIST, ORDERS, UNCACHED  # pylint: disable=wrong-import-position
from others import Others, told, too_much  # pylint: disable=wrong-import-position

OURS, GO = UNCACHED + ", by ours", UNCACHED + ", by grpc-gateway"


def rounds(*values):
    return {"median": report.median(values), "rounds": list(values)}


def results(**changes):
    """Of a run that has measured orders and the peer, and nothing else."""
    cpu = {ORDERS: {"orders": 700.0, "postgres/orders": 300.0, "provider": 150.0, "postgres/provider": 50.0, "mail": 400.0, "wrk": 30.0}}
    pair = {OURS: [{"gateway": 30.0, "products": 40.0}, {"gateway": 20.0, "products": 40.0}],
            GO: [{"grpc-gateway": 60.0, "gateway": 1.0, "products": 40.0}, {"grpc-gateway": 50.0, "products": 40.0}],
            ORDERS: [{"orders": 900.0, "postgres/orders": 100.0, "provider": 50.0, "mail": 400.0, "collector": 9.0, "wrk": 30.0}],
            HOT: [{"orders": 1900.0, "postgres/orders": 100.0, "provider": 70.0, "mail": 100.0, "collector": 99.0, "wrk": 20.0}]}
    return {"rates": {ORDERS: {"http": rounds(400, 500), "pgbench": rounds(1000, 1000)}, HOT: {"http": rounds(360, 450)},
                      OURS: {"http": rounds(10_000, 8_000)}, GO: {"http": rounds(5_000, 5_000)}},
            "decided": {ORDERS: [{"overall": 200}, {"overall": 300}], HOT: [{"overall": 150}, {"overall": 210}]},
            "cpu": cpu, "cpu_rounds": pair, "beside": [("orders of one product, to those of many", HOT, ORDERS),
                                                       ("uncached product, to grpc-gateway", OURS, GO)],
            "found": {}, "started": 4.0, "memory": {"after": {"orders": (60.0, 90.0), "gateway": (40.0, 70.0)}}} | changes


def row(text, start):
    """The cells of the row of a table that begins so."""
    found = [line for line in text.splitlines() if line.startswith("| " + start)]
    assert len(found) == 1, found
    return [cell.strip() for cell in found[0].strip("|").split("|")][1:]


class TheAims(unittest.TestCase):
    def test_what_was_not_measured_is_neither_met_nor_missed(self):
        self.assertEqual(row(report.aims(results()), "orders finished /s for a minute"), ["at least 1,200", "not measured", "–"])

    def test_the_mail_server_does_not_count_and_the_provider_does(self):
        self.assertEqual(row(report.aims(results()), "CPU of an order"), ["at most 1.5 ms", "1.20 ms, of which the payment provider 0.20", "yes"])

    def test_of_several_ratios_the_worst_decides(self):
        self.assertEqual(row(report.aims(results()), "orders of one product"), ["at least 0.8", "0.90 and 0.72", "no"])

    def test_a_gateway_is_compared_by_its_own_cpu_round_by_round(self):
        self.assertEqual(row(report.aims(results()), "uncached product, gateway's CPU"), ["at most 0.4", "0.45", "no"])

    def test_every_row_is_there_whatever_was_measured(self):
        nothing = results(rates={}, decided={}, cpu={}, cpu_rounds={}, beside=[])
        self.assertEqual(report.aims(nothing).count("\n"), report.aims(results()).count("\n"))

    def test_everything_that_is_wanted_can_be_met(self):
        what = {"kept reads, LOG_LEVEL=info, to warning": 0.95, "orders, LOG_LEVEL=info, to warning": 0.95,
                "uncached list of 20, to grpc-gateway": 3.5, "reads in the mixed load, to reads alone": 0.8,
                "reads in the mixed load, no answer kept, to reads alone": 0.8, f"{ORDERS} with a month's data, to without": 0.95,
                f"{HOT} with a month's data, to without": 0.95, "orders of one product, to those of many": 0.9,
                "kept reads with a token and limits, to those with a token": 0.97, "uncached product, to grpc-gateway": 2.5}
        pairs = [(name, f"{name}: this", f"{name}: that") for name in what]
        rates = {case: {"http": rounds(100 * ratio)} for (name, this, that), ratio in zip(pairs, what.values())
                 for case, ratio in ((this, ratio), (that, 1))} | {ORDERS: {"http": rounds(400), "pgbench": rounds(1000)}}
        gateways = {pair[1]: [{"gateway": 10.0}] for pair in pairs} | {pair[2]: [{"gateway": 30.0}] for pair in pairs}
        decided = {case: [{"overall": found["http"]["median"]}] for case, found in rates.items()}
        text = report.aims(results(rates=rates, decided=decided, cpu_rounds=gateways, beside=pairs, cpu={
            ORDERS: {"orders": 900.0}, CART: {"orders": 100.0, "postgres/products": 100.0}, UNCACHED: {"gateway": 20.0, "products": 30.0}},
            memory={"after": {"orders": (60.0, 90.0)}},
            found={"sustained": {"finished": 1300.0, "p99": 80.0}, "pinned": {"p999": 3.0}, "aged": {}}))
        self.assertEqual([line for line in text.splitlines() if line.endswith("| no |") or "not measured" in line], [], text)


class SideBySide(unittest.TestCase):
    def test_of_orders_it_says_what_was_answered_and_finished_and_what_they_cost_the_platform(self):
        text = report.beside(results())
        self.assertEqual(row(text, "orders of one product")[2], "0.90")
        self.assertEqual(row(text, "those finished"), ["180", "250", "0.72", "±0.03"])
        self.assertEqual(row(text, "the platform's CPU of one, µs"), ["2,000", "1,000", "2.00", "±0.00"])


class AComparison(unittest.TestCase):
    def found(self, base, head):
        return report.comparison("0123456789abcdef", [{"case": KEPT, "what": "requests /s", "base": base, "head": head}])

    def test_what_differs_in_every_round_is_said(self):
        self.assertIn(f"- {KEPT}: requests /s -20 %", self.found([100, 200, 100], [80, 158, 81]))

    def test_what_differs_in_some_rounds_alone_is_not(self):
        self.assertIn("Nothing differs", self.found([100, 100, 100, 100], [110, 111, 113, 99]))

    def test_what_differs_by_less_than_its_spread_is_not(self):
        self.assertIn("Nothing differs", self.found([100, 100, 100], [101, 102, 130]))


class OthersOnTheMachine(unittest.TestCase):
    def test_each_is_named_with_what_it_took_and_those_that_ended_are_counted(self):
        others = Others()
        before = ({(1, 0): ("compiler", 10.0), (2, 0): ("kworker/0:1", 1.0)}, (100.0, 5.0), 50.0)
        after = ({(1, 0): ("compiler", 11.0), (2, 0): ("kworker/0:1", 1.25), (3, 0): ("kworker/1:2", 0.25)}, (107.0, 5.5), 60.0)
        others.note(before, after, ours=5.0)
        machine = others.seconds
        self.assertEqual(others.taken, Counter({"compiler": 1.0, "kworker": 0.5, "ended meanwhile": 0.5, "other virtual machines": 0.5}))
        self.assertAlmostEqual(others.share(), 2.5 / machine)
        self.assertIn(f"compiler {100 / machine:.1f} %", told(others.found()))

    def test_a_twentieth_of_the_machine_is_allowed_over_all_that_was_measured(self):
        others = Others()
        for taken in (0.0, 0.09, 0.02):  # of the machine
            others.note(({}, (0.0, 0.0), 0.0), ({}, (taken * 10 * os.cpu_count(), 0.0), 10.0), ours=0.0)
        self.assertFalse(too_much(others.found()))
        others.note(({}, (0.0, 0.0), 0.0), ({}, (0.0, 1.2 * os.cpu_count()), 10.0), ours=0.0)  # another virtual machine
        self.assertTrue(too_much(others.found()))


class TheMixedLoad(unittest.TestCase):
    people = [type("Buyer", (), {"token": f"t{number}"}) for number in range(3)]

    def test_it_has_the_shares_that_it_is_said_to_have(self):
        kinds = Counter((method, path.split("/")[1]) for method, path, *_ in cases.mixed(self.people, 10_000))
        self.assertEqual(kinds, {("GET", "products"): 9000, ("POST", "cart"): 800, ("POST", "orders"): 200})

    def test_reads_are_of_many_products_and_few_of_them_are_read_often(self):
        read = Counter(path for _, path, *_ in cases.zipf_reads(40_000))
        self.assertGreater(len(read), 5000)
        self.assertGreater(sum(count for _, count in read.most_common(100)), 0.4 * 40_000)
        self.assertLess(max(read.values()), 0.15 * 40_000)


if __name__ == "__main__":
    unittest.main()
