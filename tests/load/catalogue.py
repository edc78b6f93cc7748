#!/usr/bin/python3
"""Puts a believable catalogue of up to a million products into a running stack's database.

  tests/load/catalogue.py 1000000 [--env .env]

Straight into PostgreSQL (catalogue.sql), behind the products that are there: some minutes for a million, which
take hours through the API.
"""

import argparse
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "deploy" / "local"))

import servers  # pylint: disable=wrong-import-position
from settings import Settings, StackError  # pylint: disable=wrong-import-position

AT_ONCE = 50_000
MOST = 1_000_000


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("products", type=int)
    parser.add_argument("--env", type=Path, default=REPO / ".env")
    args = parser.parse_args()
    if not 1 <= args.products <= MOST:
        parser.error(f"from 1 to {MOST} products")
    settings = Settings.read(args.env)

    def run(text):
        done = servers.psql(settings, "products", settings.role_password("products"), "products",
                            ["-X", "-q", "-A", "-t"], input="\\set ON_ERROR_STOP on\n" + text,
                            capture_output=True, text=True)
        if done.returncode != 0:
            raise StackError(done.stderr.strip())
        return done.stdout.strip()

    generator = (Path(__file__).parent / "catalogue.sql").read_text()
    first = int(run("SELECT coalesce(max(id), 0) + 1 FROM products"))
    for made in range(0, args.products, AT_ONCE):
        count = min(AT_ONCE, args.products - made)
        run(f"SET catalogue.first = {first + made};\nSET catalogue.count = {count};\n" + generator)
        print(f"  {made + count} of {args.products} products", flush=True)
    run("VACUUM ANALYZE products, product_words, stock_movements")


if __name__ == "__main__":
    try:
        main()
    except StackError as error:
        sys.exit(f"error: {error}")
