#!/usr/bin/python3
"""Takes the picture of /live that the README shows: an order on its way, on a stack of its own.

  tests/e2e/live_screenshot.py --bin build/dev/bin docs/images/live.png
"""

import argparse
from decimal import Decimal
from pathlib import Path

from harness import REPO, Person, Stack, wait_for
from live_page import Page, browser

SOLD = (("Herb Seed Collection", "14.00"), ("Trekking Poles", "59.00"), ("Turntable", "189.00"),
        ("Silent Mouse", "49.99"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bin", type=Path, default=REPO / "build/dev/bin")
    parser.add_argument("--dir", type=Path, default=REPO / "build/dev/live")
    parser.add_argument("picture", type=Path)
    args = parser.parse_args()

    stack = Stack(args.dir, args.bin)
    try:
        stack.start({"SHIPPING_DISPATCH_SECONDS": "2"})
        boss = Person.super_admin(stack)
        products = [boss.make_product(name, Decimal(price), 25) for name, price in SOLD]
        stack.call("POST", "/auth/register", {"name": "Alice", "email": "alice@example.com",
                                              "password": "Walk-Through-1!"}).data
        with browser() as driver:
            page = Page(driver, stack)
            page.open()
            page.scheme("light")
            page.log_in("alice@example.com")
            page.place_order(products[-1], 2)
            page.wait_for_step("ORDER_SHIPPED")
            wait_for("the news of it", lambda: "on its way" in page.text("#notifications"))
            args.picture.parent.mkdir(parents=True, exist_ok=True)
            driver.save_screenshot(str(args.picture))
    finally:
        stack.script("down", check=False)


if __name__ == "__main__":
    main()
