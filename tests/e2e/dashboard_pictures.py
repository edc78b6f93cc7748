#!/usr/bin/python3
"""Takes the pictures of the dashboards that docs/runbook.md shows: a stack of its own with Prometheus beside, some
minutes of customers, and every panel's queries asked as Grafana would ask them.

  tests/e2e/dashboard_pictures.py --bin build/release/bin docs/images

No package has Grafana, so the panels are drawn by the page below: what they show is real, how they look is not.
"""

import argparse
import html
import json
import random
import re
import time
from decimal import Decimal
from pathlib import Path
from threading import Thread
from urllib.parse import urlencode

from harness import REPO, Person, Stack, fetch, say
from live_page import browser

DASHBOARDS = REPO / "deploy/observability/dashboards"
WINDOW, STEP = 300, 5  # seconds that are shown, and between two points
COLUMN, ROW = 52, 30   # pixels of a unit of Grafana's grid
COLOURS = ("#56a64b", "#3274d9", "#ff780a", "#e02f44", "#a352cc", "#e0b400", "#14a3a8", "#b877d9", "#8f8f8f", "#c4162a")
STYLE = """
body { margin: 0; background: #f4f5f5; color: #222; font: 12px/1.3 "DejaVu Sans", sans-serif; }
h1 { font-size: 19px; margin: 12px 14px 2px; } p { margin: 0 14px 8px; color: #555; }
.grid { position: relative; } .grid > * { position: absolute; box-sizing: border-box; }
.row { font-size: 14px; font-weight: bold; padding: 8px 14px 0; }
.panel { background: #fff; border: 1px solid #dcdfe4; border-radius: 3px; padding: 6px 8px; overflow: hidden; }
.panel b { font-weight: 600; } .stat { font-size: 30px; font-weight: 600; text-align: center; padding-top: 14px; }
.none { color: #888; text-align: center; padding-top: 70px; } .legend { overflow: hidden; max-height: 47px; line-height: 1.3; }
.legend span { display: inline-block; margin-right: 10px; white-space: nowrap; } i { display: inline-block; width: 10px; height: 3px; margin-right: 4px; vertical-align: middle; }
td, th { text-align: left; padding: 2px 14px 2px 0; font-size: 11px; } text { font-size: 10px; fill: #666; }
"""


def shown(value, unit):
    """A value as Grafana would write it, more or less."""
    if value != value:
        return "–"
    if unit == "s":
        return f"{value * 1000:.3g} ms" if abs(value) < 1 else f"{value / 60:.3g} min" if value > 120 else f"{value:.3g} s"
    if unit == "bytes":
        return f"{value / 2 ** 20:.3g} MiB"
    if unit in ("percent", "percentunit"):
        return f"{value * (100 if unit == 'percentunit' else 1):.3g} %"
    number = f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return number + ("/s" if unit in ("ops", "reqps") else "")


def called(legend, labels):
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend) or "value"


class Drawer:
    def __init__(self, shop, process):
        self.shop, self.process, self.now = shop, process, time.time()

    def ask(self, expression, over_time):
        expression = expression.replace("$__rate_interval", "1m").replace("$process", self.process)
        asked = {"start": self.now - WINDOW, "end": self.now, "step": STEP} if over_time else {"time": self.now}
        path = "query_range" if over_time else "query"
        answer = fetch(self.shop.port("prometheus"), f"/api/v1/{path}?{urlencode({'query': expression} | asked)}", plain=True)
        return json.loads(answer.text)["data"]["result"]

    def stat(self, panel, unit):
        target = panel["targets"][0]
        found = self.ask(target["expr"], over_time=False)
        if not found:
            return "<div class=stat>–</div>"
        by_name = panel["options"].get("textMode") == "name"
        value = called(target["legendFormat"], found[0]["metric"])[:12] if by_name else shown(float(found[0]["value"][1]), unit)
        return f"<div class=stat>{html.escape(value)}</div>"

    def table(self, panel):
        found = [one["metric"] for one in self.ask(panel["targets"][0]["expr"], over_time=False)]
        columns = sorted({label for labels in found for label in labels})
        rows = sorted([labels.get(column, "")[:24] for column in columns] for labels in found)
        return "<table>" + "".join(f"<tr>{''.join(f'<{cell}>{html.escape(text)}</{cell}>' for text in row)}</tr>"
                                   for cell, row in [("th", columns), *(("td", row) for row in rows[:9])]) + "</table>"

    def series(self, panel):
        for target in panel["targets"]:
            for one in self.ask(target["expr"], over_time=True):
                points = [(float(at), float(value)) for at, value in one["values"]]
                yield called(target["legendFormat"], one["metric"]), [point for point in points if point[1] == point[1]]

    def chart(self, panel, unit, width, height):
        lines = [(name, points) for name, points in self.series(panel) if points]
        if not lines:
            return "<div class=none>nothing</div>"
        lines.sort(key=lambda line: -line[1][-1][1])
        if panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal":
            lines = list(stacked(lines))
        left, bottom = 62, 16
        top = max(max(value for _, value in points) for _, points in lines) or 1
        def place(at, value):
            return (f"{left + (at - self.now + WINDOW) / WINDOW * (width - left - 6):.1f},"
                    f"{(height - bottom) * (1 - value / top / 1.08):.1f}")
        drawn = [f'<line x1="{left}" x2="{width}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e4e7eb"/><text x="0" y="{y + 4:.1f}">{shown(top * part, unit)}</text>'
                 for part in (0, 0.5, 1) for y in [(height - bottom) * (1 - part / 1.08)]]
        drawn += [f'<text x="{left + minute / 5 * (width - left - 34):.0f}" y="{height - 3}">−{5 - minute} min</text>' for minute in (0, 1, 2, 3, 4)]
        drawn += [f'<polyline fill="none" stroke="{COLOURS[number % len(COLOURS)]}" stroke-width="1.6" points="{" ".join(place(*point) for point in part)}"/>'
                  for number, (_, points) in enumerate(lines) for part in unbroken(points)]
        legend = "".join(f'<span><i style="background:{COLOURS[number % len(COLOURS)]}"></i>{html.escape(name)}</span>'
                         for number, (name, _) in enumerate(lines[:9]))
        return f'<svg width="{width}" height="{height}">{"".join(drawn)}</svg><div class=legend>{legend}</div>'

    def panel(self, panel):
        place = panel["gridPos"]
        box = (f"left:{place['x'] * COLUMN + 10}px;top:{place['y'] * ROW}px;width:{place['w'] * COLUMN - 8}px;"
               f"height:{place['h'] * ROW - 8}px")
        title = html.escape(panel["title"])
        if panel["type"] == "row":
            return f'<div class=row style="{box}">{title}</div>'
        unit = panel["fieldConfig"]["defaults"]["unit"]
        inner = {"stat": lambda: self.stat(panel, unit), "table": lambda: self.table(panel),
                 "timeseries": lambda: self.chart(panel, unit, place["w"] * COLUMN - 26, place["h"] * ROW - 84)}[panel["type"]]()
        return f'<div class=panel style="{box}"><b>{title}</b>{inner}</div>'

    def page(self, dashboard):
        """The page, and how high it is."""
        height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"]) * ROW
        title = dashboard["title"] + (f": {self.process}" if dashboard["templating"]["list"] else "")
        return (f"<!doctype html><meta charset=utf-8><style>{STYLE}</style><h1>{html.escape(title)}</h1>"
                "<p>The last five minutes of a stack, asked of Prometheus by the dashboard's own queries. Not Grafana: drawn by "
                "tests/e2e/dashboard_pictures.py.</p>"
                f"<div class=grid style='height:{height}px'>{''.join(self.panel(panel) for panel in dashboard['panels'])}</div>"), height + 240


