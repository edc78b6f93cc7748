"""Who gets into the servers behind the services, and to what they write."""

import json
import os
import socket
import stat
import subprocess
import uuid
from decimal import Decimal

import pymongo
import topics
from case import Case
from harness import Person, wait_for
from processes import Folder
from servers import make_databases, postgres_bin, postgres_superuser, psql
from settings import DATABASES, GROUPS, KAFKA_PASSWORDS, READERS, REDIS_USERS, REPO, ROLE_PASSWORDS, ROLES, TOPICS, Settings, mongodb_uri


class Servers(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.settings = Settings.read(cls.shop.env_file)

    def redis(self, *commands, user=None):
        """What Redis replies to each command, a line each."""
        login = [f"AUTH {user} {self.settings[user.upper() + '_REDIS_PASSWORD']}"] if user else []
        with socket.create_connection(self.settings.address("REDIS_URL"), timeout=10) as connection:
            replies = connection.makefile("rb")
            answered = []
            for command in (*login, *commands):
                connection.sendall(command.encode() + b"\r\n")
                answered.append(replies.readline().decode().strip())
        return answered[len(login):]

    def test_a_roles_password_opens_what_is_for_it_and_no_other_database(self):
        for role in ROLES:
            for database in DATABASES:
                with self.subTest(role=role, database=database):
                    done = psql(self.settings, role, self.settings.role_password(role), database, ["-Xqc", "SELECT 1"],
                                capture_output=True, text=True)
                    is_for_it = role == database or database in READERS.get(role, ())
                    self.assertEqual(is_for_it, done.returncode == 0, done.stderr)

    def ask(self, role, database, statement):
        return psql(self.settings, role, self.settings.role_password(role), database, ["-Xqtc", statement],
                    capture_output=True, text=True)

    def check_readers(self):
        """Who reads others' databases reads their tables, changes nothing, and sees no passwords."""
        for role, databases in READERS.items():
            for database in databases:
                with self.subTest(role=role, database=database):
                    for refused in ("SELECT rolpassword FROM pg_authid", "SET TRANSACTION READ WRITE; DELETE FROM schema_migrations"):
                        self.assertIn("permission denied", self.ask(role, database, refused).stderr, refused)
                    self.assertEqual("", self.ask(role, database, "SELECT count(*) FROM schema_migrations").stderr)
                    # One that a later migration makes.
                    self.assertEqual("", self.ask(database, database, "CREATE TABLE of_later (id int)").stderr)
                    said = self.ask(role, database, "SELECT count(*) FROM of_later").stderr
                    self.ask(database, database, "DROP TABLE of_later")
                    self.assertEqual("", said)

    def test_who_reads_others_databases_reads_their_tables_and_no_passwords(self):
        self.check_readers()

    def test_who_could_read_everything_once_cannot_any_more(self):
        folder = Folder(self.shop.folder)
        user, password = postgres_superuser(folder, self.settings, for_tests=False)
        # As the job `databases` of containers and of the chart does it.
        job = {name: value for name, value in self.settings.items() if name in ROLE_PASSWORDS.values()} | {
            "PGHOST": self.settings["POSTGRES_HOST"], "PGPORT": self.settings["POSTGRES_PORT"], "PGUSER": user, "PGPASSWORD": password,
            "PATH": f"{os.path.dirname(postgres_bin('psql'))}:{os.environ['PATH']}"} | {
            f"{role.upper()}_READS": ",".join(databases) for role, databases in READERS.items()}
        for by, run in (("make up", lambda: make_databases(folder, self.settings)),
                        ("the job", lambda: subprocess.run(["sh", REPO / "deploy/docker/databases.sh"], env=job, check=True, capture_output=True))):
            with self.subTest(by):
                for role, databases in READERS.items():
                    psql(self.settings, user, password, "postgres", ["-Xqc", f"GRANT pg_read_all_data TO {role}"])
                    for database in databases:
                        psql(self.settings, user, password, database, [
                            "-Xqc", f"REVOKE SELECT ON ALL TABLES IN SCHEMA public FROM {role};"
                            f"ALTER DEFAULT PRIVILEGES FOR ROLE {database} IN SCHEMA public REVOKE SELECT ON TABLES FROM {role}"])
                run()
                self.check_readers()

    def test_redis_lets_its_users_do_their_work_and_others_nothing(self):
        read, forged = "GET products:0", "PUBLISH products:changed 0"
        self.assertEqual(["+PONG"], self.redis("PING"))
        for reply in self.redis(read, forged, "FLUSHALL", "CONFIG GET *"):
            self.assertTrue(reply.startswith("-NOPERM"), reply)
        for reply in self.redis(read, forged, "SUBSCRIBE other", user="gateway"):
            self.assertTrue(reply.startswith("-NOPERM"), reply)
        for reply in self.redis("GET other", "PUBLISH other 1", "FLUSHALL", user="products"):
            self.assertTrue(reply.startswith("-NOPERM"), reply)
        self.assertNotIn("-", [reply[:1] for reply in self.redis(read, forged, user="products")])

    def test_mongodb_lets_in_nobody_but_cart(self):
        def names(uri):
            with pymongo.MongoClient(uri, serverSelectionTimeoutMS=5000) as client:
                return client.get_default_database().list_collection_names()
        server = self.settings["MONGODB_URI"]
        for uri in (server, mongodb_uri(server, "wrong"), mongodb_uri(server, "").replace("cart:@", "root:root@")):
            with self.subTest(uri), self.assertRaises(pymongo.errors.OperationFailure) as refused:
                names(uri)
            self.assertIn(refused.exception.code, (13, 18))  # Unauthorized, AuthenticationFailed
        Person(self.shop).call("GET", "/cart")
        self.assertIsInstance(names(self.settings.mongodb_uri), list)

    def test_products_are_read_from_redis(self):
        product = self.boss.make_product("Cached", Decimal("1.00"), 1)
        before = self.shop.metric("products", "cache_requests_total", 'outcome="hit"')

        def is_read():
            self.shop.call("GET", f"/products/{product}")  # which the gateway itself remembers for a second
            return self.shop.metric("products", "cache_requests_total", 'outcome="hit"') > before
        wait_for("a product to come from Redis", is_read, 30)

    def test_each_process_knows_its_own_passwords_alone(self):
        passwords = {name: value for name, value in self.settings.items() if name.endswith("_PASSWORD") and value}
        for process in {*ROLES, *REDIS_USERS, *KAFKA_PASSWORDS} - {"admin", "broker"}:
            script = (self.shop.folder / "run/start" / process).read_text()
            own = {f"{process.upper()}_{server}_PASSWORD" for server in ("POSTGRES", "REDIS", "KAFKA")}
            own |= {"auth": {"SUPER_ADMIN_PASSWORD"}, "cart": {"MONGO_CART_PASSWORD"}}.get(process, set())
            self.assertEqual(set(), {name for name, value in passwords.items() if value in script} - own, process)

    def test_what_they_write_is_closed_to_others(self):
        open_to_others = []
        for part in ("data", "run"):
            top = self.shop.folder / part
            self.assertFalse(top.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH), top)
            if top.stat().st_mode & stat.S_IXOTH:
                open_to_others += [path for path in top.iterdir()
                                   if path.stat().st_mode & (stat.S_IRWXO | stat.S_IRWXG)]
        self.assertEqual([], open_to_others)


