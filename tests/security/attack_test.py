"""Hostile input of every kind to every method of a running shop: nothing makes a 500, a crash or a lie.

The methods and their fields are read from /openapi.json, so a new one is attacked without a line here. What is said of single
attacks elsewhere (tokens, smuggling, bombs, slow clients, WebSockets of other origins) is in docs/security.md.
"""

import gzip
import http.client
import json
import re
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from urllib.parse import quote, urlencode

import grpc
from case import Case
from harness import PASSWORD, REPO, Person, say, wait_for
from settings import PROCESSES

sys.path.insert(0, str(REPO / "tests/api"))
from contract import Document  # pylint: disable=wrong-import-position

AT_ONCE = 4
NO_SUCH_ID = 2 ** 52

# Text that something behind a form could take for more than text.
TEXTS = (
    "' OR '1'='1", "'; DROP TABLE orders; --", "1; SELECT pg_sleep(30)", "\\'; --", "%", "_", "%' UNION SELECT password FROM users --",
    '{"$gt": ""}', "{$where: 'sleep(5000)'}", "$ne", "products:1\r\nFLUSHALL\r\n",
    "x\r\nX-Injected: yes", "x\nBcc: everybody@example.com", "victim@example.com\r\nBcc: everybody@example.com",
    '","level":"error","message":"forged', '\n{"level":"error","message":"forged"}', "\x1b[2J\x1b[31m",
    "<script>alert(1)</script>", "javascript:alert(1)", "{{7*7}}", "${jndi:ldap://127.0.0.1/x}", "$(touch /tmp/x)", "`id`", "%s%n%x",
    "../../../etc/passwd", "..%2f..%2fetc%2fpasswd", "file:///etc/passwd", "http://127.0.0.1:9101/metrics",
    "\x00", "a\x00b", "\u202egnp.exe", "\ufeff", "\u200b", "é" * 300, "😀" * 5000, "x" * 70_000, "", " ", "null", "NaN", "-0", "1e400",
    "9223372036854775808", "-9223372036854775809", "0x10", "１２", "true", "2026-02-30T00:00:00Z", "292277026597-01-01T00:00:00Z")
# Values that no field may take for its own, as they stand in JSON.
VALUES = (
    "null", "true", "[]", "{}", "[[[]]]", '{"$gt":""}', '{"$ne":null}', '[{"$where":"1"}]', "0", "-1", "-0", "1.5", "1e400", "-1e400",
    "9223372036854775808", "-9223372036854775809", "99999999999999999999999999999999", "1E-400", "0.00000000001", "1" * 5000,
    '"\\ud800"', '"\\u0000"', "NaN", "Infinity", "01", "+1", "'x'")
# Whole bodies.
BODIES = (
    b"", b" ", b"null", b"[]", b'"x"', b"1", b"{", b"}", b"{}{}", b"{\"a\"", b"{\"a\":}", b"[" * 100_000, b'{"a":' * 50_000,
    b"\xef\xbb\xbf{}", b"{\x00}", b'{"\xff":1}', "{\"name\":\"x\"}".encode("utf-16"), b'{"name":"\xed\xa0\x80"}',
    b'{"id":1,"id":2}', b'{"__proto__":{"admin":true},"constructor":{}}', b"[" + b"{}," * 100_000 + b"{}]",
    b'{"a":"' + b"\\u0000" * 100_000 + b'"}', b"9" * 500_000)
HEADERS = tuple((name, value) for name in (
    "Idempotency-Key", "If-Match", "If-None-Match", "X-Request-Id", "traceparent", "Request-Timeout", "Grpc-Timeout", "Authorization",
    "Last-Event-ID", "X-Forwarded-For", "Accept-Encoding", "Accept", "Content-Type", "Content-Encoding", "Origin", "Range", "Cookie",
    "X-HTTP-Method-Override", "x-service-token", "Provider-Signature") for value in (
    "' OR '1'='1", "\x80\xff", "%s%n", "x" * 7000, '"' * 50, "*", "-1", "1e400", "inf", "../../etc/passwd", "Bearer ", "Bearer a.b.c",
    "DELETE", '{"level":"error"}', "t=1,v1=00", "*;q=0, gzip;q=1e400", "W/\"1\", \"1\" " * 200))


