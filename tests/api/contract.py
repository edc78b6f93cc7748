"""What the OpenAPI document says about one request and its answer.

Numbers are read as decimals: 49.99 is a multiple of 0.01 in no binary float.
"""

import json
import re
from decimal import Decimal
from urllib.parse import urlsplit

import jsonschema

CHECKER = jsonschema.Draft202012Validator.FORMAT_CHECKER


def parse(text):
    return json.loads(text, parse_float=Decimal)


def _is_number(_, value):
    return isinstance(value, (int, Decimal, float)) and not isinstance(value, bool)


def _is_integer(_, value):
    return (isinstance(value, int) or isinstance(value, Decimal) and value == value.to_integral_value()) \
        and not isinstance(value, bool)


VALIDATOR = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"number": _is_number, "integer": _is_integer}))


class Schemas:
    """A document with schemas in its components."""

    def __init__(self, text):
        self.json = parse(text)

    def resolve(self, value):
        while "$ref" in value:
            target = self.json
            for step in value["$ref"].removeprefix("#/").split("/"):
                target = target[step]
            value = target
        return value

    def complaints(self, schema, value):
        """What is wrong with a value, as a list of sentences."""
        validator = VALIDATOR({**schema, "components": self.json["components"]}, format_checker=CHECKER)
        return [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(value)]


class EventsDocument(Schemas):
    """The AsyncAPI document."""

    def about_event(self, topic, key, headers, text):
        """What is wrong with a record of a topic."""
        channel = self.json["channels"].get(topic, {"messages": {}})
        kind = headers.get("ce_type")
        if kind not in channel["messages"]:
            return [f"{kind} is not on topic {topic}"]
        message = self.resolve(channel["messages"][kind])
        wrong = self.complaints(message["payload"], parse(text))
        wrong += self.complaints(message["bindings"]["kafka"]["key"], key)
        for trait in message["traits"]:
            wrong += self.complaints(self.resolve(trait)["headers"], headers)
        return wrong


class Document(Schemas):
    """The OpenAPI document."""

    def __init__(self, text):
        super().__init__(text)
        self._paths = []
        for template, item in self.json["paths"].items():
            pattern = "".join("[^/]+" if part.startswith("{") else re.escape(part)
                              for part in re.split(r"(\{[^}]*\})", template))
            self._paths.append((template.count("{"), re.compile(pattern + "/?"), template, item))
        self._paths.sort(key=lambda path: path[0])  # /products/search before /products/{id}

    def operations(self):
        for template, item in self.json["paths"].items():
            for method, operation in item.items():
                yield f"{method.upper()} {template}", operation

    def operation(self, method, url):
        """What is documented for it, or None."""
        path = urlsplit(url).path
        method = "get" if method == "HEAD" else method.lower()
        for _, pattern, _, item in self._paths:
            if pattern.fullmatch(path) and method in item:
                return item[method]
        return None

    def about_body(self, operation, text):
        body = operation.get("requestBody")
        if body is None:
            return ["it takes no body"]
        if not text:
            return ["it has to have a body"] if body["required"] else []
        if "application/json" not in body["content"]:
            return []  # raw bytes, whatever they say
        return self.complaints(body["content"]["application/json"]["schema"], parse(text))

    def about_answer(self, method, url, status, headers, text):
        """What of an answer is not as documented. `headers` by lower-case name."""
        operation = self.operation(method, url)
        if operation is None:
            # Nobody documents what is not there; its answer has the form of an error all the same.
            response = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
            if status not in (404, 405) or (status == 405 and "allow" not in headers):
                return [f"{status} where nothing is documented"]
        elif str(status) not in operation["responses"]:
            return [f"{status} is not documented"]
        else:
            response = self.resolve(operation["responses"][str(status)])
        wrong = [f"the header {name} is missing" for name, header in response.get("headers", {}).items()
                 if self.resolve(header).get("required") and name.lower() not in headers]
        if "content" not in response:
            return wrong + (["it has a body"] if text else [])
        if headers.get("content-type") != "application/json":
            return wrong + [f"its content type is {headers.get('content-type')}"]
        if method == "HEAD":
            return wrong
        return wrong + self.complaints(response["content"]["application/json"]["schema"], parse(text))
