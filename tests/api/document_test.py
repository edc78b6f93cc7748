#!/usr/bin/python3
"""The OpenAPI document against itself, and the Postman collection against the document.

  tests/api/document_test.py build/dev/bin/openapi [unittest arguments]
"""

import json
import re
import subprocess
import sys
import unittest
from pathlib import Path

import jsonschema

import examples
from contract import Document
from examples import requests

REPO = Path(__file__).resolve().parents[2]
COLLECTION = REPO / "E-Commerce-API.postman_collection.json"
# Served, but no part of the API.
BESIDES = {"/healthz", "/readyz", "/openapi.json", "/asyncapi.json"}

document = None


class TheDocument(unittest.TestCase):
    def test_has_only_schemas_that_are_json_schema(self):
        for name, schema in document.json["components"]["schemas"].items():
            with self.subTest(name):
                jsonschema.Draft202012Validator.check_schema(json.loads(json.dumps(schema, default=float)))

    def test_shows_an_example_of_every_request_body_and_answer_that_is_valid(self):
        shown = 0
        for name, operation in document.operations():
            bodies = list(operation.get("requestBody", {}).get("content", {}).values())
            for response in operation["responses"].values():
                bodies += document.resolve(response).get("content", {}).values()
            for body in bodies:
                if not body:  # of whatever content
                    continue
                with self.subTest(name):
                    self.assertIn("example", body)
                    self.assertEqual([], document.complaints(body["schema"], body["example"]))
                    shown += 1
        self.assertGreater(shown, 300)

    def test_shows_examples_of_parameters_that_are_valid(self):
        for name, operation in document.operations():
            for parameter in map(document.resolve, operation["parameters"]):
                with self.subTest(name, parameter=parameter["name"]):
                    if parameter["in"] == "path":
                        self.assertIn("example", parameter)
                    if "example" in parameter:
                        self.assertEqual([], document.complaints(parameter["schema"], parameter["example"]))

    def test_says_what_every_operation_does_and_who_may_call_it(self):
        for name, operation in document.operations():
            with self.subTest(name):
                self.assertRegex(operation["description"], "nybody may call it|Who may call it: [A-Z]")
                self.assertTrue(operation["x-roles"])

    def test_has_errors_where_they_apply(self):
        for name, operation in document.operations():
            with self.subTest(name):
                answers = set(operation["responses"])
                headers = {document.resolve(parameter)["name"] for parameter in operation["parameters"]}
                self.assertLessEqual({"400", "401", "500", "503", "504"}, answers)
                self.assertEqual("If-Match" in headers, "412" in answers)
                self.assertEqual("Idempotency-Key" in headers, "422" in answers)
                self.assertEqual("If-None-Match" in headers, "304" in answers)
                self.assertEqual("requestBody" in operation, "415" in answers)
                self.assertEqual("requestBody" in operation, "413" in answers)
                self.assertIn("429", answers)
                self.assertLessEqual({"X-Request-Id", "Request-Timeout"}, headers)


def folders(folder):
    for item in folder["item"]:
        if "item" in item:
            yield item
            yield from folders(item)


def expected_status(item):
    script = "\n".join(line for event in item.get("event", []) if event["listen"] == "test"
                       for line in event["script"]["exec"])
    return int(re.search(r"have\.status\((\d+)\)", script)[1])


class TheCollection(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.collection = json.loads(COLLECTION.read_text(encoding="utf-8"))
        cls.variables = {variable["key"]: variable["value"] for variable in cls.collection["variable"]}

    def filled(self, text):
        """The text with something of the right kind in the place of each variable."""
        def value(match):
            name = match[1]
            return self.variables.get(name) or (
                "somebody@example.com" if name.endswith("Email") else "7" if name.endswith("Id") else "text")
        return re.sub(r"\{\{(\w+)\}\}", value, text)

    def path_of(self, item):
        url = item["request"]["url"]["raw"]
        return self.filled(url.replace("{{baseUrl}}", "/api/v1").replace("{{rootUrl}}", "")).split("?")[0]

    def test_has_only_requests_that_are_documented(self):
        for item in requests(self.collection):
            with self.subTest(item["name"]):
                method, path = item["request"]["method"], self.path_of(item)
                there = document.operation(method, path) is not None or path in BESIDES
                self.assertTrue(there or expected_status(item) in (404, 405), f"{method} {path}")

    def test_has_every_operation(self):
        used = [document.operation(item["request"]["method"], self.path_of(item))
                for item in requests(self.collection)]
        for name, operation in document.operations():
            with self.subTest(name):
                self.assertIn(operation, used)

    def test_expects_only_answers_that_are_documented(self):
        for item in requests(self.collection):
            operation = document.operation(item["request"]["method"], self.path_of(item))
            if operation is not None:
                with self.subTest(item["name"]):
                    self.assertIn(str(expected_status(item)), operation["responses"])

    def test_sends_bodies_that_are_valid_where_it_expects_success(self):
        sent = 0
        for item in requests(self.collection):
            body = item["request"].get("body")
            if body and expected_status(item) < 300:
                with self.subTest(item["name"]):
                    operation = document.operation(item["request"]["method"], self.path_of(item))
                    self.assertEqual([], document.about_body(operation, self.filled(body["raw"])))
                    sent += 1
        self.assertGreater(sent, 20)

    def test_reads_as_a_tutorial(self):
        for folder in folders(self.collection):
            with self.subTest(folder["name"]):
                self.assertTrue(folder.get("description"))
                self.assertLessEqual(len(folder["item"]), 16, "make folders inside it")
        names = [item["name"] for item in requests(self.collection)]
        self.assertEqual(sorted(set(names)), sorted(names), "answers are saved by name")
        for item in requests(self.collection):
            with self.subTest(item["name"]):
                self.assertTrue(item["request"].get("description"))

    def test_declares_and_explains_every_variable(self):
        text = COLLECTION.read_text(encoding="utf-8")
        used = set(re.findall(r"\{\{(\w+)\}\}", text)) | set(re.findall(r"ariables\.[gs]et\('(\w+)'", text))
        self.assertEqual(used, {variable["key"] for variable in self.collection["variable"]})
        for variable in self.collection["variable"]:
            with self.subTest(variable["key"]):
                self.assertTrue(variable.get("description"))

    def test_has_saved_an_answer_to_every_request_that_is_as_documented(self):
        for item in requests(self.collection):
            with self.subTest(item["name"]):
                self.assertEqual(1, len(item["response"]), "make collection saves it")
                saved = item["response"][0]
                self.assertEqual(expected_status(item), saved["code"])
                self.assertEqual(examples.asked(item), saved["originalRequest"], "make collection saves it anew")
                method, path = item["request"]["method"], self.path_of(item)
                if path not in BESIDES:
                    headers = {header["key"].lower(): header["value"] for header in saved["header"]}
                    self.assertEqual([], [wrong for wrong in document.about_answer(
                        method, path, saved["code"], headers, saved["body"]) if not wrong.startswith("the header")])


if __name__ == "__main__":
    document = Document(subprocess.run([sys.argv.pop(1)], check=True, capture_output=True, text=True).stdout)
    unittest.main()