def sample(document, schema, depth=0):
    """A value that a schema may well take."""
    schema = document.resolve(schema)
    for found in ("example", "const", "default"):
        if found in schema:
            return schema[found]
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "object":
        return {} if depth > 3 else {name: sample(document, part, depth + 1) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        return [sample(document, schema["items"], depth + 1)]
    if kind in ("integer", "number"):
        return max(1, schema.get("minimum", 1))
    if kind == "boolean":
        return True
    return {"email": "somebody@example.com", "uuid": "00000000-0000-4000-8000-000000000001", "uri": "https://example.com/x",
            "date-time": "2026-01-31T12:00:00Z"}.get(schema.get("format"), "text")


def places(value, path=()):
    """The paths of all values in a JSON value."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        yield (*path, name)
        yield from places(part, (*path, name))


HOLE = "\u2022hole\u2022"


def with_hole(value, path):
    """The value as JSON text with a hole at that path, as what goes there may be no JSON."""
    if not path:
        return HOLE
    copy = value.copy()
    copy[path[0]] = with_hole(value[path[0]], path[1:])
    return copy


class Attacker:
    """Somebody with all power, as what is refused to everybody reaches nothing; and things of theirs."""

    def __init__(self, case):
        self.shop = case.shop
        self.boss = case.boss
        self.person = None
        self.log_in()
        product = case.boss.make_product("Attacked", Decimal("12.50"), 1_000_000)
        order = self.person.order(product)
        someone = Person(self.shop, "someone").id
        self.ids = {"products": product, "items": product, "orders": order, "payments": order, "shipments": order,
                    "users": someone, "returns": NO_SUCH_ID}

    def log_in(self):
        """What was attacked may have been their own session; or their password or role, and then as somebody new."""
        if self.person:
            login = self.shop.call("POST", "/auth/login", {"email": self.person.email, "password": PASSWORD})
            if login.status == 200 and login.data["user"]["role"] == "SUPER_ADMIN":
                self.person.token = login.data["accessToken"]
                return
        person = Person(self.shop, "attacker")
        assert self.boss.call("PUT", f"/users/{person.id}/role", {"role": "SUPER_ADMIN"}).status == 200
        person.token = wait_for("a token that is good", lambda: self.shop.call(
            "POST", "/auth/login", {"email": person.email, "password": PASSWORD}).data["accessToken"])
        self.person = person

    def path(self, template, hole=None, text=""):
        """The path with things of theirs in it, and with `text` for the variable that is called `hole`."""
        parts = template.split("/")
        for i, part in enumerate(parts):
            if part.startswith("{"):
                parts[i] = text if part == hole else str(self.ids.get(parts[i - 1], NO_SUCH_ID))
        return "/".join(parts)


class Hostile(Case):
    """Attacks, some at once, by one attacker; none of them may end a process."""

    def setUp(self):
        super().setUp()
        self.attacker = Attacker(self)
        self.wrong = []  # what must not have happened
        self.seen = {}   # status or code -> how often
        self.pids = self.shop.pids()

    def attack(self, attacks):
        attacks = list(attacks)
        say(f"{len(attacks)} attacks")
        parts = [attacks[i::AT_ONCE] for i in range(AT_ONCE)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self.attack_in_turn, parts))
        self.assertEqual([], self.wrong[:20])
        self.assertEqual(self.pids, self.shop.pids(), "a process has died")

    def attack_in_turn(self, attacks):
        raise NotImplementedError


class Attacks(Hostile):
    """Each is a (method, target, body, headers)."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.document = Document(cls.shop.fetch("/openapi.json").text)
        cls.operations = [(method.upper(), template, operation) for template, item in cls.document.json["paths"].items()
                          for method, operation in item.items()]

    def attack_in_turn(self, attacks):
        connection = None
        for method, target, body, headers in attacks:
            signed_in = "Authorization" not in headers
            headers = {"Authorization": f"Bearer {self.attacker.person.token}", "Content-Type": "application/json", **headers}
            connection = connection or http.client.HTTPConnection("127.0.0.1", self.shop.port("gateway"), timeout=20)
            what = f"{method} {target[:200]} {(body or b'')[:200]!r} {str(headers)[-200:]}"
            try:
                connection.request(method, target, body, {name: value.encode("latin-1") for name, value in headers.items()})
                answer = connection.getresponse()
                streams = answer.getheader("Content-Type", "").startswith("text/event-stream")
                text = b"" if streams else answer.read()
                if answer.getheader("Content-Encoding") == "gzip":
                    text = gzip.decompress(text)
            except (OSError, http.client.HTTPException) as error:
                # A gateway that refuses a body need not read it, and a client that still writes may see no more than that.
                if not isinstance(error, (BrokenPipeError, ConnectionResetError)) or len(body or b"") < 65536:
                    self.wrong.append(f"{what}: {error!r}")
                connection = None
                continue
            self.judge(what, answer, text, streams)
            if streams or answer.getheader("Connection") == "close":
                connection.close()
                connection = None
            if answer.status == 401 and signed_in:
                self.attacker.log_in()

    def judge(self, what, answer, text, streams):
        self.seen[answer.status] = self.seen.get(answer.status, 0) + 1
        if answer.status >= 500:
            self.wrong.append(f"{what}: {answer.status} {text[:300]!r}")
        if answer.getheader("X-Injected") or answer.getheader("Set-Cookie"):
            self.wrong.append(f"{what}: a header was injected")
        if streams or not text:
            return
        try:
            said = json.loads(text)
        except ValueError:
            self.wrong.append(f"{what}: no JSON: {text[:300]!r}")
            return
        if answer.status >= 400 and not (said["success"] is False and said["error"]["code"] and said["error"]["message"]):
            self.wrong.append(f"{what}: no error envelope: {text[:300]!r}")

    def bodies(self, operation):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None:
            return None
        whole = sample(self.document, content["schema"])
        return {**whole, **content["example"]} if isinstance(content.get("example"), dict) else whole

    def test_every_field_of_a_body_with_every_text_and_value(self):
        def all_of_them():
            for method, template, operation in self.operations:
                body = self.bodies(operation)
                for path in places(body or {}):
                    frame = json.dumps(with_hole(body, path), default=float)
                    for value in (*map(json.dumps, TEXTS), *VALUES):
                        filled = frame.replace(json.dumps(HOLE), value)
                        yield method, self.attacker.path(template), filled.encode(), {}
        self.attack(all_of_them())
        self.assertGreater(self.seen[400], 1000)
        self.assertTrue({200, 201} & set(self.seen), "nothing got as far as a handler")

    def test_every_part_of_a_path_and_every_parameter_with_every_text(self):
        def all_of_them():
            for method, template, operation in self.operations:
                for hole in re.findall(r"\{\w+\}", template):
                    for text in TEXTS:
                        if text not in ("true", "１２"):
                            yield method, self.attacker.path(template, hole, quote(text[:3000], safe="")), b"{}", {}
                parameters = [self.document.resolve(part) for part in operation.get("parameters", ())]
                for name in [part["name"] for part in parameters if part["in"] == "query"] + ["unknown", "a[]", "%00", "limit", "limit"]:
                    for text in TEXTS:
                        yield method, self.attacker.path(template) + "?" + urlencode({name: text[:3000]}), None, {}
        self.attack(attack for attack in all_of_them() if not attack[1].startswith("/api/v1/users/me") and attack[0] != "DELETE")

    def test_every_method_with_every_body_that_is_none(self):
        self.attack((method, self.attacker.path(template), body, {}) for method, template, _ in self.operations
                    for body in BODIES if method in ("POST", "PUT", "PATCH"))

    def test_every_method_with_every_header(self):
        self.attack((method, self.attacker.path(template), b"{}" if method in ("POST", "PUT") else None, {name: value})
                    for method, template, _ in self.operations for name, value in HEADERS if method != "DELETE")


def varint(number):
    encoded = b""
    while number > 127:
        encoded += bytes((number & 127 | 128,))
        number >>= 7
    return encoded + bytes((number,))


def delimited(number, data):
    """A field of text, bytes or a message."""
    return varint(number << 3 | 2) + varint(len(data)) + data


# Whole messages: random ones, cut ones, lengths and numbers of fields that are none, groups and messages in each other.
MESSAGES = (
    b"\xff" * 20, b"\x00" * 20, b"\x08", b"\x0a", b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x0b" * 10_000,
    b"\x0c", b"\x0d\x01", b"\x09\x01", b"\x0f\x01", b"\x80" * 11, delimited(536_870_911, b"x"), b"\xf8\xff\xff\xff\xff\x0f\x01",
    b"\x0a\x02\xc3\x28", b"\x0a\x03\xed\xa0\x80", delimited(1, b"x" * 900_000), delimited(1, b"x" * 5_000_000), b"\x0a\x00" * 400_000)
NUMBERS = (0, 2 ** 31, 2 ** 32, NO_SUCH_ID, 2 ** 63 - 1, 2 ** 63, 2 ** 64 - 1)


class AttacksOnServices(Hostile):
    """The same past the gateway: bytes as messages, for every rpc of every service."""

    # UNKNOWN and INTERNAL are faults; DATA_LOSS is none of ours.
    FAULTS = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.DATA_LOSS)

    def setUp(self):
        super().setUp()
        self.methods = re.findall(r"^\| `(shop\.(\w+)[\w./]+)` \|", (REPO / "docs/access.md").read_text(), re.M)
        self.channels = {service: grpc.insecure_channel(f"127.0.0.1:{self.shop.port(service)}") for _, service in self.methods}
        self.addCleanup(lambda: [channel.close() for channel in self.channels.values()])

    def call(self, method, service, message, metadata=()):
        """What became of a call; of a stream, of its first message."""
        metadata = metadata or (("authorization", f"Bearer {self.attacker.person.token}"),)
        streams = method.endswith(("/WatchOrder", "/Subscribe"))
        kind = self.channels[service].unary_stream if streams else self.channels[service].unary_unary
        try:
            answer = kind("/" + method)(message, timeout=10, metadata=metadata)
            if streams:
                next(iter(answer), None)
                answer.cancel()
            code = grpc.StatusCode.OK
        except grpc.RpcError as error:
            code = error.code()
            if code in self.FAULTS:
                self.wrong.append(f"{method} {message[:100]!r} {metadata[0][0]}: {code} {error.details()}")
        self.seen[code] = self.seen.get(code, 0) + 1
        if code == grpc.StatusCode.UNAUTHENTICATED and metadata[0][0] == "authorization":
            self.attacker.log_in()

    def attack_in_turn(self, attacks):
        for attack in attacks:
            self.call(*attack)

    def test_every_method_with_messages_that_are_none(self):
        self.attack((method, service, message) for method, service in self.methods for message in MESSAGES)
        self.assertTrue({grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED} <= set(self.seen), self.seen)

    def test_every_field_with_every_text_and_number(self):
        texts = [text.encode("utf-8", "surrogatepass") for text in TEXTS]
        self.attack((method, service, message) for method, service in self.methods for number in range(1, 7)
                    for message in (*(delimited(number, text) for text in texts),
                                    *(varint(number << 3) + varint(value) for value in NUMBERS)))

    def test_metadata_that_is_none(self):
        self.attack((method, service, b"", ((name, value),)) for method, service in self.methods
                    for name in ("authorization", "x-service-token", "traceparent", "x-request-id")
                    for value in ("", "Bearer ", "Bearer a.b.c", "x" * 7000, "' OR '1'='1", '{"level":"error"}', "%s%n"))


