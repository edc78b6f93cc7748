#!/usr/bin/python3
"""Grafana's dashboards. Run, it writes them to dashboards/, from where Grafana reads them (grafana/provisioning).

Written for Grafana 11.2; a later one takes them too.
"""

import json
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "dashboards"
PROMETHEUS = {"type": "prometheus", "uid": "prometheus"}
SCHEMA, PLUGINS = 39, "11.2.0"
WIDTH = 24


def panel(title, *queries, unit="short", kind="timeseries", width=8, stacked=False):
    """A query is an expression and what each of its series is called."""
    table = kind == "table"
    custom = {} if kind != "timeseries" else {"fillOpacity": 15, "stacking": {"group": "A", "mode": "normal" if stacked else "none"}}
    return {
        "title": title, "type": kind, "pluginVersion": PLUGINS, "datasource": PROMETHEUS,
        "gridPos": {"w": width, "h": 4 if kind == "stat" else 8},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0, "custom": custom}, "overrides": []},
        "options": {} if kind != "timeseries" else {"tooltip": {"mode": "multi", "sort": "desc"}},
        "targets": [{"refId": chr(ord("A") + i), "datasource": PROMETHEUS, "expr": expression, "legendFormat": legend,
                     "instant": table or kind == "stat", "range": kind == "timeseries", "format": "table" if table else "time_series"}
                    for i, (expression, legend) in enumerate(queries)]}


def stat(title, expression, unit="short"):
    return panel(title, (expression, ""), unit=unit, kind="stat", width=4)


def text(title, expression, label):
    """The value of a label, in the place of a number."""
    return panel(title, (expression, f"{{{{{label}}}}}"), kind="stat", width=4) | {"options": {"textMode": "name"}}


def rate(metric, by, where=""):
    return f"sum by ({by}) (rate({metric}{{{where}}}[$__rate_interval]))"


def rates(title, metric, by, where="", unit="ops", **more):
    return panel(title, (rate(metric, by, where), " ".join(f"{{{{{label}}}}}" for label in by.split(", "))), unit=unit, **more)


def quantile(q, metric, by="", where=""):
    return f"histogram_quantile({q}, {rate(metric + '_bucket', 'le' + (by and ', ' + by), where)})"


def durations(title, metric, where=""):
    return panel(title, *((quantile(q, metric, where=where), f"p{round(100 * q)}") for q in (0.5, 0.9, 0.99)), unit="s")


def slowest(title, metric, by, where=""):
    return panel(title, (f"topk(10, {quantile(0.99, metric, by, where)})", f"{{{{{by}}}}}"), unit="s")


def gauge(title, metric, by, where="", unit="short", **more):
    """Of what replicas say of one database, the same value, or of each its own: the largest."""
    return panel(title, (f"max by ({by}) ({metric}{{{where}}})", " ".join(f"{{{{{label}}}}}" for label in by.split(", "))), unit=unit, **more)


