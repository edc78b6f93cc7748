#!/usr/bin/python3
"""The AsyncAPI document against the specification, and against the events that were ever written.

  tests/api/events_test.py build/dev/bin/openapi [unittest arguments]
"""

import json
import os
import subprocess
import sys
import unittest
from pathlib import Path

from contract import EventsDocument

REPO = Path(__file__).resolve().parents[2]
GOLDEN = REPO / "tests/golden"

text = None
document = None


def parsed(asyncapi):
    """(whether the makers' parser takes it, what it says)."""
    done = subprocess.run(["node", REPO / "tests/api/asyncapi.mjs"], input=asyncapi, text=True, capture_output=True,
                          env=os.environ | {"NODE_PATH": str(REPO / ".local/tools/npm/node_modules")}, check=False)
    return done.returncode == 0, done.stdout + done.stderr


def newest(folder):
    """The headers and the value of the event as it is written today."""
    path = max(folder.iterdir(), key=lambda file: int(file.stem))
    head, _, value = path.read_text(encoding="utf-8").partition("\n\n")
    return dict(line.split(": ", 1) for line in head.splitlines()), value


class TheEvents(unittest.TestCase):
    def test_are_described_by_a_document_that_the_parser_takes(self):
        self.assertEqual((True, ""), parsed(text))

    def test_are_refused_by_the_parser_where_the_document_is_wrong(self):
        wrong = json.loads(text)
        wrong["channels"]["orders"]["messages"]["ORDER_CREATED"] = {"$ref": "#/components/messages/NONE"}
        good, said = parsed(json.dumps(wrong))
        self.assertFalse(good)
        self.assertIn("#/components/messages/NONE", said)

    def test_are_all_there(self):
        self.assertEqual({folder.name for folder in GOLDEN.iterdir()}, set(document.json["components"]["messages"]))

    def test_are_as_the_document_says_when_they_are_written_today(self):
        for folder in GOLDEN.iterdir():
            with self.subTest(folder.name):
                headers, value = newest(folder)
                wrong = document.about_event(headers.pop("topic"), headers.pop("key"), headers, value)
                # Their texts are made up, a phone's number too.
                self.assertEqual([], [sentence for sentence in wrong if "does not match" not in sentence])

    def test_have_examples_that_are_valid(self):
        for topic, channel in document.json["channels"].items():
            for name, reference in channel["messages"].items():
                with self.subTest(name):
                    example, = document.resolve(reference)["examples"]
                    self.assertEqual([], document.about_event(topic, example["headers"]["ce_subject"],
                                                              example["headers"],
                                                              json.dumps(example["payload"], default=float)))

    def test_are_told_from_what_is_no_event_of_the_topic(self):
        headers, value = newest(GOLDEN / "ORDER_SHIPPED")
        topic, key = headers.pop("topic"), headers.pop("key")
        self.assertNotEqual([], document.about_event("stock", key, headers, value))
        self.assertNotEqual([], document.about_event(topic, "none", headers, value))
        self.assertNotEqual([], document.about_event(topic, key, headers, value.replace("orderId", "order")))
        self.assertNotEqual([], document.about_event(topic, key, headers | {"ce_specversion": "0.3"}, value))


if __name__ == "__main__":
    text = subprocess.run([sys.argv.pop(1), "--events"], check=True, capture_output=True, text=True).stdout
    document = EventsDocument(text)
    unittest.main()