class Injections(Case):
    """What is text stays that text."""

    def test_comes_back_as_it_was_written(self):
        kept = 0
        for text in TEXTS:
            made = self.boss.call("POST", "/products", {"name": f"Attacked {text}"[:100], "description": text[:1000],
                                                        "price": Decimal("1.00"), "stock": 1})
            if made.status == 400:
                continue
            kept += 1
            shown = self.shop.call("GET", f"/products/{made.data['id']}").data
            self.assertEqual(f"Attacked {text}"[:100].strip(), shown["name"].strip())
            self.assertEqual(text[:1000].strip(), shown.get("description", "").strip())
        self.assertGreater(kept, 10)

    def test_a_search_takes_no_signs_for_patterns(self):
        self.boss.make_product("Plainly named thing", Decimal("1.00"), 1)
        wanted = self.boss.make_product("Exactly 100%_sure thing", Decimal("1.00"), 1)
        for words in ("100%_sure", "%_sure thing", "100%"):
            found = self.shop.call("GET", "/products/search?" + urlencode({"q": words, "limit": 100})).data["items"]
            self.assertNotIn("Plainly named thing", [item["name"] for item in found], words)
            self.assertIn(wanted, [item["id"] for item in found], words)
        for words in ("%", "_", "%%%"):
            self.assertEqual(400, self.shop.call("GET", "/products/search?" + urlencode({"q": words})).status, words)

    def test_no_address_and_no_name_brings_a_header_into_a_mail(self):
        for field in ("email", "name"):
            for text in TEXTS:
                body = {"name": "Somebody", "email": f"mail.{abs(hash(text))}@example.com", "password": PASSWORD}
                body[field] = text if field == "name" else text + "@example.com"
                answer = self.shop.call("POST", "/auth/register", body)
                if "\r" in text or "\n" in text:
                    self.assertEqual(400, answer.status, (field, text))
                self.assertLess(answer.status, 500, (field, text))
        self.assertEqual([], [mail["Message-ID"] for mail in self.shop.mails("everybody@example.com", None)])


