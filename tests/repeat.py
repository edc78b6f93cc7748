#!/usr/bin/python3
"""Runs the tests again and again, in another order every time, and says how often each failed.

  tests/repeat.py --rounds 20 [--mode mixed|quiet|busy] [--tests REGEX] [--label REGEX] [--seed 7] [--jobs 3]

A round runs every test once: the tests in an order that follows from the round's seed, as do the order of the cases
in each GoogleTest executable and what RapidCheck makes up. In a busy round as many processes as there are cores do
nothing but use them. `mixed` makes every second round a busy one. Before each round its seed is printed:
--rounds 1 --seed <that> repeats it. With --jobs several tests run at the same time; those that run alone under ctest
(RUN_SERIAL) do so here too, at the end of the round.
What a failed test printed stays in <build>/repeat. Exit status 1 when anything failed.
"""

import argparse
import collections
import os
import random
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from ctest import REPO, Servers, Stopped, all_tests, end_on_signals, say, threads  # pylint: disable=wrong-import-position

# GoogleTest takes seeds up to this.
LARGEST_SEED = 99999

# Ends by itself when whoever started it is gone, or forgot it.
BUSY = """
import os, sys, time
parent, end = int(sys.argv[1]), time.monotonic() + float(sys.argv[2])
while os.getppid() == parent and time.monotonic() < end:
    for _ in range(100000): pass
"""
LONGEST_BUSY = 3600


class BusyCores:
    def __enter__(self):
        self.processes = [subprocess.Popen([sys.executable, "-c", BUSY, str(os.getpid()), str(LONGEST_BUSY)])
                          for _ in range(os.cpu_count())]

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()


class Tally:
    """How often each test ran and failed, and in which of its cases."""

    def __init__(self, names):
        self.runs = dict.fromkeys(names, 0)
        self.failures = dict.fromkeys(names, 0)
        self.skipped = dict.fromkeys(names, 0)
        self.longest = dict.fromkeys(names, 0.0)
        self.cases = collections.defaultdict(collections.Counter)

    def add(self, name, outcome):
        if outcome.verdict == "skipped":
            self.skipped[name] += 1
            return
        self.runs[name] += 1
        self.longest[name] = max(self.longest[name], outcome.seconds)
        if not outcome.passed:
            self.failures[name] += 1
            self.cases[name].update(outcome.failed or [outcome.how])

    def table(self):
        yield f"{'test':<28}{'runs':>6}{'failures':>10}{'longest':>10}  failed cases"
        for name in sorted(self.runs, key=lambda name: (-self.failures[name], name)):
            cases = ", ".join(f"{case} ({times})" for case, times in self.cases[name].most_common())
            if self.skipped[name]:
                cases = f"skipped {self.skipped[name]} times{', ' if cases else ''}{cases}"
            yield (f"{name:<28}{self.runs[name]:>6}{self.failures[name]:>10}{self.longest[name]:>8.1f} s  "
                   f"{cases}".rstrip())

    def closing(self):
        failed = sum(1 for times in self.failures.values() if times)
        return (f"{len(self.runs)} tests, {sum(self.runs.values())} runs, {sum(self.failures.values())} failures"
                + (f" in {failed} tests" if failed else ""))


def run_round(tests, seed, jobs, tally, servers, logs):
    order = sorted(tests)
    random.Random(seed).shuffle(order)
    together = [name for name in order if jobs == 1 or not tests[name].runs_alone]
    noting = threading.Lock()
    hung = []

    def run(name):
        test = tests[name]
        environment = {"GTEST_SHUFFLE": "1", "GTEST_RANDOM_SEED": str(seed), "RC_PARAMS": f"seed={seed}"}
        if test.needs_servers:
            environment |= servers.environment
        outcome = test.run(environment=environment)
        with noting:
            tally.add(name, outcome)
            if outcome.verdict in ("failed", "hung"):
                log = logs / f"{name}-{seed}.log"
                log.write_text(outcome.output)
                say(f"{name} {outcome.verdict} ({outcome.how}): {', '.join(outcome.failed)}; see {log}")
            if test.needs_servers and outcome.verdict == "hung":
                hung.append(name)
                if jobs == 1:
                    servers.restart()

    with threads(jobs) as pool:
        list(pool.map(run, together))
    if hung and jobs > 1:  # not while others used them
        servers.restart()
    for name in order:
        if name not in together:
            run(name)


def chosen(tests, name, label):
    """As ctest -R and -L choose; the long ones only when asked for, as make test does."""
    return {test.name: test for test in tests.values()
            if re.search(name or "", test.name)
            and (any(re.search(label, one) for one in test.labels) if label else "long" not in test.labels)}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--build", type=Path, default=REPO / "build/dev")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--mode", choices=("mixed", "quiet", "busy"), default="mixed")
    parser.add_argument("--tests", metavar="REGEX")
    parser.add_argument("--label", metavar="REGEX")
    parser.add_argument("--seed", type=int, help=f"of the first round, 1 to {LARGEST_SEED}; random by default")
    parser.add_argument("--jobs", type=int, default=1, help="tests at the same time")
    return parser.parse_args()


def main():
    args = arguments()
    end_on_signals()
    tests = chosen(all_tests(args.build), args.tests, args.label)
    if not tests:
        sys.exit("no such tests")
    logs = args.build / "repeat"
    logs.mkdir(exist_ok=True)
    seed = args.seed or random.randint(1, LARGEST_SEED)
    tally = Tally(tests)
    began = time.monotonic()
    try:
        with Servers(args.build / "repeat-servers") as servers:
            for number in range(1, args.rounds + 1):
                busy = args.mode == "busy" or (args.mode == "mixed" and number % 2 == 0)
                say(f"round {number} of {args.rounds}, seed {seed}, {'busy' if busy else 'quiet'}; "
                    f"so far {tally.closing()}")
                if busy:
                    with BusyCores():
                        run_round(tests, seed, args.jobs, tally, servers, logs)
                else:
                    run_round(tests, seed, args.jobs, tally, servers, logs)
                seed = seed % LARGEST_SEED + 1
    except Stopped as stopped:
        say(f"stopped by {stopped}, in round {number}")
    print("\n".join(tally.table()))
    print(f"{time.strftime('%Y-%m-%d')}, {number} rounds, {args.mode}, {(time.monotonic() - began) / 60:.0f} minutes: "
          f"{tally.closing()}")
    sys.exit(1 if any(tally.failures.values()) or number < args.rounds else 0)


if __name__ == "__main__":
    main()
