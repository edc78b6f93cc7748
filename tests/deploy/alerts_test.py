#!/usr/bin/python3
"""What Prometheus is told: is it valid, is each alert raised when it should be, and does the runbook know it?"""

import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "deploy/local"))

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
        known = {name for line in RUNBOOK.splitlines() if line.startswith("| `")
                 for name in re.findall(r"`(\w+)`", line.split("|")[1])}
        expressions = " ".join(re.findall(r"expr: (.*)", RULES))
        for matcher in (r"\{[^}]*\}", r"\[[^\]]*\]", r"shop:\w+:\w+", r"by \([^)]*\)"):
            expressions = re.sub(matcher, " ", expressions)
        used = {re.sub("_(bucket|sum|count)$", "", name) for name in re.findall(r"\b[a-z]+_[a-z_]+\b", expressions)}
        self.assertGreater(len(used), 15)
        self.assertEqual({"min_over_time"}, used - known)


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
