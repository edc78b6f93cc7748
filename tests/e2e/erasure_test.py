"""What is left of somebody whose account was deleted: nothing, wherever one looks.

A customer with words of their own in everything that a customer can type has orders that end in every way. The search for
these words goes through every table of every database, MongoDB, the memory of Redis and all logs; it has to find them before
the deletion, and none after it. Topics are not searched: they keep events for as long as docs/security.md says.
"""

import json
import re
import uuid
from decimal import Decimal
from pathlib import Path

import pymongo
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from case import Case
from harness import PASSWORD, Person, say, wait_for
from servers import psql
from settings import DATABASES, Settings

# A row of every table as text has each column of it, bytea in hex. The second statement is what the first one prints.
TABLES = """SELECT format('SELECT %L WHERE EXISTS (SELECT FROM %s AS row_ WHERE row_::text ~ %L);',
                          relname, oid::regclass, :'words')
            FROM pg_class WHERE relkind IN ('r', 'm', 'p') AND relnamespace::regnamespace::text NOT IN
                                ('pg_catalog', 'information_schema', 'pg_toast') ORDER BY relname \\gexec"""
ALL_DATABASES = "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'"


class Erasure(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.settings = Settings.read(cls.shop.env_file)

    def sql(self, database, text, words=()):
        pattern = "|".join([*words, *(word.encode().hex() for word in words)])
        done = psql(self.settings, database, self.settings.role_password(database), database,
                    ["-XqAt", "-v", "ON_ERROR_STOP=1", "-v", f"words={pattern}"], input=text,
                    capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    def in_mongodb(self):
        """All that the carts' database has, as it comes over the wire."""
        with pymongo.MongoClient(self.settings.mongodb_uri) as client:
            database = client.get_default_database()
            names = database.list_collection_names()
            assert "carts" in names, names
            return b"".join(document.raw for name in names
                            for document in database.get_collection(name, CodecOptions(RawBSONDocument)).find())

    def in_redis(self):
        """What its process has in its memory."""
        pid = self.shop.pid("redis")
        chunks = []
        try:
            memory = open(f"/proc/{pid}/mem", "rb", 0)  # pylint: disable=consider-using-with
        except PermissionError:
            say("the memory of Redis is left out: on this machine only root can read it")
            return b""
        with memory:
            for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
                area, mode, *_ = line.split()
                start, end = (int(place, 16) for place in area.split("-"))
                if mode.startswith("rw"):
                    try:
                        memory.seek(start)
                        chunks.append(memory.read(end - start))
                    except OSError:
                        pass  # nothing is behind it
        return b"".join(chunks)

    def logs(self):
        """Of our own processes and of their servers, but for the sink that stands for everybody's mail server."""
        return {name: text for name, text in self.shop.logs().items() if not name.startswith("mail.")}

    def find(self, words):
        """Where any of the words is: database.table, mongodb, redis, or the file of a log."""
        found = {f"{database}.{table}" for database in DATABASES for table in self.sql(database, TABLES, words)}
        for place, content in (("mongodb", self.in_mongodb()), ("redis", self.in_redis())):
            if any(word.encode() in content for word in words):
                found.add(place)
        return found | {name for name, text in self.logs().items() if any(word in text for word in words)}

    def wait_until_found(self, words, places=()):
        """Until the words are in these places and nowhere else."""
        def only_there():
            self.assertEqual(set(places), self.find(words))
            return True
        wait_for(f"{words[0]} to be in {sorted(places) or 'no place'}", only_there, 120)

    def test_no_database_is_left_out_of_the_search(self):
        self.assertEqual(set(DATABASES), set(self.sql("orders", ALL_DATABASES)))

    def test_the_search_reaches_into_mongodb_and_redis(self):
        word = "Searched" + uuid.uuid4().hex
        product = self.boss.make_product(word, Decimal("1.00"), 3)
        buyer = Person(self.shop)
        self.assertEqual(200, buyer.call("POST", "/cart/add", {"productId": product, "quantity": 2}).status)
        wait_for("the product to be in Redis", lambda: self.shop.call("GET", f"/products/{product}").data
                 and ("redis" in self.find([word]) or not self.in_redis()))
        self.assertIn(b"items\0", self.in_mongodb())

    def test_of_a_deleted_user_nothing_is_left(self):
        mark = "zq" + uuid.uuid4().hex[:8]
        typed = {what: f"{what}{mark}" for what in ("name", "email", "recipient", "street", "city", "token", "cancel",
                                                   "return", "refuse")}
        phone = "+49 30 " + str(uuid.uuid4().int)[:12]
        words = [*typed.values(), phone.removeprefix("+")]
        email = typed["email"] + "@example.com"
        person = {"name": typed["name"].title() + " " + typed["name"], "email": email, "password": PASSWORD}
        self.assertEqual(201, self.shop.call("POST", "/auth/register", person).status)
        # What goes wrong is what is logged.
        self.assertEqual(409, self.shop.call("POST", "/auth/register", person).status)
        self.assertEqual(401, self.shop.call("POST", "/auth/login", {"email": email, "password": "Wrong-1!"}).status)
        self.assertEqual(200, self.boss.call("GET", f"/users?q={typed['email']}").status)
        buyer = Person(self.shop, email_address=email)
        product = self.boss.make_product("Ordered by who leaves", Decimal("5.00"), 100)
        self.assertEqual(200, buyer.call("POST", "/cart/add", {"productId": product, "quantity": 1}).status)
        address = {"street": typed["street"], "city": typed["city"], "country": "DE", "recipient": typed["recipient"],
                   "phone": phone}

        def order(quantity=1, outcome="tok_approve"):
            answer = buyer.call("POST", "/orders", {
                "items": [{"productId": product, "quantity": quantity}], "shippingAddress": address,
                "paymentToken": f"{outcome}.{typed['token']}"}, {"Idempotency-Key": str(uuid.uuid4())})
            self.assertEqual(201, answer.status, answer)
            return answer.data["id"]

        def move(order_id, status):
            self.assertEqual(200, self.boss.call("PUT", f"/orders/{order_id}/status", {"status": status}).status)

        delivered, returned, confirmed, on_its_way, cancelled = (order() for _ in range(5))
        declined, rejected = order(outcome="tok_decline"), order(quantity=1000)
        for order_id in (delivered, returned, confirmed, on_its_way, cancelled):
            self.assertEqual("PROCESSING", buyer.wait_until_decided(order_id, 60))
        for order_id in (declined, rejected):
            self.assertEqual("CANCELLED", buyer.wait_until_decided(order_id, 60))
        self.shop.wait_until_consumed()
        for order_id in (delivered, returned, on_its_way):
            move(order_id, "SHIPPED")
        for order_id in (delivered, returned):
            move(order_id, "DELIVERED")
        line = {"items": [{"productId": product, "quantity": 1}], "reason": typed["return"]}
        for order_id in (delivered, returned):
            asked = buyer.call("POST", f"/orders/{order_id}/returns", line, {"Idempotency-Key": str(uuid.uuid4())})
            self.assertEqual(201, asked.status, asked)
        self.assertEqual(200, self.boss.call("POST", f"/orders/{returned}/returns/{asked.data['id']}/accept", {}).status)
        answer = buyer.call("POST", f"/orders/{cancelled}/cancel", {"reason": typed["cancel"]})
        self.assertEqual(200, answer.status, answer)
        self.shop.wait_until_consumed()
        # Of the tokens, which have all been used, nothing is left with anybody, also of who stays.
        self.wait_until_found([typed["token"]])
        self.shop.script("stop-program", "stock")
        pending = order()

        found = self.find(words)
        say(f"the search finds {sorted(found)}")
        for place in ("auth.accounts", "users.profiles", "orders.orders", "orders.outbox", "orders.order_timeline",
                      "orders.returns", "orders.idempotent_requests", "shipping.shipments", "notification.mail_jobs"):
            self.assertIn(place, found)
        self.assertIn("orders.outbox", self.find([typed["token"]]))
        self.assertFalse([place for place in found if ".log" in place])

        self.assertEqual(200, self.boss.call("DELETE", f"/users/{buyer.id}").status)
        status = self.boss.status
        wait_for("what can be cancelled to be so", lambda: (status(pending), status(confirmed)) ==
                 ("CANCELLED", "CANCELLED"), 120)
        self.shop.script("start-program", "stock")
        # The carrier needs it still; nobody else does, but for the shop that has to answer for the parcel.
        self.wait_until_found(words, ("orders.orders", "shipping.shipments"))
        self.assertEqual("SHIPPED", status(on_its_way))
        move(on_its_way, "DELIVERED")
        self.wait_until_found(words)

        kept = self.boss.call("GET", f"/orders/{delivered}").data
        self.assertEqual({"country": "DE"}, {name: value for name, value in kept["shippingAddress"].items() if value})
        self.assertEqual((Decimal("5.00"), 1), (kept["totalPrice"], len(kept["items"])))
        self.shop.wait_until_consumed()
        for topic in ("orders", "stock"):  # the others have none of it
            self.shop.script("republish", topic, "--apply")
        wait_for("the events to come again", lambda: len(self.shop.events("orders", delivered, "ORDER_CREATED")) > 1)
        self.shop.wait_until_consumed()
        self.assertEqual(set(), self.find(words))
        self.assertEqual("CANCELLED", status(pending))
        self.shop.check_consistency()

    def test_the_logs_tell_no_secret_and_no_address(self):
        buyer = Person(self.shop, "logged")
        answer = self.shop.call("POST", "/auth/login", {"email": buyer.email, "password": PASSWORD})
        secrets = [PASSWORD, answer.data["accessToken"], answer.data["refreshToken"], buyer.email,
                   self.shop.settings["SUPER_ADMIN_PASSWORD"], self.shop.settings["SUPER_ADMIN_EMAIL"]]
        self.shop.call("POST", "/auth/refresh", {"refreshToken": answer.data["refreshToken"] + "x"})
        self.shop.call("GET", "/auth/me", token=answer.data["accessToken"] + "x")
        for name, text in self.logs().items():
            with self.subTest(name):
                for secret in secrets:
                    self.assertNotIn(secret, text)
                # Anybody's, as whoever has used this stack was there before.
                for pattern in (r"eyJ[\w-]{20,}\.", r"[\w.-]+@example\.com", r"tok_[a-z]+", r"Bearer \S+"):
                    self.assertNotRegex(text, pattern)
        self.assertTrue(any(json.loads(line) for line in self.logs()["orders.log"].splitlines()[:1]))
