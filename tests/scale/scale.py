#!/usr/bin/python3
"""Computes and simulates what limits orders at 10, 100 and 1,000 times the benchmark's rate, for docs/scale.md.

  tests/scale/scale.py           prints the tables
  tests/scale/scale.py --write   puts them into docs/scale.md

It is fed with docs/performance.md as it stands, and with what tests/scale/check.py has measured, where that is in
docs/scale.md. Half a minute.
"""

import argparse
import sys
from math import ceil
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "load")]

import figures  # pylint: disable=wrong-import-position
from figures import REPO, Missing, Tables, number  # pylint: disable=wrong-import-position
from page import table, write_between  # pylint: disable=wrong-import-position
from model import GROUPS, MAILS, ROW, STEPS, WAITS, Layout, cost_of, simulate  # pylint: disable=wrong-import-position

PAGE = REPO / "docs" / "scale.md"
PARTS = ("figures", "check")
TIMES = (1, 10, 100, 1000)
NUMBERS = 2**40  # orders that have a number (docs/decisions/0015-order-numbers.md)
# What check.py writes.
MEASURED = "measured with one process of each"
RELAYED = "a relay, for an event, µs"
WAITED = "besides CPU, {} waits, ms"


def marks(part):
    return f"<!-- {part}: written by tests/scale/{'scale' if part == 'figures' else 'check'}.py -->", f"<!-- end of {part} -->"


def check_page():
    text = PAGE.read_text()
    for part in PARTS:
        for mark in marks(part):
            if text.count(mark) != 1:
                raise Missing(f"{PAGE.name} has “{mark}” {text.count(mark)} times, not once")


def write(part, found):
    check_page()
    write_between(PAGE, *marks(part), found)


def measured_before(page):
    """Of one process of each, where check.py has written it down: what a relay takes for an event, and what an order waits
    for besides processors. Else no time at all, which is nobody's limit, and no waits."""
    tables = Tables(page, PAGE.name)
    if MEASURED not in tables.found:
        return 0.0, {}

    def of(row):
        return number(tables.cell(MEASURED, row, "found"), row)
    return of(RELAYED) / 1e6, {what: [of(WAITED.format(what)) / 1000] for what in WAITS}


def amount(value):
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


# --- what is computed ---

def by_cores(found):
    """What can be had more of: cores."""
    kinds = (("processes of ours, in all", [name for name in STEPS if name != "provider"]),
             ("PostgreSQL of orders", ["postgres/orders"]), ("PostgreSQL of payments", ["postgres/payments"]),
             ("PostgreSQL of stock", ["postgres/stock"]), ("PostgreSQL of products", ["postgres/products"]),
             ("PostgreSQL of shipping", ["postgres/shipping"]), ("PostgreSQL of notification", ["postgres/notification"]))
    rows = []
    for name, parts in kinds:
        cost = sum(cost_of(found.costs, part, step) for part in parts for step in STEPS[part.removeprefix("postgres/")])
        rows.append((name, cost))
    rows.append(("Kafka", found.costs.get("kafka", 0.0)))
    return [[name, f"{cost * 1e6:,.0f}"] + [amount(cost * found.finished * times) for times in TIMES]
            for name, cost in sorted(rows, key=lambda row: -row[1])]


def one_by_one(found, relay):
    """What there is one of: the longest that it is held for an order, and how many of it that makes."""
    held = {f"consuming thread of {group}": sum(
        cost_of(found.costs, part, step) for step in steps for part in found.costs
        if part in (group, f"postgres/{group}") or part.endswith("products") and step in ("reserve", "sell"))
            for group, steps in GROUPS.items()}
    held[f"{ROW}, where all buy it"] = sum(cost_of(found.hot, part, "reserve") for part in ("products", "postgres/products"))
    held[MAILS] = sum(cost_of(found.costs, part, step) for part in ("notification", "postgres/notification")
                      for step in GROUPS["notification"])
    if relay:
        held["relay of orders, two events an order"] = 2 * relay
    return [[name, f"{cost * 1e6:,.0f}", amount(1 / cost)] + [f"{ceil(cost * found.finished * times):,}" for times in TIMES]
            for name, cost in sorted(held.items(), key=lambda row: -row[1])]


