#!/usr/bin/python3
"""What deploy/topics says holds on a broker, also for topics that exist already: by the program `topics`, which every
stack runs. Its first argument is that program."""

import os
import re
import subprocess
import sys
import tempfile
import time
import unittest
import uuid
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "deploy/local"))

import topics  # pylint: disable=wrong-import-position
from settings import DATABASES, TOPICS, parse  # pylint: disable=wrong-import-position

DAY = 86_400_000


class TopicsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.kafka = {"KAFKA_BOOTSTRAP_SERVERS": parse(Path(os.environ["TEST_SERVERS_ENV"]).read_text())[
            "KAFKA_BOOTSTRAP_SERVERS"]}
        cls.admin = topics.client(topics.AdminClient, cls.kafka)

    def setUp(self):
        self.lists = Path(self.enterContext(tempfile.TemporaryDirectory()))
        (self.lists / "services").write_text("orders 7005 9105 postgres\n")
        self.name = "t" + uuid.uuid4().hex[:12]

    def make(self, line, **environment):
        """Has the topic as that line says; answers what was told of it."""
        (self.lists / "topics").write_text(f"# a comment\n\n{self.name} {line} orders\n")
        done = subprocess.run([PROGRAM, self.lists], env=self.kafka | environment, capture_output=True, text=True,
                              check=False)
        self.assertEqual(0, done.returncode, done.stderr)
        return [told for told in done.stdout.splitlines() if self.name in told]

    def becomes(self, partitions, retention_ms, in_sync, **others):
        """Whether the topic is like that, once the broker has noticed a change."""
        wanted = {"retention.ms": str(retention_ms), "min.insync.replicas": str(in_sync)} | others
        resource = topics.ConfigResource("topic", self.name)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            found = self.admin.describe_configs([resource])[resource].result(20)
            known = self.admin.list_topics(self.name, timeout=20).topics[self.name].partitions
            if len(known) == partitions and all(found[name].value == value for name, value in wanted.items()):
                return True
            time.sleep(0.1)
        return False

    def test_what_is_new_is_made_and_what_has_changed_is_applied_and_nothing_twice(self):
        self.assertEqual([f"topic {self.name} is new"], self.make("2 3d 1 1"))
        self.assertTrue(self.becomes(2, 3 * DAY, 1))
        self.assertEqual([], self.make("2 3d 1 1"))
        self.assertEqual([f"topic {self.name}: retention.ms is now {5 * DAY}, was {3 * DAY}"], self.make("2 5d 1 1"))
        self.assertTrue(self.becomes(2, 5 * DAY, 1))

    def test_of_three_replicas_two_have_an_event_before_it_counts(self):
        self.make("2 5d 1 1")
        self.assertTrue(self.becomes(2, 5 * DAY, 1))
        self.make("2 5d 1 1", KAFKA_REPLICATION="3")
        self.assertTrue(self.becomes(2, 5 * DAY, 2), "partitions and replicas stay as they were made with")

    def test_what_an_operator_has_set_besides_stays(self):
        self.make("2 3d 1 1")
        self.assertTrue(self.becomes(2, 3 * DAY, 1))
        topics.set_option(self.kafka, self.name, "segment.ms", 3_600_000)
        self.assertTrue(self.becomes(2, 3 * DAY, 1, **{"segment.ms": "3600000"}))
        self.assertTrue(self.make("2 5d 1 1"))
        self.assertTrue(self.becomes(2, 5 * DAY, 1, **{"segment.ms": "3600000"}))

    def test_a_line_that_cannot_be_read_is_named(self):
        (self.lists / "topics").write_text(f"{self.name} 2 3 1 1 orders\n")
        done = subprocess.run([PROGRAM, self.lists], env=self.kafka, capture_output=True, text=True, check=False)
        self.assertEqual(1, done.returncode)
        self.assertIn(f"{self.name} 2 3 1 1 orders", done.stderr)


class ListTest(unittest.TestCase):
    def test_what_can_be_republished_is_kept_longer_than_its_topic_keeps_it(self):
        header = (REPO / "libs/common/messaging/retention.h").read_text()
        days = {name: int(number) for name, number in
                re.findall(r"k(\w+)Retention\{(\d+) \* 24\}", header)}
        for name, topic in TOPICS.items():
            self.assertEqual(topic.retention_ms, days["Topic"] * DAY, name)
        self.assertLess(days["Topic"], days["Outbox"])
        self.assertLess(days["Outbox"], days["Inbox"])

    def test_every_topic_of_ours_has_a_publisher_with_an_outbox(self):
        for name, topic in TOPICS.items():
            self.assertIn(topic.publisher, DATABASES, name)


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    unittest.main()
