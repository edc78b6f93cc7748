"""The Postman collection, as `make walkthrough` runs it, what it is answered, and what is counted of it."""

import json
import random
import re
import sys

from case import Case
from harness import REPO
import metrics  # in deploy/observability, which harness has put on the path
from settings import GROUPS, PROCESSES

sys.path.insert(0, str(REPO / "tests/api"))
from contract import Document, EventsDocument  # pylint: disable=wrong-import-position

# Served, but no part of the API.
BESIDES = ("/healthz", "/readyz", "/openapi.json", "/asyncapi.json")


def table(path, columns):
    """The rows of a Markdown table, as the words in backquotes of each of the first columns."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            cells = line.strip("|").split("|")
            yield [re.findall(r"`([^`]+)`", cell) for cell in cells[:columns]]


class TheWalkthrough(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.events = EventsDocument(cls.shop.fetch("/asyncapi.json").text)
        # Those of other tests, some of which are wrong on purpose.
        cls.published_before = {event.headers.get("ce_id") for event in cls.published()}
        cls.document = Document(cls.shop.fetch("/openapi.json").text)
        report = cls.shop.folder / "walkthrough.json"
        # It has to be green twice in a row on one stack; over TLS, once.
        for _ in range(1 if cls.shop.http_ca else 2):
            # A failed assertion is an exit code, and then newman's report is the message.
            cls.shop.script("walkthrough", "--", "--color", "off", "--timeout-request", "20000",
                            "--reporters", "cli,json", "--reporter-json-export", str(report))
        cls.executions = json.loads(report.read_text(encoding="utf-8"))["run"]["executions"]
        # (process, metric, labels, value) of everything in /metrics.
        cls.samples = []
        cls.types = {process: cls.shop.metric_types(process) for process in PROCESSES}
        for process in PROCESSES:
            for sample, value in cls.shop.metrics(process).items():
                name, _, labels = sample.rstrip("}").partition("{")
                cls.samples.append((process, name, dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels)), value))

    @classmethod
    def published(cls):
        return [event for topic in cls.events.json["channels"] for event in cls.shop.events(topic)]

    def exchanges(self):
        """(name, method, path, status, headers, text) of every request of the last run."""
        for done in self.executions:
            request, response = done["request"], done["response"]
            path = "/" + "/".join(request["url"]["path"])
            if path not in BESIDES:
                headers = {header["key"].lower(): header["value"] for header in response["header"]}
                yield (done["item"]["name"], request["method"], path, response["code"], headers,
                       bytes(response["stream"]["data"]).decode())

    def test_is_answered_as_the_document_says(self):
        answers = list(self.exchanges())
        self.assertGreater(len(answers), 100)
        for name, method, path, status, headers, text in answers:
            with self.subTest(name):
                self.assertEqual([], self.document.about_answer(method, path, status, headers, text))

    def test_publishes_what_the_document_of_the_events_says(self):
        kinds = set()
        for event in self.published():
            if event.headers.get("ce_id") in self.published_before:
                continue
            with self.subTest(event.topic, key=event.key, kind=event.type):
                self.assertEqual([], self.events.about_event(event.topic, event.key, event.headers, event.text))
            kinds.add(event.type)
        self.assertGreater(len(kinds), 8)

    def test_is_counted_by_route_and_by_rpc(self):
        called = {(method, operation["operationId"]) for _, method, path, status, _, _ in self.exchanges()
                  if status < 300 and (operation := self.document.operation(method, path))}
        self.assertGreater(len(called), 20)
        rpcs = {labels["method"].rpartition("/")[2] for _, name, labels, value in self.samples
                if name == "rpc_handled_total" and labels["code"] == "OK" and value > 0}
        routes = {self.document.operation(labels["method"], labels["route"])["operationId"]
                  for _, name, labels, value in self.samples
                  if name == "http_requests_total" and labels["route"] != "none" and value > 0
                  and labels["status"] in ("200", "201", "202")}
        self.assertEqual(set(), {operation for _, operation in called} - rpcs)
        self.assertEqual(set(), {operation for _, operation in called} - routes)

    def test_leaves_no_label_that_a_client_made_up(self):
        methods = {f"/{method[0]}" for method, *_ in table(REPO / "docs/access.md", 1)}
        templates = {path for path in re.findall(r"`[A-Z]+ (/[^`]+)`", (REPO / "docs/access.md").read_text())}
        bounded = {
            "route": templates | {"none"},
            "status": re.compile(r"[1-5]\d\d"),
            "code": re.compile(r"[A-Z_]+"),
            "group": set(GROUPS),
            "topic": {"orders", "stock", "users", "payments", "shipments", "accounts"},
            "partition": re.compile(r"[0-5]"),
            "type": re.compile(r"[A-Z_]+|unknown"),
            "outcome": re.compile(r"[a-z_]+"),
            "operation": re.compile(r"[a-z]+"),
            "for": {"STOCK", "PAYMENT", "DISPATCH", "CANCEL", "DELIVERY"},
            "kind": re.compile(r"[a-z_]+"),
            "result": {"clean", "drift", "undecided", "unreadable"},
            "policy": {"user", "address"},
            "mode": {"enforced", "shadow"},
            "limit": {"connections", "client_connections", "bytes", "client_bytes", "streams", "client_streams", "user_streams",
                      "token_checks"},
            "database": set(PROCESSES),
            "state": {"held", "rejected", "committed", "returned", "released"},
            "version": {"dev"},
            "revision": re.compile(r"[\w.-]+"),
            "le": re.compile(r"[\d.e+-]+|\+Inf")}
        verbs = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"}
        for process, name, labels, _ in self.samples:
            for label, value in labels.items():
                allowed = (verbs if name.startswith("http_") else methods) if label == "method" else bounded[label]
                with self.subTest(process, metric=name, label=label):
                    self.assertTrue(value in allowed if isinstance(allowed, set) else allowed.fullmatch(value), value)

    def test_is_counted_in_the_metrics_that_are_listed_and_in_no_others(self):
        """Of each: its type, its labels, and the processes that serve it."""
        def readable(found):
            return {name: (kind, sorted(labels), sorted(processes)) for name, (kind, labels, processes) in found.items()}
        listed = {name: (metric.type, metric.labels, metric.processes) for name, metric in metrics.read().items()}
        seen = {}
        for process, name, labels, _ in self.samples:
            if name not in self.types[process]:
                name = re.sub("_(bucket|sum|count)$", "", name)
            of = seen.setdefault(name, (self.types[process][name], set(), set()))
            of[1].update(set(labels) - {"le"})
            of[2].add(process)
        self.assertEqual(readable(listed), readable(seen))


class WhatClientsMakeUp(Case):
    """Paths, ids, parameters and headers, other ones each time."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.any = random.Random(7)
        paths = json.loads(cls.shop.fetch("/openapi.json").text)["paths"]
        cls.reads = sorted(path for path, operations in paths.items()
                           if "get" in operations and "text/event-stream" not in json.dumps(operations["get"]))

    def word(self):
        return "".join(self.any.choices("abcdefghijklmnopqrstuvwxyz", k=12))

    def ask(self, path):
        headers = {f"x-{self.word()}": self.word(), "x-request-id": self.word(), "user-agent": self.word(),
                   "traceparent": f"00-{self.any.getrandbits(128):032x}-{self.any.getrandbits(64):016x}-00"}
        for token in (None, self.word(), self.boss.token):
            answer = self.shop.fetch(path, token=token, headers=headers)
            self.assertNotEqual(500, answer.status, (path, answer))

    def ask_everything(self):
        """Answers how many requests that were."""
        for path in self.reads:
            self.ask(re.sub(r"\{[^}]*\}", lambda _: self.word(), path))
            self.ask(re.sub(r"\{[^}]*\}", lambda _: str(self.any.randrange(10**9, 10**15)), path))
            self.ask(f"{path}?{self.word()}={self.word()}")
        self.ask(f"/{self.word()}/{self.word()}")
        self.ask(f"/api/v1/{self.word()}?{self.word()}={self.word()}")
        return 3 * (3 * len(self.reads) + 2)

    def series(self):
        # What consumers count may be of events that others have caused.
        return {(process, sample) for process in PROCESSES for sample in self.shop.metrics(process)
                if not sample.startswith("consumer_")}

    def test_adds_no_series(self):
        self.ask_everything()
        before = self.series()
        asked = sum(self.ask_everything() for _ in range(10))
        self.assertGreater(asked, 1000)
        self.assertEqual(set(), self.series() - before)