class MassAssignment(Case):
    """Fields that only the server sets are refused or have no effect."""

    def setUp(self):
        super().setUp()
        self.customer = Person(self.shop)

    def test_of_an_account(self):
        body = {"name": "Me", "email": f"mass.{time.time_ns()}@example.com", "password": PASSWORD}
        for extra in ({"id": 1}, {"emailConfirmed": True}, {"email_confirmed": True}, {"isAdmin": True}, {"roles": ["ADMIN"]},
                      {"createdAt": "2000-01-01T00:00:00Z"}, {"version": 7}, {"role": "SUPER_ADMIN"}, {"role": 4}):
            with self.subTest(extra):
                made = self.shop.call("POST", "/auth/register", {**body, "email": f"{time.time_ns()}{body['email']}", **extra})
                if made.status < 300:
                    shown = self.boss.call("GET", f"/users/{made.data['id']}").data
                    self.assertNotEqual(1, shown["id"])
                    self.assertEqual("USER", shown["role"])
                    self.assertFalse(shown.get("emailConfirmed", False))

    def test_of_a_profile(self):
        path = f"/users/{self.customer.id}"
        before = self.boss.call("GET", path).data
        for extra in ({"role": "SUPER_ADMIN"}, {"id": 1}, {"emailConfirmed": True}, {"deleted": True}, {"createdAt": "2000-01-01T00:00:00Z"}):
            with self.subTest(extra):
                self.customer.call("PUT", path, {"name": before["name"], **extra})
                after = self.boss.call("GET", path).data
                for name in ("id", "role", "emailConfirmed", "createdAt", "email"):
                    self.assertEqual(before.get(name), after.get(name), name)
        self.assertEqual(403, self.customer.call("PUT", path + "/role", {"role": "SUPER_ADMIN"}).status)

    def test_of_a_product(self):
        made = self.boss.call("POST", "/products", {"name": "Mass", "price": Decimal("5.00"), "stock": 1, "id": 1, "version": 99,
                                                    "stockVersion": 99, "createdAt": "2000-01-01T00:00:00Z", "sellerId": 1})
        if made.status < 300:
            self.assertEqual((1, 1), (made.data["version"], made.data["stockVersion"]))
            self.assertNotEqual(1, made.data["id"])
            self.assertNotEqual("2000", made.data["createdAt"][:4])

    def test_of_an_order(self):
        product = self.boss.make_product("Dear", Decimal("500.00"), 100)
        line = {"productId": product, "quantity": 1}
        for order in ({"items": [{**line, "price": Decimal("0.01"), "subtotal": Decimal("0.01")}]},
                      {"items": [line], "totalPrice": Decimal("0.01")}, {"items": [line], "userId": 1}, {"items": [line], "status": "DELIVERED"},
                      {"items": [line], "paid": True, "currency": "ZWD"}, {"items": [{**line, "sellerId": 1}]}):
            with self.subTest(order):
                made = self.customer.call("POST", "/orders", order)
                if made.status < 300:
                    self.assertEqual((Decimal("500.00"), self.customer.id, "PENDING"),
                                     (made.data["totalPrice"], made.data["userId"], made.data["status"]))


