#!/usr/bin/python3
"""Measures an earlier commit and this tree in turn, and says what differs by more than chance.

  tests/load/compare.py BASE [--rounds 5] [--seconds 3] [--only orders,kept] [--bin build/release/bin]

Builds BASE as a release in a tree of its own (build/compare, kept for the next time). Each has a stack of its own, by the
scripts of its own commit, and both run all the time while one is asked and the other idles: two stacks that are started in turn
would be measured with cold caches and emptier databases, and cost half a minute each time. What the idle one takes, a fifth
of a core, both have beside them. In every second round the other one comes first.

For each case: the ratio of this tree to BASE in each round, its median, and half of how far the rounds lie apart. What
is further from 1 than that, on the same side in every round, is said to differ; of five rounds without a difference, fewer than
one in sixteen are so by chance.
"""

import argparse
import json
import shutil
import signal
import tempfile
from pathlib import Path

import cases
import others
import report
from cases import CART, HOT, KEPT, LIST, LOGIN, ORDERS, SEARCH, UNCACHED, Case
from measure import Measure, in_turn
from shop import REPO, Shop, say
from commits import build, git  # after shop, which knows where that is; pylint: disable=wrong-import-order

NAMES = (KEPT, UNCACHED, LIST, SEARCH, LOGIN, CART, ORDERS, HOT)
USUAL = (KEPT, UNCACHED, LIST, CART, ORDERS)


def cases_of(shop):
    """The same for either stack: {name: case}."""
    people, products = shop.fill(32)
    gateway = shop.port("gateway")
    asking = shop.start_gateway("gateway-asking", {})
    uncached, *_ = shop.start_without_cache()
    reads = cases.reads(range(1, products + 1))

    def empty_carts():
        for person in people:
            person.call("DELETE", "/cart")
    some = (Case(KEPT, gateway, reads), Case(UNCACHED, uncached, reads), Case(LIST, asking, [("GET", "/products", None, None)]),
            Case(SEARCH, asking, [("GET", "/products/search?q=wireless+mouse", None, None)]),
            Case(LOGIN, gateway, cases.logins(people), connections=8, longer=2),
            Case(CART, gateway, cases.adds(people, products), prepare=empty_carts),
            Case(ORDERS, gateway, cases.orders(people, range(1, products + 1)), outlasts=True),
            Case(HOT, gateway, cases.orders(people, [1] * len(people)), outlasts=True))
    return {case.name: case for case in some}


def rows(base, head, names):
    """What was found of each case: (case, what, rounds of the base, rounds of this tree)."""
    for name in names:
        yield name, "requests /s", base.rates[name, "http"], head.rates[name, "http"]
        yield name, "CPU a request, µs", *([sum(spent.values()) for spent in found.cpu[name]] for found in (base, head))
        if name in head.decided:
            yield name, "orders finished /s", *([one["overall"] for one in found.decided[name]] for found in (base, head))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("base", help="a commit")
    parser.add_argument("--bin", type=Path, default=REPO / "build/release/bin", help="the executables of this tree")
    parser.add_argument("--dir", type=Path, default=REPO / "build/compare", help="where the base is built")
    parser.add_argument("--jobs", type=int, default=2, help="compilers at once")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of one measurement")
    parser.add_argument("--limit", type=int, default=1500, help="seconds for all that is measured")
    parser.add_argument("--only", default="", help="parts of the names of cases, with commas between them, of: "
                        + "; ".join(NAMES) + ". Usually these: " + "; ".join(USUAL))
    parser.add_argument("--results", type=Path, default=REPO / "build/bench-compare.json")
    args = parser.parse_args()
    words = [word for word in args.only.split(",") if word]
    args.names = [name for name in NAMES if any(word in name for word in words)] if words else list(USUAL)
    if not args.names:
        parser.error(f"no case is called {args.only}")
    return args


def give_up(*_):
    raise KeyboardInterrupt("the comparison took too long, or was told to stop")


def main():
    args = arguments()
    signal.signal(signal.SIGALRM, give_up)
    signal.signal(signal.SIGTERM, give_up)
    commit = git("rev-parse", args.base + "^{commit}")
    say("the base is " + git("log", "-1", "--format=%h %s", commit))
    tree, binaries = build(commit, args.dir.resolve(), "Release", args.jobs)
    signal.alarm(args.limit)
    folder = Path(tempfile.mkdtemp(prefix="shop-compare-"))
    shops = [Shop(folder / "base", binaries, tree), Shop(folder / "head", args.bin.resolve())]
    seen = others.Others()
    try:
        sides = []
        for name, shop, idle in zip(("base", "head"), shops, shops[::-1]):
            shop.start()
            (folder / f"{name}-files").mkdir()
            sides.append((Measure(shop, folder / f"{name}-files", seen, [idle]), cases_of(shop)))
        in_turn(sides, args.names, args.rounds, args.seconds)
    finally:
        signal.alarm(0)
        for shop in shops:
            shop.stop()
        shutil.rmtree(folder, ignore_errors=True)
    found = [dict(zip(("case", "what", "base", "head"), row)) for row in rows(sides[0][0], sides[1][0], args.names)]
    args.results.parent.mkdir(parents=True, exist_ok=True)
    args.results.write_text(json.dumps({"base": commit, "found": found, "others": seen.found()}, indent=1))
    print(report.comparison(commit, found))
    print("\n" + others.told(seen.found()) + (" That is too much to judge by." if others.too_much(seen.found()) else ""))


if __name__ == "__main__":
    main()
