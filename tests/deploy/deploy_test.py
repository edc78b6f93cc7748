#!/usr/bin/python3
"""What the stacks' scripts and settings promise, as far as it can be seen without starting one."""

import configparser
import contextlib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import xmlrpc.client
from pathlib import Path
from unittest import mock

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "deploy/local"))

import backup  # pylint: disable=wrong-import-position
import certificates  # pylint: disable=wrong-import-position
import containers  # pylint: disable=wrong-import-position
import commands  # pylint: disable=wrong-import-position
import seed  # pylint: disable=wrong-import-position
import topics  # pylint: disable=wrong-import-position
from processes import Folder, Program  # pylint: disable=wrong-import-position
from settings import AS_FILES, DATABASES, GROUPS, KAFKA_PASSWORDS, PROCESSES, READERS, ROLES, SERVICES, TOPICS  # pylint: disable=wrong-import-position
from settings import REDIS_PASSWORDS, REDIS_USERS, ROLE_PASSWORDS  # pylint: disable=wrong-import-position
from settings import Settings, StackError, free_ports, init_env, parse, public_key, remove_old_secrets  # pylint: disable=wrong-import-position
from supervision import Supervisor  # pylint: disable=wrong-import-position


class FreePorts(unittest.TestCase):
    """Tests start several stacks at once, each with some forty ports that it listens on a while later."""

    def setUp(self):
        self.temporary = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.enterContext(mock.patch.dict(os.environ, TMPDIR=str(self.temporary)))
        self.enterContext(mock.patch("tempfile.tempdir", None))
        self.folder = self.temporary / f"shop-ports-{os.getuid()}"

    def test_are_given_once(self):
        given = free_ports(6000) + free_ports(6000)
        self.assertEqual(12000, len(set(given)))

    def test_are_given_again_when_nobody_can_still_be_about_to_use_them(self):
        given = set(free_ports(12_000))
        with mock.patch("time.time", return_value=time.time() + 601):
            self.assertTrue(given & set(free_ports(12_000)))

    def test_leave_out_what_somebody_listens_on(self):
        with socket.socket() as taken:
            port = free_ports(1)[0]
            taken.bind(("127.0.0.1", port))
            with mock.patch("time.time", return_value=time.time() + 601):
                self.assertNotIn(port, free_ports(18_000))

    def test_are_not_enough(self):
        with self.assertRaisesRegex(StackError, "free ports"):
            free_ports(30_000)

    def refused(self, path):
        with self.assertRaisesRegex(StackError, re.escape(str(path))):
            free_ports(1)

    def test_are_not_noted_in_a_folder_that_others_may_write_or_read(self):
        for mode in (0o777, 0o720, 0o704):
            self.folder.mkdir(exist_ok=True)
            self.folder.chmod(mode)
            self.refused(self.folder)
            self.assertEqual([], list(self.folder.iterdir()))
        self.folder.chmod(0o700)
        free_ports(1)
        self.assertEqual(0o600, (self.folder / "lock").stat().st_mode & 0o777)

    def test_are_not_noted_in_a_folder_of_somebody_else(self):
        with mock.patch("os.getuid", return_value=os.getuid() + 1):
            folder = self.temporary / f"shop-ports-{os.getuid()}"
            folder.mkdir(mode=0o700)
            self.refused(folder)
        self.assertEqual([], list(folder.iterdir()))

    def test_are_not_noted_where_a_link_leads(self):
        for there in (True, False):
            with self.subTest(there=there):
                target = self.temporary / f"target-{there}"
                if there:
                    target.mkdir(mode=0o700)
                self.folder.symlink_to(target)
                self.refused(self.folder)
                self.assertEqual([], list(target.glob("*")))
                self.folder.unlink()
        self.folder.touch(mode=0o600)
        self.refused(self.folder)

    def test_have_a_lock_that_is_no_link_and_loses_nothing(self):
        target = self.temporary / "target"
        target.write_text("somebody's")
        self.folder.mkdir(mode=0o700)
        lock = self.folder / "lock"
        lock.symlink_to(target)
        self.refused(lock)
        self.assertEqual("somebody's", target.read_text())
        lock.unlink()
        lock.write_text("stays")
        free_ports(1)
        self.assertEqual("stays", lock.read_text())