class Secrets(Case):
    """Whether an address has an account is not to be told by how long an answer takes."""

    def median_ratio(self, path, known, unknown, body):
        """How much longer it takes for addresses that are known, in the middle, each asked in turn."""
        taken = {True: [], False: []}
        for pair in zip(known, unknown):
            for is_known, address in zip((True, False), pair):
                begin = time.monotonic()
                self.shop.call("POST", path, {"email": address, **body})
                taken[is_known].append(time.monotonic() - begin)
        return statistics.median(taken[True]) / statistics.median(taken[False])

    def test_take_as_long_for_an_address_that_nobody_has(self):
        self.assertGreaterEqual(int(self.shop.settings["BCRYPT_COST"]), 10, "the work has to show: run.py --set BCRYPT_COST=10")
        for path, body in (("/auth/login", {"password": "Wrong-Pass-1!"}), ("/auth/password/forgot", {})):
            ratios = []
            # What else the machine does disturbs a measurement, but not each of them in the same direction.
            for attempt in range(6):
                known = [Person(self.shop, f"timed{attempt}").email for _ in range(8)]
                unknown = [f"nobody.{time.time_ns()}.{i}@example.com" for i in range(8)]
                ratios.append(self.median_ratio(path, known, unknown, body))
                if 0.7 < ratios[-1] < 1.4:
                    break
            else:
                self.fail(f"{path}: known addresses take {ratios} as long")


class TheLogsAfterwards(Case):
    """Last in the order of names."""

    def test_have_one_object_a_line_and_say_nothing_that_was_forged(self):
        self.shop.logs()  # not before the last lines are there
        for process in PROCESSES:
            log = self.shop.log(process)
            lines = [line for path in log.parent.glob(log.name + "*") for line in path.read_bytes().split(b"\n")[:-1]]
            for line in lines:
                try:
                    said = json.loads(line.decode())
                except ValueError:
                    self.fail(f"{process}: {line[:2000]!r}")
                self.assertEqual(process, said["process"])
                self.assertNotEqual("forged", said["message"], line[:500])
                self.assertLess(len(line), 8192)