def until_numbers_end(found):
    years = [NUMBERS / (found.finished * times) / 86_400 / 365.25 for times in TIMES]
    return ["years until the last order number"] + [amount(year) for year in years]


# --- what is simulated ---

def simulated(found, relay, waits):
    today = Layout(machine=found.cores, relay_seconds=relay)
    rows = []

    def row(name, costs, layout, **load):
        result = simulate(costs, layout, waits, **load)
        wanted = load.get("rate", 0.0)
        rows.append([name, f"{wanted:,.0f}" if wanted else "as many as can be", f"{result.finished:,.0f}",
                     f"{result.delay(0.5) * 1000:,.0f}", f"{result.delay(0.99) * 1000:,.0f}",
                     f"{result.busiest}, {result.busy[result.busiest] * 100:.0f} %"])
    row("today: one machine, full load", found.costs, today, clients=64, seconds=4)
    rows.append(["the same, measured", "as many as can be", f"{found.finished:,.0f}", "–", "–", "–"])
    row("today: half of that", found.costs, today, rate=found.rate, seconds=4)
    rows.append(["the same, measured", f"{found.rate:,.0f}", "–", f"{found.p50 * 1000:,.0f}", f"{found.p99 * 1000:,.0f}", "–"])
    ten = 10 * found.finished
    of_ten = {"rate": ten, "seconds": 1, "poisson": True, "drain": False}
    row("10×: a server a database, one process of each", found.costs, Layout(relay_seconds=relay), **of_ten)
    six = Layout(replicas=found.partitions, partitions=found.partitions, relay_seconds=relay)
    row(f"10×: the same, {six.replicas} of each", found.costs, six, **of_ten)
    row("10×, all of one product", found.hot, Layout(**vars(six) | {"slots": 1}), **of_ten)
    row(f"30×: no more than {six.replicas} of each", found.costs, six, **of_ten | {"rate": 3 * ten, "seconds": 2})
    return rows


def text(found, relay, waits):
    parts = [f"""Computed and simulated from [performance](performance.md) of commit {found.commit}: {found.finished:,.0f} orders a second from placed to
PROCESSING, on {found.cores} cores, each order {sum(found.costs.values()) * 1000:.1f} ms of CPU. "1×" is that rate."""]
    parts.append(table(["cores, at so many times the rate", "µs an order"] + [f"{times:,}×" for times in TIMES], by_cores(found)))
    parts.append(table(["one at a time", "µs an order, at most", "orders/s, at least"] + [f"{times:,}×" for times in TIMES],
                       one_by_one(found, relay)))
    parts.append("The last four columns say how many of it that rate needs. “At most”, as all that the process and its database do at those "
                 "steps is held against the one thread. " + ("" if relay else "What a relay takes for an event has not been "
                                                          "measured yet: it limits nothing here."))
    parts.append(table(["", *(f"{times:,}×" for times in TIMES)], [until_numbers_end(found)]))
    parts.append("Simulated, with random arrivals from 10× on. " + (
        "The delays have what an order waits for when it is alone, as measured below, and what it waits for others." if waits else
        "The delays are those of processors and turns alone: what an order waits for besides (a relay, a broker and a consumer, "
        "three times) has not been measured yet, and the measured rows show how much that is."))
    parts.append(table(["simulated", "placed /s", "finished /s", "placed → PROCESSING p50, ms", "p99, ms", "busiest"],
                       simulated(found, relay, waits)))
    return "\n\n".join(part.strip() for part in parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--write", action="store_true", help="into docs/scale.md")
    args = parser.parse_args()
    try:
        written = text(figures.read(), *measured_before(PAGE.read_text()))
        if args.write:
            write("figures", written)
    except Missing as error:
        sys.exit(f"scale: {error}")
    print(written)


if __name__ == "__main__":
    main()