def dashboard(uid, title, rows, variables=()):
    panels, y = [], 0
    for heading, *those in rows:
        panels.append({"type": "row", "title": heading, "collapsed": False, "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1}, "panels": []})
        y += 1
        x = height = 0
        for one in those:
            if x + one["gridPos"]["w"] > WIDTH:
                x, y, height = 0, y + height, 0
            one["gridPos"] |= {"x": x, "y": y}
            x += one["gridPos"]["w"]
            height = max(height, one["gridPos"]["h"])
            panels.append(one)
        y += height
    for number, one in enumerate(panels, 1):
        one["id"] = number
    return {"uid": f"shop-{uid}", "title": title, "tags": ["shop"], "schemaVersion": SCHEMA, "version": 1, "editable": True,
            "refresh": "10s", "time": {"from": "now-1h", "to": "now"}, "timezone": "browser",
            "links": [{"type": "dashboards", "title": "Shop", "tags": ["shop"], "asDropdown": True, "includeVars": False}],
            "templating": {"list": list(variables)}, "annotations": {"list": []}, "panels": panels}


def overview():
    ours = 'process="gateway"'
    return dashboard("overview", "Shop: overview", [
        ("Now",
         stat("Processes that answer", "sum(up{process!=\"\"})"),
         stat("Alerts", "count(ALERTS{alertstate=\"firing\"}) or vector(0)"),
         stat("Requests a second", f"sum(rate(http_requests_total{{{ours}}}[$__rate_interval]))", "reqps"),
         stat("Requests that fail", "shop:http_failures:ratio5m", "percentunit"),
         stat("Orders decided late", "shop:orders_decided_late:ratio5m", "percentunit"),
         stat("Contradictions", "sum(reconciler_drift)")),
        ("Requests",
         rates("By status", "http_requests_total", "status", ours, "reqps", stacked=True),
         durations("How long they take", "http_request_duration_seconds", ours),
         slowest("The slowest routes (p99)", "http_request_duration_seconds", "route", ours),
         panel("By route", (f"topk(10, {rate('http_requests_total', 'route', ours)})", "{{route}}"), unit="reqps"),
         panel("Refused", (rate("http_rate_limited_total", "policy, mode"), "quota of a {{policy}}, {{mode}}"),
               (rate("http_limit_refusals_total", "limit"), "{{limit}}"),
               ("sum(rate(http_requests_shed_total[$__rate_interval]))", "too many at once"), unit="reqps"),
         panel("Under way", ("sum(http_requests_in_flight)", "requests"), ("sum(http_connections)", "connections"),
               ("sum(http_streams)", "streams"))),
        ("What comes of it",
         rates("Orders decided", "orders_decided_seconds_count", "outcome"),
         rates("Payments", "payments_total", "outcome"),
         rates("Mails", "mail_attempts_total", "outcome")),
        ("Calls between services",
         rates("By service", "rpc_handled_total", "process", unit="reqps"),
         rates("Not answered OK", "rpc_handled_total", "process, code", 'code!="OK"', "reqps"),
         slowest("The slowest (p99)", "rpc_duration_seconds", "method")),
        ("Processes",
         rates("CPU", "process_cpu_seconds_total", "process", unit="none"),
         panel("Memory", ("sum by (process) (process_resident_memory_bytes)", "{{process}}"), unit="bytes"),
         gauge("Connections to PostgreSQL, of those allowed", "100 * postgres_pool_connections_in_use / postgres_pool_connections_max",
               "process, database", unit="percent"),
         panel("What they were built from", ("sum by (process, version, revision) (build_info)", ""), kind="table", width=WIDTH)),
    ])


def service():
    this = 'process="$process"'
    return dashboard("service", "Shop: one service", [
        ("The process",
         stat("Replicas that answer", f"sum(up{{{this}}})"),
         stat("Runs for", f"time() - max(process_start_time_seconds{{{this}}})", "s"),
         text("Revision", f"max by (revision) (build_info{{{this}}})", "revision"),
         stat("Memory", f"sum(process_resident_memory_bytes{{{this}}})", "bytes"),
         stat("Threads", f"sum(process_threads{{{this}}})"),
         stat("Open files, of those allowed", f"max(process_open_fds{{{this}}} / process_max_fds{{{this}}})", "percentunit"),
         rates("CPU", "process_cpu_seconds_total", "instance", this, "none"),
         panel("Memory by replica", (f"process_resident_memory_bytes{{{this}}}", "{{instance}}"), unit="bytes"),
         gauge("Hears which sessions end", "revocations_current", "instance", this)),
        ("Its calls",
         rates("By method", "rpc_handled_total", "method", this, "reqps"),
         rates("Not answered OK", "rpc_handled_total", "method, code", f'{this}, code!="OK"', "reqps"),
         slowest("How long they take (p99)", "rpc_duration_seconds", "method", this),
         durations("How long all of them take", "rpc_duration_seconds", this),
         gauge("Wait for a thread", "rpc_queue_length", "instance", this),
         gauge("Open streams", "rpc_streams", "method, instance", this)),
        ("PostgreSQL",
         panel("Connections", (f"sum by (database) (postgres_pool_connections_in_use{{{this}}})", "{{database}} in use"),
               (f"sum by (database) (postgres_pool_connections_max{{{this}}})", "{{database}} at most")),
         gauge("Callers who wait for one", "postgres_pool_waiting", "database, instance", this),
         slowest("How long they wait (p99)", "postgres_pool_wait_seconds", "database", this)),
        ("Events",
         gauge("To be published", "outbox_unpublished", "process", this),
         rates("Published", "outbox_published_total", "process", this),
         panel("To be consumed", (f"sum by (group, topic) (consumer_lag{{{this}}})", "{{group}} from {{topic}}")),
         rates("Consumed", "consumer_events_total", "group, outcome", this),
         slowest("How long they take (p99)", "consumer_handle_seconds", "type", this),
         panel("Not handled", (f"max by (group) (consumer_retry_queue{{{this}}})", "{{group}}: to be tried again"),
               (f"max by (group) (consumer_dead_letters{{{this}}})", "{{group}}: dead letters"))),
    ], variables=[{"name": "process", "label": "process", "type": "query", "datasource": PROMETHEUS, "refresh": 2, "sort": 1,
                   "definition": "label_values(up{process!=\"\"}, process)", "multi": False, "includeAll": False,
                   "query": {"qryType": 1, "query": "label_values(up{process!=\"\"}, process)", "refId": "process"},
                   "current": {"text": "orders", "value": "orders"}}])


def orders():
    return dashboard("orders", "Shop: an order's way", [
        ("Now",
         stat("Wait", "sum(max by (for) (orders_waiting))"),
         stat("The oldest waits", "max(orders_waiting_oldest_seconds{for!=\"DELIVERY\"})", "s"),
         stat("Beyond their deadline", "sum(max by (for) (orders_overdue))"),
         stat("Decided within 5 s", "1 - shop:orders_decided_late:ratio5m", "percentunit"),
         stat("Payment provider answers", "min(payment_provider_up)"),
         stat("Mails can be sent", "min(mail_relay_up)")),
        ("Orders",
         panel("Placed", ("sum(rate(rpc_handled_total{method=\"/shop.orders.v1.OrdersService/CreateOrder\", code=\"OK\"}[$__rate_interval]))", "placed"),
               unit="ops"),
         rates("Decided", "orders_decided_seconds_count", "outcome"),
         durations("From placed to decided", "orders_decided_seconds"),
         gauge("Wait, by what for", "orders_waiting", "for", stacked=True),
         gauge("How long the oldest has waited", "orders_waiting_oldest_seconds", "for", unit="s"),
         gauge("Beyond their deadline, by what they wait for", "orders_overdue", "for"),
         rates("What becomes of them", "consumer_events_total", "type", 'group="notification", topic="orders", outcome="handled"'),
         panel("Cancelled at their deadline, within an hour", ("sum by (for) (increase(orders_expired_total[1h]))", "{{for}}")),
         gauge("Contradictions", "reconciler_drift", "kind")),
        ("Stock",
         rates("Reservations", "stock_reservations_total", "state"),
         panel("Orders whose stock is held", ("max(stock_held_orders)", "orders")),
         panel("Pieces held", ("max(stock_held_pieces)", "pieces"))),
        ("Payments",
         rates("Outcomes", "payments_total", "outcome"),
         rates("Calls of the provider", "payment_calls_total", "operation, outcome"),
         gauge("The provider answers", "payment_provider_up", "instance")),
        ("Mails",
         rates("Attempts", "mail_attempts_total", "outcome"),
         panel("Wait to be sent", ("max(mails_waiting)", "mails")),
         gauge("Mails can be sent, by replica", "mail_relay_up", "instance")),
    ])


def kafka():
    failed = 'outcome!~"handled|repeated|ignored"'
    return dashboard("kafka", "Shop: Kafka", [
        ("Now",
         stat("To be published", "sum(max by (process) (outbox_unpublished))"),
         stat("Refused by Kafka", "sum(max by (process) (outbox_refused))"),
         stat("To be consumed", "sum(consumer_lag)"),
         stat("To be tried again", "sum(max by (group) (consumer_retry_queue))"),
         stat("Dead letters", "sum(max by (group) (consumer_dead_letters))"),
         stat("Gone before they were consumed", "sum(consumer_missing_events)")),
        ("From outboxes to Kafka",
         gauge("Events to be published", "outbox_unpublished", "process"),
         rates("Published", "outbox_published_total", "process"),
         rates("Attempts that failed", "outbox_errors_total", "process")),
        ("From Kafka to consumers",
         panel("Lag, by group", ("sum by (group) (consumer_lag)", "{{group}}")),
         panel("Lag, by partition", ("topk(10, consumer_lag)", "{{group}}: {{topic}} {{partition}}")),
         rates("Events", "consumer_events_total", "group"),
         slowest("How long events take (p99)", "consumer_handle_seconds", "group"),
         slowest("How long other services take that are asked (p99)", "consumer_ask_seconds", "group"),
         rates("What becomes of events", "consumer_events_total", "outcome")),
        ("What went wrong",
         rates("Events that were not handled", "consumer_events_total", "group, outcome", failed),
         gauge("Events that wait to be tried again", "consumer_retry_queue", "group"),
         gauge("Dead letters, by group", "consumer_dead_letters", "group")),
    ])


def files():
    """What is in each, by its name: a line a panel, so that changes can be read."""
    for built in (overview(), service(), orders(), kafka()):
        panels = ",\n  ".join(json.dumps(one, ensure_ascii=False) for one in built.pop("panels"))
        head = json.dumps(built, ensure_ascii=False, indent=1).removesuffix("\n}")
        yield f"{built['uid'].removeprefix('shop-')}.json", f'{head},\n "panels": [\n  {panels}\n ]\n}}\n'


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file, content in files():
        (FOLDER / file).write_text(content, encoding="utf-8")