class Kafka(Case):
    """Who logs in as what, and what that lets them do."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.settings = Settings.read(cls.shop.env_file)
        cls.nobody = {"KAFKA_BOOTSTRAP_SERVERS": cls.settings["KAFKA_BOOTSTRAP_SERVERS"]}

    def refusal(self, kafka, topic, value="{}"):
        """Why Kafka does not take an event from somebody; None where it does."""
        told = []
        producer = topics.client(topics.Producer, kafka)
        producer.produce(topic, value, "1", on_delivery=lambda error, _: told.append(error and error.name()))
        self.assertEqual(0, producer.flush(30), "Kafka does not answer")
        return told[0]

    def reading(self, kafka, group):
        """What comes of reading the users as that group: an event, or the name of an error."""
        reader = topics.consumer(kafka, group, auto_offset_reset="earliest")
        try:
            reader.subscribe(["users"])
            record = reader.poll(30)
        except topics.KafkaException as error:
            return error.args[0].name()
        finally:
            reader.close()
        self.assertIsNotNone(record, "neither an event nor a refusal")
        return record.error().name() if record.error() else "event"

    def test_a_topic_is_written_by_the_service_that_publishes_it_and_by_no_other(self):
        for user in sorted(KAFKA_PASSWORDS.keys() - {"admin", "broker"}):
            for topic, facts in TOPICS.items():
                if facts.publisher != user:
                    with self.subTest(user=user, topic=topic):
                        self.assertEqual("TOPIC_AUTHORIZATION_FAILED", self.refusal(self.settings.kafka_login(user), topic))

    def test_a_forged_deletion_is_refused_and_nobody_is_deleted(self):
        person = Person(self.shop)
        deletion = json.dumps({"userId": str(person.id)})
        wait_for("what users has to publish to be published", lambda: self.shop.events("users", key=str(person.id)))
        published = sorted((event.partition, event.offset) for event in self.shop.events("users"))
        for forger in (self.nobody, self.settings.kafka_login("orders")):
            self.assertEqual("TOPIC_AUTHORIZATION_FAILED", self.refusal(forger, "users", deletion))
        self.assertEqual(published, sorted((event.partition, event.offset) for event in self.shop.events("users")))
        self.assertEqual(200, person.call("GET", f"/users/{person.id}").status)

    def test_a_wrong_password_is_no_login(self):
        stranger = self.settings.kafka_login("orders") | {"KAFKA_SASL_PASSWORD": "wrong"}
        self.assertFalse(topics.answers(stranger))
        self.assertTrue(topics.answers(self.settings.kafka_login("orders")))

    def test_without_a_login_events_are_read_but_not_as_a_group_of_the_platform(self):
        self.assertEqual("event", self.reading(self.nobody, f"reader-{uuid.uuid4()}"))
        for group in GROUPS:
            self.assertEqual("GROUP_AUTHORIZATION_FAILED", self.reading(self.nobody, group), group)

    def test_a_service_does_not_consume_as_a_group_of_another(self):
        self.assertEqual("GROUP_AUTHORIZATION_FAILED", self.reading(self.settings.kafka_login("stock"), "orders"))

    def test_without_a_login_nothing_is_read_once_that_is_not_wanted_any_more(self):
        self.addCleanup(self.set_up, "true")
        self.set_up("")
        self.assertEqual("TOPIC_AUTHORIZATION_FAILED", self.refusal(self.nobody, "users"))
        self.assertIn("AUTHORIZATION_FAILED", self.reading(self.nobody, f"reader-{uuid.uuid4()}"))

    def set_up(self, anonymous_read):
        """As make up does it."""
        subprocess.run([self.shop.binaries / "topics", REPO / "deploy"], check=True, capture_output=True,
                       env=os.environ | self.settings.kafka_login("admin") | {"KAFKA_ANONYMOUS_READ": anonymous_read})
