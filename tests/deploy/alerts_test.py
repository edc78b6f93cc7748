#!/usr/bin/python3
"""What Prometheus and Grafana are told: is it valid, is each alert raised when it should be, and does the runbook know it?"""

import json
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO / "deploy/local"), str(REPO / "deploy/observability")]

import dashboards  # pylint: disable=wrong-import-position
import metrics  # pylint: disable=wrong-import-position
import servers  # pylint: disable=wrong-import-position
from settings import PROCESSES, Settings, parse  # pylint: disable=wrong-import-position

FOLDER = REPO / "deploy/observability"
RULES = (FOLDER / "rules.yml").read_text(encoding="utf-8")
RUNBOOK = (REPO / "docs/runbook.md").read_text(encoding="utf-8")
ALERTS = set(re.findall(r"- alert: (\w+)", RULES))


def promtool(*words):
    done = subprocess.run(["promtool", *map(str, words)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


class Alerts(unittest.TestCase):
    def test_are_raised_as_their_tests_say(self):
        code, said = promtool("test", "rules", FOLDER / "rules_test.yml")
        self.assertEqual(0, code, said)

    def test_have_a_test_each(self):
        tested = set(re.findall(r"alertname: (\w+)", (FOLDER / "rules_test.yml").read_text(encoding="utf-8")))
        self.assertEqual(ALERTS, tested)

    def test_have_a_section_of_the_runbook_each(self):
        sections = re.findall(r"^### (\w+)$", RUNBOOK.split("\n## Alerts\n")[1].split("\n## ")[0], re.M)
        self.assertEqual(sorted(ALERTS), sorted(sections))

    def test_watch_metrics_that_there_are(self):
        used = metrics.names_in(" ".join(re.findall(r"expr: (.*)", RULES)))
        self.assertGreater(len(used), 15)
        self.assertEqual(set(), used - set(metrics.read()))


class TheListOfMetrics(unittest.TestCase):
    def test_is_the_table_of_the_runbook(self):
        # deploy/observability/metrics.py writes it anew.
        self.assertIn(metrics.table(), RUNBOOK)
        self.assertEqual(metrics.with_table(RUNBOOK), RUNBOOK)

    def test_names_processes_that_there_are(self):
        listed = metrics.read()
        self.assertEqual(set(PROCESSES), set().union(*(metric.processes for metric in listed.values())))
        for name, metric in listed.items():
            with self.subTest(name):
                self.assertTrue(metric.processes)

    def test_names_metrics_as_prometheus_wants_them(self):
        for name, metric in metrics.read().items():
            with self.subTest(name):
                self.assertIn(metric.type, ("counter", "gauge", "histogram"))
                self.assertEqual(metric.type == "counter", name.endswith("_total"))
                self.assertNotRegex(name, "_(ms|milliseconds|minutes|kilobytes|percent)(_|$)")
                if metric.type == "histogram":
                    self.assertRegex(name, "_(seconds|size)$")


class Dashboards(unittest.TestCase):
    FILES = sorted((FOLDER / "dashboards").glob("*.json"))

    def test_are_what_their_script_writes(self):
        # deploy/observability/dashboards.py writes them anew.
        self.assertEqual(dict(dashboards.files()), {path.name: path.read_text(encoding="utf-8") for path in self.FILES})

    def test_show_metrics_that_there_are(self):
        listed = set(metrics.read())
        shown = set()
        for path in self.FILES:
            for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
                with self.subTest(path.name, panel=panel["title"]):
                    names = metrics.names_in(" ".join(target["expr"] for target in panel.get("targets", ())))
                    self.assertEqual(set(), names - listed)
                    shown |= names
        self.assertGreater(len(shown), 40)

    def test_show_recorded_series_that_there_are(self):
        recorded = set(re.findall(r"- record: (\S+)", RULES))
        for path in self.FILES:
            self.assertEqual(set(), set(re.findall(r"shop:\w+:\w+", path.read_text(encoding="utf-8"))) - recorded)

    def test_put_no_panel_on_another(self):
        for path in self.FILES:
            taken = set()
            for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
                at = panel["gridPos"]
                cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
                with self.subTest(path.name, panel=panel["title"]):
                    self.assertLessEqual(at["x"] + at["w"], dashboards.WIDTH)
                    self.assertEqual(set(), taken & cells)
                taken |= cells


class Configuration(unittest.TestCase):
    def test_is_valid_and_names_every_process(self):
        text = servers.prometheus_config(Settings(parse((REPO / ".env.example").read_text())))
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
            file.write(text)
            file.flush()
            code, said = promtool("check", "config", file.name)
        self.assertEqual(0, code, said)
        self.assertEqual(set(PROCESSES), set(re.findall(r'"process": "(\w+)"', text)))

    def test_of_the_containers_is_valid_and_names_every_process(self):
        code, said = promtool("check", "config", "--syntax-only", FOLDER / "prometheus.yml")
        self.assertEqual(0, code, said)
        asked = re.findall(r"names: \[(\w+)\], type: A, port: (\d+)", (FOLDER / "prometheus.yml").read_text())
        self.assertEqual({(name, str(process.ports["ADMIN_PORT"])) for name, process in PROCESSES.items()}, set(asked))


if __name__ == "__main__":
    unittest.main(verbosity=2)