def unbroken(points):
    """The parts between which there was nothing for a while."""
    part = []
    for point in points:
        if part and point[0] - part[-1][0] > STEP * 2:
            yield part
            part = []
        part.append(point)
    yield part


def stacked(lines):
    below = {}
    for name, points in reversed(lines):
        points = [(at, value + below.get(at, 0)) for at, value in points]
        below |= dict(points)
        yield name, points


def shop_for(shop, products, until, seed):
    """A customer who looks around, fills a cart and orders, most of the time with a means of payment that is good."""
    chance = random.Random(seed)
    buyer = Person(shop)
    while time.monotonic() < until:
        for _ in range(chance.randint(2, 6)):
            buyer.call("GET", chance.choice(["/products", "/products/search?q=mouse", f"/products/{chance.choice(products)}"]))
        if chance.random() < 0.1:
            buyer.call("GET", "/products/999999")
        product = chance.choice(products)
        buyer.call("POST", "/cart/add", {"productId": product, "quantity": 1})
        token = chance.choice(["tok_approve"] * 6 + ["tok_decline", "tok_insufficient_funds"])
        order = buyer.call("POST", "/orders", {"items": [{"productId": product, "quantity": chance.randint(1, 3)}], "paymentToken": token})
        if order.status == 201 and chance.random() < 0.1:
            buyer.call("POST", f"/orders/{order.data['id']}/cancel", {})
        time.sleep(chance.random() * 1.5)  # people think


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bin", type=Path, default=REPO / "build/dev/bin")
    parser.add_argument("--dir", type=Path, default=REPO / "build/dev/pictures")
    parser.add_argument("--process", default="orders", help="which one the dashboard of one service shows")
    parser.add_argument("pictures", type=Path)
    args = parser.parse_args()

    stack = Stack(args.dir, args.bin)
    try:
        stack.start({"PROFILE": "observability", "RATE_LIMIT_ADDRESS": "100000", "SHIPPING_DISPATCH_SECONDS": "5",
                     "SHIPPING_DELIVERY_SECONDS": "10"})
        boss = Person.super_admin(stack)
        products = [boss.make_product(f"Silent Mouse {number}", Decimal("19.99"), 400) for number in range(1, 13)]
        until = time.monotonic() + WINDOW + 30
        say(f"customers for {WINDOW + 30} s")
        customers = [Thread(target=shop_for, args=(stack, products, until, seed)) for seed in range(6)]
        for customer in customers:
            customer.start()
        for customer in customers:
            customer.join()
        drawer = Drawer(stack, args.process)
        args.pictures.mkdir(parents=True, exist_ok=True)
        with browser() as driver:
            for path in sorted(DASHBOARDS.glob("*.json")):
                text, height = drawer.page(json.loads(path.read_text(encoding="utf-8")))
                page = stack.folder / f"{path.stem}.html"
                page.write_text(text, encoding="utf-8")
                driver.set_window_size(24 * COLUMN + 16, height)
                driver.get(page.as_uri())
                driver.save_screenshot(str(args.pictures / f"dashboard-{path.stem}.png"))
    finally:
        stack.script("down", check=False)


if __name__ == "__main__":
    main()
