#!/usr/bin/env python3
"""What deploy/topics says holds on a broker, also for topics that exist already: by what the native stack runs
and by the containers' job."""

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

import servers  # pylint: disable=wrong-import-position
import topics  # pylint: disable=wrong-import-position
from settings import DATABASES, TOPICS, Topic, parse  # pylint: disable=wrong-import-position

DAY = 86_400_000
TOOLS = {"kafka-topics": "org.apache.kafka.tools.TopicCommand", "kafka-configs": "kafka.admin.ConfigCommand"}


class TopicsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.bootstrap = parse(Path(os.environ["TEST_SERVERS_ENV"]).read_text())["KAFKA_BOOTSTRAP_SERVERS"]
        cls.bin = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        for name, main in TOOLS.items():
            script = cls.bin / f"{name}.sh"
            script.write_text(f'#!/bin/sh\necho {name} "$@" >>"$CALLS"\n'
                              f'exec java -XX:TieredStopAtLevel=1 -cp "{servers.KAFKA}/jars/*" {main} "$@"\n')
            script.chmod(0o755)

    def setUp(self):
        self.work = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.name = "t" + uuid.uuid4().hex[:12]

    def configured(self):
        """(partitions, retention.ms, min.insync.replicas) of the test's topic."""
        told = subprocess.run([self.bin / "kafka-topics.sh", "--bootstrap-server", self.bootstrap, "--describe",
                               "--topic", self.name], env=os.environ | {"CALLS": "/dev/null"},
                              capture_output=True, text=True, check=True).stdout
        return tuple(int(re.search(rf"{word}[:=] ?(\d+)", told)[1])
                     for word in ("PartitionCount", "retention.ms", "min.insync.replicas"))

    def make_natively(self, **changes):
        topic = Topic(partitions=2, retention_ms=3 * DAY, replicas=1, in_sync=1, publisher="orders")
        return topics.apply(self.bootstrap, {self.name: topic._replace(**changes)})

    def make_in_containers(self, line, **environment):
        listed, calls = self.work / "topics", self.work / "calls"
        listed.write_text(f"# a comment\n\n{self.name} {line} orders\n")
        calls.write_text("")
        subprocess.run(["sh", REPO / "deploy/docker/topics.sh"], check=True, capture_output=True, text=True,
                       env=os.environ | {"KAFKA_BIN": str(self.bin), "TOPICS_FILE": str(listed), "CALLS": str(calls),
                                         "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap} | environment)
        return calls.read_text()

    def test_the_native_stack_applies_what_is_new_and_nothing_twice(self):
        self.assertTrue(self.make_natively())
        self.assertEqual(self.configured(), (2, 3 * DAY, 1))
        self.assertFalse(self.make_natively())
        self.assertTrue(self.make_natively(retention_ms=5 * DAY))
        self.assertEqual(self.configured(), (2, 5 * DAY, 1))

    def test_the_native_stack_leaves_what_an_operator_has_set_besides(self):
        self.make_natively()
        admin, topic = topics.client(topics.AdminClient, self.bootstrap), topics.ConfigResource("topic", self.name)

        def is_set(name, value):
            """Whether it is, once the broker has noticed a change."""
            end = time.monotonic() + 20
            while time.monotonic() < end:
                if admin.describe_configs([topic])[topic].result(20)[name].value == value:
                    return True
                time.sleep(0.1)
            return False

        self.assertTrue(is_set("retention.ms", str(3 * DAY)))
        by_hand = topics.ConfigResource("topic", self.name, set_config={"segment.ms": "3600000"})
        admin.alter_configs([by_hand])[by_hand].result(20)
        self.assertTrue(is_set("segment.ms", "3600000"))
        self.assertTrue(self.make_natively())
        self.assertTrue(is_set("retention.ms", str(3 * DAY)))
        self.assertTrue(is_set("segment.ms", "3600000"))

    def test_the_containers_job_applies_what_is_new_and_nothing_twice(self):
        self.assertIn("--create", self.make_in_containers("2 3d 1 1"))
        self.assertEqual(self.configured(), (2, 3 * DAY, 1))
        again = self.make_in_containers("2 3d 1 1")
        self.assertNotIn("--create", again)
        self.assertNotIn("--alter", again)
        self.assertIn("--alter", self.make_in_containers("2 5d 1 1"))
        self.assertEqual(self.configured(), (2, 5 * DAY, 1))
        self.make_in_containers("2 5d 1 1", KAFKA_REPLICATION="3")
        self.assertEqual(self.configured(), (2, 5 * DAY, 2), "of three replicas two have an event before it counts")


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
    unittest.main()
