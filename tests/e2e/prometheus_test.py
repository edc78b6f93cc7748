"""What a Prometheus beside the stack sees of it."""

import json
from decimal import Decimal
from urllib.parse import urlencode

from case import Case
from harness import REPO, Person, fetch, wait_for
import metrics  # in deploy/observability, which harness has put on the path
from settings import PROCESSES

# Panels that show nothing while nothing goes wrong.
EMPTY_WHILE_ALL_IS_WELL = {"Events that were not handled"}


class Prometheus(Case):
    def ask(self, path, **parameters):
        answer = fetch(self.shop.port("prometheus"), f"/api/v1/{path}?{urlencode(parameters)}", plain=True)
        self.assertEqual(200, answer.status, answer.text)
        return json.loads(answer.text)["data"]

    def query(self, expression):
        """Labels and value of each series."""
        return [(one["metric"], float(one["value"][1])) for one in self.ask("query", query=expression)["result"]]

    def test_asks_every_process(self):
        wait_for("every process to be asked", lambda: {
            labels["process"] for labels, value in self.query("up") if value == 1} == set(PROCESSES))

    def test_evaluates_every_rule(self):
        def rules():
            return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]
        self.assertGreater(len(rules()), 30)
        wait_for("every rule to have been evaluated", lambda: {rule["health"] for rule in rules()} == {"ok"})

    def test_sees_requests_and_decided_orders(self):
        buyer, product = Person(self.shop), self.boss.make_product("Watched", Decimal("1.00"), 10)

        def seen():
            return sum(value for _, value in self.query("orders_decided_seconds_count{outcome='processing'}"))
        # A rate is of what comes after the first that was seen.
        for _ in range(2):
            before = seen()
            buyer.wait_until_decided(buyer.order(product))
            wait_for("the order to be seen", lambda before=before: seen() > before)
        for name in ("http_failures", "orders_decided_late"):
            ratios = wait_for(name, lambda name=name: [value for _, value in self.query(f"shop:{name}:ratio5m") if value == value], 60)
            self.assertLess(ratios[0], 0.5)

    def panels(self):
        """Dashboard, title, process and query of everything that Grafana would ask, for each process that it can be about."""
        listed = metrics.read()
        for path in sorted((REPO / "deploy/observability/dashboards").glob("*.json")):
            for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
                for target in panel.get("targets", ()):
                    query = target["expr"].replace("$__rate_interval", "1m")
                    for process in PROCESSES if "$process" in query else (None,):
                        if process and any(process not in listed[name].processes for name in metrics.names_in(query)):
                            continue
                        yield path.stem, panel["title"], process, query.replace("$process", process or "")

    def test_has_what_the_dashboards_show(self):
        asked = list(self.panels())
        self.assertGreater(len(asked), 200)
        self.assertEqual([], [query for *_, query in asked if "$" in query])
        missing = asked

        def complete():
            nonlocal missing
            missing = [one for one in missing if not self.query(one[3])]
            assert {title for _, title, *_ in missing} <= EMPTY_WHILE_ALL_IS_WELL, missing
            return True
        wait_for("every panel to have something", complete)

    def test_calls_nobody_while_all_is_well(self):
        firing = self.query('ALERTS{alertstate="firing",severity="page",alertname!="OrdersDecidedLate"}')
        self.assertEqual([], firing)
