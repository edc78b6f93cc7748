#!/usr/bin/python3
"""Starts the whole platform on free ports, runs the end-to-end tests, and stops it.

  tests/e2e/run.py --bin build/dev/bin --dir build/dev/e2e [--tls | --failures] [--set NAME=VALUE] [delivery_test.TheLastUnits …]

After a failure the stack is stopped and its logs stay in <dir>/run/log; otherwise all is removed.
"""

import argparse
import faulthandler
import signal
import sys
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "security")]

import case  # pylint: disable=wrong-import-position
from harness import REPO, Stack, say  # pylint: disable=wrong-import-position
from settings import PROCESSES  # pylint: disable=wrong-import-position

# live_test, which needs a browser, is a run of its own.
MODULES = ("walkthrough_test", "order_test", "surface_test", "identity_test", "access_test", "streams_test", "messages_test",
           "erasure_test", "audit_test", "reconciler_test")
# Where processes and servers die. A run of its own, beside the others: most of it is waiting.
FAILURES = ("delivery_test", "payments_test", "readiness_test", "servers_test")
# What is run with TLS between all, and Prometheus and a collector of spans beside. Where processes die comes after what
# Prometheus says while all is well.
OVER_TLS = ("walkthrough_test", "surface_test", "prometheus_test", "signals_test", "streams_test", "tls_test")


class TooLong(KeyboardInterrupt):  # which unittest lets through
    pass


def give_up(*_):
    raise TooLong("the tests took too long")


def show_logs(stack):
    for process in PROCESSES:
        log = stack.log(process)
        if log.exists():
            lines = log.read_text(errors="replace").splitlines()
            loud = [line for line in lines if '"error"' in line or '"warning"' in line or '"fatal"' in line]
            chosen = loud[-12:] if loud else lines[-3:]
            print(f"--- {process}\n" + "\n".join(line[:600] for line in chosen), file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bin", type=Path, default=REPO / "build/dev/bin")
    parser.add_argument("--dir", type=Path, default=REPO / "build/dev/e2e")
    parser.add_argument("--limit", type=int, default=1170, help="seconds for everything")
    parser.add_argument("--tls", action="store_true", help="with TLS at the gateway and between processes, and Prometheus beside")
    parser.add_argument("--failures", action="store_true", help="what happens when processes and servers die")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the stack")
    parser.add_argument("--keep", action="store_true", help="leave the stack running")
    parser.add_argument("tests", nargs="*")
    args = parser.parse_args()

    faulthandler.register(signal.SIGUSR1)
    signal.signal(signal.SIGALRM, give_up)
    signal.signal(signal.SIGTERM, give_up)
    signal.alarm(args.limit)
    stack = case.stack = Stack(args.dir, args.bin)
    passed = False
    try:
        stack.start(dict(setting.split("=", 1) for setting in args.set) | ({"TLS": "on", "PROFILE": "observability"} if args.tls else {}))
        suite = unittest.defaultTestLoader.loadTestsFromNames(args.tests or (OVER_TLS if args.tls else FAILURES if args.failures else MODULES))
        succeeded = unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful()
        if succeeded:
            stack.check_consistency()
        passed = succeeded
    finally:
        signal.alarm(0)
        if not passed:
            show_logs(stack)
        if args.keep:
            say(f"the stack is left running: {stack.base_url}, settings in {stack.env_file}")
        elif passed:
            stack.script("down", check=False)
        else:
            stack.script("stop", check=False)
            say(f"logs: {stack.folder / 'run' / 'log'}")
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
