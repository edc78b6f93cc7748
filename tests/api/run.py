#!/usr/bin/python3
"""Starts the whole platform on free ports and lets schemathesis at it, with every check on.

  tests/api/run.py --bin build/dev/bin --dir build/dev/api [--examples 10] [--seed 1] [--as USER …]

As nobody, as a USER, as a SELLER and as a SUPER_ADMIN. The requests are the same for the same seed. A
failure shows the request as a curl command; the stack is removed unless --keep.
"""

import argparse
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))

from harness import REPO, Person, Stack, say  # pylint: disable=wrong-import-position

# Programs are run as modules: their scripts name the folder they were installed in.
PYTHON = REPO / ".local/tools/python/bin/python3"
# One at a time, so that a seed gives the same run.
OPTIONS = ["--checks", "all", "--workers", "1", "--continue-on-failure", "--no-shrink",
           "--suppress-health-check", "all", "--request-timeout", "20", "--warnings", "off"]
LOGOUTS = ("/api/v1/auth/logout", "/api/v1/auth/logout-all")
# They are paths of /products/{id} and /payments/{orderId} too: their other methods are found, and "search" is no id.
TWICE = ("/api/v1/products/search", "/api/v1/payments/webhook")


def each(option, paths):
    return [word for path in paths for word in (option, path)]


CHOICES = (each("--exclude-path", TWICE + LOGOUTS),
           [*each("--include-path", TWICE), "--exclude-checks", "unsupported_method,allow_header_conformance"],
           # Last, as the token is not good for anything else after it.
           each("--include-path", LOGOUTS))


def people(stack):
    """Somebody of each kind, by name, and something of theirs to be found."""
    boss = Person.super_admin(stack)
    user, seller = Person(stack, "user"), Person(stack, "seller")
    boss.call("PUT", f"/users/{seller.id}/role", {"role": "SELLER"}).data
    seller = Person(stack, email_address=seller.email)
    for owner in (boss, seller):
        for number in range(3):
            owner.make_product(f"Thing {number}", Decimal("49.99"), 1000)
    user.order(1)
    boss.order(2)
    return {"nobody": None, "USER": user, "SELLER": seller, "SUPER_ADMIN": boss}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bin", type=Path, default=REPO / "build/dev/bin")
    parser.add_argument("--dir", type=Path, default=REPO / "build/dev/api")
    parser.add_argument("--examples", type=int, default=10, help="for each operation and phase")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=int, default=600, help="seconds for each kind of caller")
    parser.add_argument("--as", dest="callers", nargs="*", metavar="ROLE")
    parser.add_argument("--keep", action="store_true", help="leave the stack running")
    args = parser.parse_args()
    if not PYTHON.exists():
        sys.exit("schemathesis is not installed: run ./install-all.sh --for=long")

    stack = Stack(args.dir, args.bin)
    failed = []
    try:
        # A token has to last as long as the run.
        stack.start({"ACCESS_TOKEN_SECONDS": "7200"})
        document = args.dir / "openapi.json"
        document.write_text(stack.fetch("/openapi.json").text)
        if subprocess.run([PYTHON, "-m", "openapi_spec_validator", document], check=False).returncode != 0:
            failed.append("the document is not OpenAPI 3.1")
        for name, person in people(stack).items():
            if args.callers and name not in args.callers:
                continue
            say(f"=== as {name}")
            command = [PYTHON, "-m", "schemathesis.cli", "--config-file", HERE / "schemathesis.toml", "--no-color",
                       "run", f"http://127.0.0.1:{stack.port('gateway')}/openapi.json", *OPTIONS,
                       "--max-examples", str(args.examples), "--seed", str(args.seed)]
            if person:
                command += ["--header", f"Authorization: Bearer {person.token}"]
            for choice in CHOICES:
                done = subprocess.run(
                    command + choice, check=False, timeout=args.limit, cwd=args.dir,
                    env={**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE), "COLUMNS": "120"})
                if done.returncode != 0:
                    failed.append(f"as {name}")
    except subprocess.TimeoutExpired as error:
        failed.append(str(error))
    finally:
        if args.keep:
            say(f"the stack is left running: {stack.base_url}, settings in {stack.env_file}")
        else:
            stack.script("down", check=False)
    if failed:
        sys.exit("schemathesis found something: " + "; ".join(failed))


if __name__ == "__main__":
    main()