class InFolder(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = Path(holder.name)


class Secrets(InFolder):
    """The files that containers read, made from .env."""

    def setUp(self):
        super().setUp()
        self.addCleanup(os.umask, os.umask(0o077))
        self.env = self.folder / "env"
        self.env.write_text((REPO / ".env.example").read_text()
                            .replace("SECRETS_DIR=\n", f"SECRETS_DIR={self.folder}/secrets/none\n"))

    def make(self):
        init_env(REPO / ".env.example", self.env)
        settings = Settings.read(self.env)
        return settings, Path(settings["SECRETS_DIR"])

    def change(self, name, value):
        self.env.write_text(re.sub(f"(?m)^{name}=.*", f"{name}={value}", self.env.read_text()))

    def test_say_what_env_says(self):
        settings, folder = self.make()
        for name in AS_FILES:
            self.assertEqual(settings[name], (folder / name.lower()).read_text(), name)

    def test_hold_the_passwords_of_redis_as_they_are(self):
        self.env.write_text(self.env.read_text().replace("PRODUCTS_REDIS_PASSWORD=\n", "PRODUCTS_REDIS_PASSWORD=a/b@c%d\n"))
        settings, folder = self.make()
        self.assertEqual("redis://products:a/b@c%d@redis:6379", (folder / "products_redis_url").read_text())
        self.assertEqual("redis://products:a/b@c%d@127.0.0.1:16379", settings.environment_of("products")["REDIS_URL"])

    def test_hold_a_login_of_its_own_for_kafka_for_each_process(self):
        settings, folder = self.make()
        logins = {user: settings[name] for user, name in KAFKA_PASSWORDS.items()}
        self.assertEqual(len(logins), len(set(logins.values())))
        self.assertEqual({"admin", "broker", *PROCESSES} - {"provider"}, set(logins))
        users = (folder / "kafka_users").read_text()
        for user, password in logins.items():
            self.assertIn(f'user_{user}="{password}"', users)
        for process in set(PROCESSES) - {"provider"}:
            environment = settings.environment_of(process)
            self.assertEqual((process, logins[process]),
                             (environment["KAFKA_SASL_USERNAME"], environment["KAFKA_SASL_PASSWORD"]))
            self.assertEqual([], [name for name in environment if name.endswith("_KAFKA_PASSWORD")])
        self.assertNotIn("KAFKA_SASL_PASSWORD", settings.environment_of("provider"))

    def test_can_be_read_by_the_users_of_containers_and_by_nobody_else_here(self):
        _, folder = self.make()
        for file in folder.iterdir():
            self.assertEqual(0o644, file.stat().st_mode & 0o777, file)
        self.assertEqual(0o700, folder.parent.stat().st_mode & 0o777)
        self.assertEqual(0o600, self.env.stat().st_mode & 0o777)

    def test_lie_in_another_folder_once_one_has_changed_so_that_compose_sees_it(self):
        _, before = self.make()
        self.assertEqual(before, self.make()[1], "and in the same one as long as none has")
        self.change("KEY_ENCRYPTION_KEY", "f" * 64)
        settings, after = self.make()
        self.assertNotEqual(before, after)
        self.assertEqual("f" * 64, (after / "key_encryption_key").read_text())
        remove_old_secrets(settings)
        self.assertEqual([after], list(after.parent.iterdir()))

    def test_hold_a_password_for_the_super_admin_that_nobody_else_has(self):
        settings, folder = self.make()
        made = settings["SUPER_ADMIN_PASSWORD"]
        self.assertGreaterEqual(len(made), 20)
        self.assertEqual(made, (folder / "super_admin_password").read_text())
        self.assertIn(made, commands.next_steps(settings, "kafka"))
        self.assertEqual(made, self.make()[0]["SUPER_ADMIN_PASSWORD"], "it stays")
        self.change("SUPER_ADMIN_PASSWORD", "")
        self.assertNotIn(self.make()[0]["SUPER_ADMIN_PASSWORD"], ("", made))
        self.change("SUPER_ADMIN_PASSWORD", "")
        self.change("SUPER_ADMIN_EMAIL", "")
        self.assertEqual("", self.make()[0]["SUPER_ADMIN_PASSWORD"], "without an address there is no account")

    def test_hold_a_key_of_its_own_for_each_service_and_all_know_the_public_ones(self):
        settings, _ = self.make()
        keys = {settings.environment_of(service)["SERVICE_KEY"] for service in SERVICES}
        self.assertEqual(len(SERVICES), len(keys))
        for service in SERVICES:
            environment = settings.environment_of(service)
            self.assertEqual([], [name for name in environment if name.endswith("_SERVICE_KEY")])
            self.assertIn(f"{service}:{public_key('', environment['SERVICE_KEY'])}",
                          environment["SERVICE_KEYS"].split(","))
        for process in set(PROCESSES) - set(SERVICES):
            self.assertFalse({"SERVICE_KEY", "SERVICE_KEYS"} & set(settings.environment_of(process)), process)

    def test_keep_the_public_part_of_a_key_that_was_replaced(self):
        before = self.make()[0]["SERVICE_KEYS"].split(",")
        self.change("ORDERS_SERVICE_KEY", "5" * 64)
        after = self.make()[0]["SERVICE_KEYS"].split(",")
        self.assertEqual(before, after[:-1])
        self.assertEqual(f"orders:{public_key('', '5' * 64)}", after[-1])
        self.change("ORDERS_SERVICE_KEY", "no key")
        with self.assertRaisesRegex(StackError, "ORDERS_SERVICE_KEY"):
            self.make()

    def test_are_completed_when_their_making_was_cut_off(self):
        _, folder = self.make()
        (folder / "mongodb_uri").unlink()
        self.assertEqual(folder, self.make()[1])
        self.assertTrue((folder / "mongodb_uri").exists())

    def test_keep_a_password_whole_in_the_uri_of_mongodb(self):
        self.make()
        self.change("MONGO_CART_PASSWORD", "a/b@c:d%")
        self.assertIn("://cart:a%2Fb%40c%3Ad%25@mongo:27017/cart?", (self.make()[1] / "mongodb_uri").read_text())


class Certificates(InFolder):
    """What make certs makes."""

    def make(self):
        return certificates.make(self.folder)

    def told(self, name):
        """What openssl says of a certificate that it has verified."""
        authority, certificate = self.folder / "ca.crt", self.folder / f"{name}.crt"
        for purpose in ("sslserver", "sslclient"):
            certificates.openssl("verify", "-CAfile", authority, "-purpose", purpose, certificate)
        return certificates.openssl("x509", "-in", certificate, "-noout", "-text")

    def test_are_one_for_each_process_with_its_name_and_its_own_key(self):
        self.assertEqual({"ca", "client", "https", "gateway", *SERVICES}, set(self.make()))
        for name in ("gateway", *SERVICES):
            self.assertIn(f"DNS:{name}, DNS:localhost, IP Address:127.0.0.1", self.told(name))
        self.assertIn("DNS:localhost", self.told("https"))
        keys = [key.read_text() for key in self.folder.glob("*.key")]
        self.assertEqual(len(SERVICES) + 4, len(set(keys)))

    def test_are_closed_to_others(self):
        self.addCleanup(os.umask, os.umask(0o022))
        self.make()
        self.assertEqual({0o600}, {key.stat().st_mode & 0o777 for key in self.folder.glob("*.key")})

    def test_stay_as_long_as_they_are_good(self):
        self.make()
        self.assertEqual([], self.make())
        (self.folder / "orders.key").unlink()
        self.assertEqual(["orders"], self.make())
        with mock.patch.object(certificates, "RENEW_DAYS", certificates.DAYS + 1):
            made = self.make()
        self.assertEqual({"client", "https", "gateway", *SERVICES}, set(made), "the authority lasts longer")
        (self.folder / "ca.crt").unlink()
        self.assertEqual(len(made) + 1, len(self.make()), "another authority, and all anew")
        self.told("orders")

    def test_come_to_containers_with_their_secrets(self):
        env = self.folder / "env"
        text = (REPO / ".env.example").read_text()
        for name, value in (("SECRETS_DIR", f"{self.folder}/secrets/none"), ("TLS", "on"), ("TLS_DIR", self.folder)):
            text = re.sub(f"(?m)^{name}=.*", f"{name}={value}", text)
        env.write_text(text)
        # By `make env`, which makes certificates where .env asks for TLS and there are none.
        subprocess.run([REPO / "deploy/local/stack.py", "init-env", "--out", env], check=True)
        before = Settings.read(env)["SECRETS_DIR"]
        compose = (REPO / "deploy/docker/tls.yml").read_text()
        wanted = re.findall(r"file: \$\{SECRETS_DIR\}/(\w+)", compose)
        self.assertEqual(2 * (len(SERVICES) + 2) + 1, len(wanted))
        for name in wanted:
            self.assertIn("-----BEGIN", (Path(before) / name).read_text(), name)
        for name in ("gateway", *SERVICES):
            self.assertIn(f"source: {name}_tls_key, target: tls_key", compose)
        (self.folder / "orders.crt").unlink()
        self.make()
        init_env(REPO / ".env.example", env)
        self.assertNotEqual(before, Settings.read(env)["SECRETS_DIR"], "Compose sees a renewed one")

    def test_are_told_to_their_process_alone(self):
        settings = Settings(parse((REPO / ".env.example").read_text()) | {"TLS": "on", "TLS_DIR": "certs"})
        self.assertTrue(settings.base_url.startswith("https://"))
        for process in PROCESSES:
            environment = settings.tls_environment(process)
            keys = {Path(value).stem for name, value in environment.items() if name.endswith("_KEY_FILE")}
            wanted = {process} if process in SERVICES else {"gateway", "https"} if process == "gateway" else set()
            self.assertEqual(wanted, keys, process)
        settings["TLS"] = "yes"
        with self.assertRaisesRegex(StackError, "TLS=yes"):
            _ = settings.tls


class TheComposeFile(unittest.TestCase):
    text = (REPO / "docker-compose.yml").read_text()

    def test_puts_no_secret_into_an_environment(self):
        shown = re.findall(r"^ +(\w*(?:PASSWORD|KEY|URI)): +(?!/run/secrets/)(\S.*)", self.text, re.M)
        self.assertEqual([], shown)

    def test_knows_a_file_for_every_secret(self):
        wanted = [name.lower() for name in ("MONGODB_URI", "REDIS_USERS", "KAFKA_USERS", "KAFKA_ADMIN", *AS_FILES)]
        wanted.remove("broker_kafka_password")  # which Kafka alone needs, and has in kafka_users
        wanted += [f"{user}_redis_url" for user in REDIS_USERS]
        self.assertEqual([], [name for name in wanted
                              if not re.search(rf"\n  {name}:\n    file: \S.*}}/{name}\b", self.text)])

    def test_makes_a_container_with_secrets_anew_when_one_has_changed(self):
        services = re.split(r"(?m)^  (?=[\w-]+:\n)", self.text.split("\nservices:\n")[1].split("\nsecrets:\n")[0])
        with_secrets = [service for service in services if "\n    secrets:" in service]
        self.assertGreaterEqual(len(with_secrets), 11)
        for service in with_secrets:
            self.assertIn("    labels: *secrets-version\n", service)

    def test_mounts_no_file_of_the_clone(self):
        self.assertNotRegex(self.text, r"\./deploy")
        dockerfile = (REPO / "deploy/docker/Dockerfile").read_text()
        for copied in re.findall(r"^COPY .*deploy/(?:docker|topics).*", dockerfile, re.M):
            self.assertIn("--chmod=", copied)


class TheListOfProcesses(unittest.TestCase):
    """Files that cannot read deploy/services say the same."""

    def lacks(self, name, lines, also=()):
        """Fails with those of the lines that the file does not have; blanks do not count."""
        text = " ".join(re.sub(r"(?m)^ *#.*", "", (REPO / name).read_text()).split())
        missing = [line for line in lines if line not in text] + list(also)
        self.assertEqual([], missing, f"{name} and deploy/services differ")

    def ports(self, form):
        """A line for each port of each process."""
        return [form.format(name=name, NAME=name.upper(), kind=kind, port=port)
                for name, process in PROCESSES.items()
                for kind, port in process.ports.items()]

    def test_is_what_the_settings_offer(self):
        offered = parse((REPO / ".env.example").read_text())
        ours = [f"{name}={value}" for name, value in offered.items()
                if re.fullmatch(r"\d+", value) and (value.startswith("70") or name.endswith("_ADMIN_PORT"))]
        wanted = self.ports("{NAME}_{kind}={port}")
        secrets = (*ROLE_PASSWORDS.values(), *REDIS_PASSWORDS.values(), *KAFKA_PASSWORDS.values(),
                   *(f"{service.upper()}_SERVICE_KEY" for service in SERVICES))
        self.lacks(".env.example", wanted + [f"{name}=" for name in secrets],
                   [f"{line} is of no process" for line in ours if line not in wanted])

    def test_is_what_compose_starts(self):
        lines = self.ports('- "127.0.0.1:${{{NAME}_{kind}:-{port}}}:{port}"')
        for name, process in PROCESSES.items():
            lines.append(f"{name}: <<: *process image: shop/{name}:${{SHOP_VERSION:-dev}} "
                         f"build: {{<<: *build, args: {{<<: *build-args, PROCESS: {name}}}}}")
            if name in SERVICES:
                lines += [f"{name.upper()}_ADDR: dns:///{name}:{process.ports['PORT']}",
                          f"- {{source: {name}_service_key, target: service_key}}"]
            if name in ROLES:
                logins = "*with-database" if name in SERVICES else "*common, *postgres-login"
                lines += [f"<<: [{logins}{', *kafka-login' if name in KAFKA_PASSWORDS else ''}] POSTGRES_USER: {name}",
                          f"- {{source: {name}_postgres_password, target: postgres_password}}"]
            if name in KAFKA_PASSWORDS:
                lines += [f"KAFKA_SASL_USERNAME: {name}",
                          f"- {{source: {name}_kafka_password, target: kafka_password}}"]
        lines += [f"{name.upper()}_READS: {','.join(reads)}" for name, reads in READERS.items()]
        job = re.search(r"\n  databases:\n.*?\n\n", TheComposeFile.text, re.S)[0]
        started = re.findall(r"PROCESS: (\w+)", TheComposeFile.text)
        self.lacks("docker-compose.yml", lines,
                   [f"{name} in the job databases" for name in ROLES if f"- {name}_postgres_password\n" not in job]
                   + [f"{name} is no process" for name in started if name not in (*PROCESSES, "topics")])

    def test_is_what_the_ports_of_the_containers_lead_to(self):
        name = "deploy/docker/ports.conf"
        text = (REPO / name).read_text()
        listening = [range(int(first), int(last) + 1) for first, last in re.findall(r"listen (\d+)-(\d+);", text)]
        wanted = {(port, name) for name in SERVICES for port in PROCESSES[name].ports.values()}
        known = {(int(port), service) for port, service in re.findall(r"\b(\d+) (\w+);", text.split("map ")[1])}
        self.lacks(name, [f"{port} {service};" for port, service in sorted(wanted)],
                   [f"{port} is no port of {service}" for port, service in sorted(known - wanted)]
                   + [f"listen {port}" for port, _ in sorted(wanted) if not any(port in ports for ports in listening)])

    def test_has_a_topic_for_the_dead_letters_of_each_group_and_only_known_topics(self):
        wanted = {f"{group}.dead": service for group, service in GROUPS.items()}
        found = {name: topic.publisher for name, topic in TOPICS.items()
                 if name.endswith(".dead")}
        self.assertEqual(wanted, found, "deploy/topics has GROUP.dead, published by the group's service, for each group")
        consumed = {topic for process in PROCESSES.values() for topics in process.groups.values() for topic in topics}
        self.assertEqual(set(), consumed - set(TOPICS), "not in deploy/topics")
        self.assertEqual(set(), {topic.publisher for topic in TOPICS.values()} - set(DATABASES),
                         "publishers in deploy/topics without a database")

    def test_is_what_has_a_folder_and_a_page(self):
        self.assertEqual({*SERVICES, "provider", "reconciler"}, {path.parent.name for path in REPO.glob("services/*/README.md")}, "with a page")
        self.lacks("README.md", self.ports(" {port}"))


class Seeding(unittest.TestCase):
    def test_has_the_catalogue_analyzed_where_the_stack_runs_and_no_table_of_the_systems(self):
        api = mock.Mock()
        api.log_in.return_value = "token"
        api.call.return_value = (201, {})
        api.expect.return_value = {"items": [], "totalPages": 1}
        statements = []
        with mock.patch.object(seed, "Api", return_value=api), contextlib.redirect_stdout(io.StringIO()):
            seed.run(Settings(parse((REPO / ".env.example").read_text()) | {"SUPER_ADMIN_PASSWORD": "secret"}),
                     statements.append)
        self.assertEqual(["ANALYZE products"], statements)

    def test_in_containers_asks_their_own_psql(self):
        args = mock.Mock()
        args.stack.return_value = "docker"
        with mock.patch.object(commands.Settings, "read"), mock.patch.object(commands.seed, "run") as run, \
                mock.patch.object(containers, "compose") as compose:
            commands.run_seed(args)
            run.call_args.args[1]("ANALYZE products")
        self.assertIn("exec", compose.call_args.args)


class OtherPrograms(InFolder):
    """Whatever is among a program's arguments everybody on the machine can read, as long as it runs."""

    PASSWORD, TOKEN = "pass word'${x}\"1", "header.payload.signature"

    def setUp(self):
        super().setUp()
        self.noted = self.folder / "noted"
        self.temporary = self.folder / "temporary"
        self.temporary.mkdir()
        self.enterContext(mock.patch("tempfile.tempdir", str(self.temporary)))
        self.enterContext(contextlib.redirect_stdout(io.StringIO()))
        settings = parse((REPO / ".env.example").read_text()) | {"SUPER_ADMIN_PASSWORD": self.PASSWORD}
        self.enterContext(mock.patch.object(commands.Settings, "read", return_value=Settings(settings)))

    def put(self, text):
        """A program in the place of one that install-all.sh brings."""
        program = self.folder / "program"
        program.write_text(f"#!/usr/bin/python3\nimport json, os, sys\nfrom pathlib import Path\nnoted = Path({str(self.noted)!r})\n{text}")
        program.chmod(0o700)
        self.enterContext(mock.patch.object(commands, "tool", return_value=program))

    def walk(self):
        self.put("""
file = Path(sys.argv[sys.argv.index("--environment") + 1]) if "--environment" in sys.argv else None
noted.write_text(json.dumps([sys.argv, file and [file.read_text(), file.stat().st_mode, file.parent.stat().st_mode]]))
sys.exit(3)
""")
        with self.assertRaises(SystemExit) as end:
            commands.walkthrough(mock.Mock(newman=["--bail"]))
        self.assertEqual(3, end.exception.code)
        return json.loads(self.noted.read_text())

    def test_newman_has_no_password_among_its_arguments(self):
        words, _ = self.walk()
        self.assertEqual([], [word for word in words if self.PASSWORD in word])
        self.assertIn("--bail", words)

    def test_newman_reads_it_from_a_file_that_is_closed_to_others_and_gone_afterwards(self):
        _, file = self.walk()
        self.assertIsNotNone(file)
        text, mode, folder_mode = file
        self.assertEqual((0o600, 0o700), (mode & 0o777, folder_mode & 0o777))
        given = {one["key"]: one["value"] for one in json.loads(text)["values"]}
        self.assertEqual(self.PASSWORD, given["superAdminPassword"])
        self.assertEqual({"baseUrl", "superAdminEmail", "superAdminPassword"}, set(given))
        self.assertEqual([], list(self.temporary.iterdir()))

    def test_newman_leaves_no_file_when_it_is_cut_off(self):
        self.put("")
        with mock.patch.object(commands.subprocess, "run", side_effect=KeyboardInterrupt) as run:
            self.assertRaises(KeyboardInterrupt, commands.walkthrough, mock.Mock(newman=[]))
        run.assert_called_once()
        self.assertEqual([], list(self.temporary.iterdir()))

    def test_grpcurl_has_neither_password_nor_token_among_its_arguments(self):
        self.put(f"""
with noted.open("a") as file:
    file.write(json.dumps([sys.argv, os.environ.get("token")]) + "\\n")
if sys.argv[-1] == "list":
    print(*(f"shop.{{name}}.v1.Service" for name in {SERVICES!r}))
if sys.argv[-1].endswith("/Login"):
    assert json.load(sys.stdin)["password"] == {self.PASSWORD!r}
    print(json.dumps({{"access_token": {self.TOKEN!r}}}))
""")
        commands.grpc(mock.Mock(service=None))
        calls = [json.loads(line) for line in self.noted.read_text().splitlines()]
        self.assertEqual([], [words for words, _ in calls if re.search(f"{re.escape(self.PASSWORD)}|{self.TOKEN}", " ".join(words))])
        told = {words[-1] for words, token in calls if token == self.TOKEN}
        wanted = {f"shop.{name}.v1.{name.title()}Service/{method}" for name, (method, _, with_token) in commands.CALLS.items() if with_token}
        self.assertEqual(wanted, told, "and nobody else is told the token")
        for words, token in calls:
            self.assertEqual(token is not None, "-expand-headers" in words and "authorization: Bearer ${token}" in words)


class ABackup(InFolder):
    def test_has_every_database(self):
        kept = {name for name, process in PROCESSES.items() if process.database in ("postgres", "mongo")}
        self.assertEqual(kept, set(backup.ORDER))
        self.assertEqual(len(backup.ORDER), len(kept))

    def test_copies_who_consumes_before_who_publishes(self):
        circle = {"stock", "payments", "shipping"}
        for group, service in GROUPS.items():
            for topic in PROCESSES[service].groups[group]:
                publisher = TOPICS[topic].publisher
                if service != publisher and not (service == "orders" and publisher in circle):
                    with self.subTest(consumer=service, publisher=publisher):
                        self.assertLess(backup.ORDER.index(service), backup.ORDER.index(publisher))

    def test_is_not_restored_unless_it_is_whole(self):
        for name in backup.ORDER:
            backup.file_of(self.folder, name).touch()
        backup.check(self.folder)
        backup.file_of(self.folder, "stock").unlink()
        with self.assertRaisesRegex(StackError, "stock.dump"):
            backup.check(self.folder)

    def test_is_not_written_over_another(self):
        (self.folder / "orders.dump").touch()
        with self.assertRaisesRegex(StackError, "not empty"):
            backup.save(None, None, self.folder)


class TheLogOfAProcess(InFolder):
    """Without containers it is a file that the process writes and rotates itself; supervisord is not on the way."""

    def setUp(self):
        super().setUp()
        self.stack = Folder(self.folder / "a $tack")
        self.stack.make()
        self.program = Program("orders", ["/usr/bin/env"], {}, ready=lambda: True, own_log=True, environment={"LOG_FILE": "another"})

    def test_has_all_that_the_program_prints_and_the_program_knows_where_it_is(self):
        log = self.stack.log("orders")
        log.write_text("of the run before\n")
        done = subprocess.run(["/bin/sh", self.program.write_script(self.stack)], capture_output=True, text=True, check=True)
        self.assertEqual("", done.stdout + done.stderr)
        self.assertEqual("of the run before", log.read_text().splitlines()[0])
        self.assertIn(f"LOG_FILE={log}\n", log.read_text())
        self.program.command = ["/not/there"]
        subprocess.run(["/bin/sh", self.program.write_script(self.stack)], capture_output=True, check=False)
        self.assertIn("/not/there", log.read_text().splitlines()[-1])

    def test_is_no_file_of_supervisord(self):
        server = Program("redis", ["true"], {}, ready=lambda: True)
        Supervisor(self.stack).write_config([self.program, server])
        config = configparser.RawConfigParser()
        config.read(self.stack.run / "supervisord.conf")
        self.assertEqual(("NONE", str(self.stack.log("redis"))),
                         (config["program:orders"]["stdout_logfile"], config["program:redis"]["stdout_logfile"]))


class AProgram(InFolder):
    def stop(self, answers, *states):
        """How often supervisord was asked to stop it."""
        rpc = mock.Mock(**{"stopProcess.side_effect": answers})
        with mock.patch.object(Supervisor, "rpc", rpc), mock.patch.object(Supervisor, "states", side_effect=states):
            Supervisor(Folder(self.folder)).stop_programs(["gateway"])
        return rpc.stopProcess.call_count

    def test_that_ends_while_it_is_to_be_stopped_is_not_left_to_start_again(self):
        restarting = xmlrpc.client.Fault(70, "NOT_RUNNING: gateway")
        self.assertEqual(3, self.stop([restarting, restarting, True], {"gateway": "RUNNING"}, {"gateway": "STOPPED"}))

    def test_that_cannot_be_stopped_is_told_of(self):
        with self.assertRaises(xmlrpc.client.Fault):
            self.stop([xmlrpc.client.Fault(10, "BAD_NAME: gateway")], {"gateway": "RUNNING"})


class AContainer(unittest.TestCase):
    def test_that_ends_again_and_again_is_never_well(self):
        # What Compose was seen to say of one.
        for state, health, status in (("running", "starting", "Up Less than a second (health: starting)"),
                                      ("restarting", "", "Restarting (1) 1 second ago"),
                                      ("restarting", "starting", "Restarting (1) 1 second ago"),
                                      ("running", "", "Up Less than a second (health: starting)")):
            one = {"Service": "kafka", "State": state, "Health": health, "Status": status}
            self.assertFalse(containers.is_well(one), one)

    def test_is_well_when_it_is_healthy_or_has_no_check(self):
        for health, status in (("healthy", "Up 5 minutes (healthy)"), ("", "Up 5 minutes")):
            self.assertTrue(containers.is_well(
                {"Service": "kafka", "State": "running", "Health": health, "Status": status}))


class TheLogsOfContainers(unittest.TestCase):
    def test_come_through_a_pipe_as_they_were_written(self):
        written = b'{"level":"info"}\n\n  indented\n'
        compose = ["printf", "%b", r"\x1b[2K" + r'{"level":"info"}\n\x1b[2K\n\x1b[2K  indented\n']
        pipe = mock.Mock(buffer=io.BytesIO(), isatty=lambda: False)
        with mock.patch.object(containers, "compose_call", return_value=(compose, os.environ)) as call, \
                mock.patch.object(containers.sys, "stdout", pipe), self.assertRaises(SystemExit) as end:
            containers.logs(Settings({}), "all", False)
        self.assertEqual(0, end.exception.code)
        self.assertEqual(written, pipe.buffer.getvalue())
        self.assertIn("--no-log-prefix", call.call_args.args[1])

    def test_name_the_container_on_a_terminal(self):
        with mock.patch.object(containers, "compose") as compose, \
                mock.patch.object(containers.sys.stdout, "isatty", return_value=True):
            compose.return_value.returncode = 0
            self.assertRaises(SystemExit, containers.logs, Settings({}), "all", False)
        self.assertNotIn("--no-log-prefix", compose.call_args.args)


class Installing(InFolder):
    def test_on_another_distribution_says_what_works_there(self):
        release = self.folder / "os-release"
        release.write_text('ID=fedora\nPRETTY_NAME="Fedora Linux 41"\n')
        done = subprocess.run([REPO / "install-all.sh", "--for=build"], env=os.environ | {"OS_RELEASE": str(release)},
                              capture_output=True, text=True, check=False)
        self.assertEqual(1, done.returncode)
        for wanted in ("Fedora Linux 41", "make up STACK=docker", "--no-apt", "libgrpc++-dev", "Debian 12"):
            self.assertIn(wanted, done.stderr)


class ReadingATopic(unittest.TestCase):
    def test_ends_when_kafka_is_silent_before_its_end(self):
        silent = mock.Mock()
        silent.poll.return_value = None
        with mock.patch.multiple(topics, consumer=mock.Mock(return_value=silent), SILENCE=0, TopicPartition=mock.Mock(),
                                 partitions_of=mock.Mock(return_value={"orders": [0]})):
            with self.assertRaisesRegex(StackError, "orders cannot be read"):
                list(topics.read("nobody", "orders"))


if __name__ == "__main__":
    unittest.main()
