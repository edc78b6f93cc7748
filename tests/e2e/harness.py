"""What the end-to-end tests do to the platform, and how they see what comes of it.

They use what an operator or a client has too: the stack's own script, HTTP, gRPC, the topics, the mail folder.
They wait for a condition, with a limit, and print what they wait for.
"""

import email.policy
import itertools
import json
import mailbox
import re
import shutil
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO / "deploy/local"), str(REPO / "deploy/observability")]

import http_client  # pylint: disable=wrong-import-position
import topics  # pylint: disable=wrong-import-position
from settings import GROUPS, PROCESSES, TOOLS, Settings, StackError, parse, tls_files  # pylint: disable=wrong-import-position

PASSWORD = "Walk-Through-1!"


def say(text):
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def wait_for(what, condition, limit=30.0):
    """Answers the first true value of `condition()`; fails when there is none within the limit.

    A failed assertion or somebody who does not answer counts as "not yet".
    """
    say(f"waiting for {what} (at most {limit:.0f} s)")
    deadline = time.monotonic() + limit
    last = None
    while True:
        try:
            last = condition()
            if last:
                return last
        except (AssertionError, OSError, StackError, topics.KafkaException) as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {limit:.0f} s in vain for {what}; last: {last!r}")
        time.sleep(0.05)


def tool(name, *places):
    """A program of ours or of the system."""
    for place in places:
        if (TOOLS / place).exists():
            return str(TOOLS / place)
    found = shutil.which(name)
    if not found:
        raise AssertionError(f"{name} is not installed: run ./install-all.sh")
    return found


class Answer:
    """What the gateway said. Amounts are Decimal, exactly as they were written."""

    def __init__(self, status, headers, text):
        self.status = status
        self.headers = headers
        self.text = text
        self.json = json.loads(text, parse_float=Decimal) if text else None

    def __repr__(self):
        return f"{self.status} {self.text}"

    @property
    def data(self):
        assert self.status < 400, f"refused: {self}"
        return self.json["data"]


class Event:
    """One record of a topic."""

    def __init__(self, record):
        self.topic = record["topic"]
        self.partition = record["partition"]
        self.offset = record["offset"]
        self.key = record["key"]
        self.text = record["payload"]
        self.headers = record["headers"]
        self.type = self.headers.get("ce_type")

    @property
    def json(self):
        return json.loads(self.text, parse_float=Decimal)


class Stack:
    """The whole platform on ports of its own."""

    repo = REPO  # the checkout whose scripts run it

    def __init__(self, folder, binaries):
        self.folder = Path(folder)
        self.binaries = binaries
        self.env_file = self.folder / "env"
        self.settings = {}

    # --- its life ---

    def script(self, command, *arguments, check=True, quiet=False):
        if not quiet:
            say("stack: " + " ".join((command,) + arguments))
        words = ["/usr/bin/python3", str(self.repo / "deploy/local/stack.py"), command]
        if command != "free-env":
            words += ["--dir", str(self.folder), "--env", str(self.env_file), "--bin", str(self.binaries)]
        done = subprocess.run(words + list(arguments), stdout=subprocess.PIPE, check=False, text=True,
                              stderr=subprocess.STDOUT)
        if check and done.returncode != 0:
            raise AssertionError(f"stack.py {command} failed:\n{done.stdout}")
        return done.stdout

    def start(self, settings=None):
        """A fresh stack on free ports; what an earlier run left in the folder is removed first."""
        self.prepare(settings)
        self.script("up")
        self.wait_for_tokens()

    def wait_for_tokens(self):
        """A service is ready before it has the keys that tokens are checked by: it asks for them once a second until auth
        answers, and refuses who has a token meanwhile."""
        boss = wait_for("a login", lambda: Person.super_admin(self))
        for path in ("/users", "/cart", "/orders", "/payments/1", "/shipments/1", "/audit/products", "/audit/auth"):
            wait_for(f"{path} to be answered", lambda path=path: boss.call("GET", path).status != 503)

    def prepare(self, settings=None):
        """The same without starting it."""
        if self.env_file.exists():
            self.script("down", check=False)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.script("free-env", "--from", str(REPO / ".env.example"), "--out", str(self.env_file))
        # People are made by the dozen here; what bcrypt costs is not what is tested. No carrier: what a test finds
        # must not depend on how long it took to get there. The reconciler looks often: whatever a test does, services
        # that follow each other are no drift. One customer orders hundreds of times while stock is away,
        # and everybody comes from one address. Who is deleted is looked at again every second. A customer has any number
        # of mails a day.
        self.change({"BCRYPT_COST": 4, "SHIPPING_DISPATCH_SECONDS": "", "SHIPPING_DELIVERY_SECONDS": "",
                     "RECONCILE_SECONDS": 5, "RECONCILE_SETTLE_SECONDS": 1,
                     "ERASURE_PAUSE_SECONDS": 1, "ORDER_MAX_PENDING": 1000000, "RATE_LIMIT_ENABLED": "false",
                     "MAILS_PER_ADDRESS_AND_DAY": 0, **(settings or {})})

    def change(self, settings):
        """Settings for what is started from now on."""
        with open(self.env_file, "a", encoding="utf-8") as file:
            file.writelines(f"{name}={value}\n" for name, value in settings.items())
        self.settings = parse(self.env_file.read_text())

    def port(self, process):
        return int(self.settings[f"{process.upper()}_PORT"])

    def admin_port(self, process):
        return int(self.settings[f"{process.upper()}_ADMIN_PORT"])

    def pids(self):
        """The process ids that supervision knows programs by that run."""
        lines = map(str.split, self.script("status", check=False, quiet=True).splitlines())
        return {words[0]: int(words[2]) for words in lines if len(words) > 2 and words[2].isdigit()}

    def pid(self, name):
        """That of one program, or None."""
        return self.pids().get(name)

    def log(self, process):
        return self.folder / "run" / "log" / f"{process}.log"

    def logs(self):
        """What is in the log of each program, and in what its rotation keeps: {"orders.log": text}."""
        time.sleep(0.5)  # no line waits that long to be written
        return {path.name: path.read_text(encoding="utf-8", errors="replace")
                for path in self.log("orders").parent.glob("*.log*")}

    def readyz(self, process, strict=False):
        """Status and text of what a process says of itself on its admin port."""
        answer = fetch(self.admin_port(process), "/readyz" + ("?strict" if strict else ""), plain=True)
        return answer.status, answer.text

    def ready(self, process):
        """Ready, and its consumers too."""
        return self.readyz(process, strict=True)[0] == 200

    # --- HTTP ---

    @property
    def base_url(self):
        return Settings(self.settings).base_url + "/api/v1"

    @property
    def http_ca(self):
        """The file of the authority that certifies the gateway; None where it speaks no TLS."""
        return Settings(self.settings).http_ca

    def certificate(self, name):
        """The files of a certificate and its key."""
        return tls_files(Settings(self.settings).certificates, name)

    def call(self, method, path, body=None, token=None, headers=None):
        return self.fetch("/api/v1" + path, method, body, token, headers)

    def fetch(self, path, *arguments, **options):
        """What the gateway answers."""
        return fetch(self.port("gateway"), path, *arguments, ca=self.http_ca, **options)

    def metrics(self, process):
        """Samples of /metrics: {'name{labels}': value}."""
        samples = {}
        for line in fetch(self.admin_port(process), "/metrics", plain=True).text.splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                samples[name] = float(value)
        return samples

    def metric_types(self, process):
        """What /metrics says of the kind of each: {'name': 'counter'}."""
        text = fetch(self.admin_port(process), "/metrics", plain=True).text
        return dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.M))

    def metric(self, process, name, *labels):
        """Sum of a metric over every sample that has these labels (`topic="orders"`)."""
        return sum(value for sample, value in self.metrics(process).items()
                   if (sample == name or sample.startswith(name + "{"))
                   and all(label in sample for label in labels))

    # --- topics ---

    @property
    def kafka(self):
        """As the operator, who may publish what no process has."""
        return Settings(self.settings).kafka_login("admin")

    def events(self, topic, key=None, kind=None):
        """Everything that is on a topic now, or what there is of a key or a type."""
        events = map(Event, topics.read(self.kafka, topic))
        return [event for event in events
                if (key is None or event.key == str(key)) and (kind is None or event.type == kind)]

    def publish(self, topic, key, text, headers, partition=-1):
        topics.publish(self.kafka, topic, key, text, headers, partition)

    def publish_again(self, event):
        """Puts the very record on its topic a second time, headers and partition included."""
        self.publish(event.topic, event.key, event.text, event.headers, event.partition)

    def lag(self):
        """How many records of their topics consumer groups have not committed yet."""
        return topics.lag(self.kafka, {group: consumed for process in PROCESSES.values()
                                       for group, consumed in process.groups.items()})

    def queued(self, process):
        """How many events are in the retry queues of a process's groups, dead letters among them."""
        found = self.script("psql", process, "--sql", "SELECT count(*) || ' queued' FROM retry_queue", quiet=True)
        return int(re.search(r"(\d+) queued", found)[1])

    def wait_until_consumed(self, limit=60):
        """Until every group has handled everything on its topics, and none of it failed."""
        wait_for("all consumers to have handled what is on their topics",
                 lambda: self.lag() == 0 and not any(map(self.queued, set(GROUPS.values()))), limit)

    # --- whether all say the same ---

    def reconcile(self):
        """What a run of the reconciler prints."""
        return self.script("reconcile", check=False, quiet=True)

    def drift_reported(self):
        """What the reconciler that runs on its schedule has reported since the stack was started, as it logged it."""
        lines = self.log("reconciler").read_text(encoding="utf-8", errors="replace").splitlines()
        return [line for line in lines if '"message":"drift"' in line]

    def drift(self):
        """What services, topics and the payment provider do not say alike now, or why that cannot be said."""
        said = self.reconcile()
        return [] if said.startswith("no drift") and "could not" not in said else said.splitlines()

    def check_consistency(self):
        """Fails unless all say the same once nothing is under way any more."""
        def consistent():
            drift = self.drift()
            assert not drift, drift
            return True
        wait_for("everything to be consistent", consistent, 90)

    # --- mails ---

    def mails(self, to, change="created"):
        """The mails that somebody got about a change of their orders, or with None about any, decoded."""
        folder = self.folder / "data" / "mail"
        if not folder.exists():
            return []
        box = mailbox.Maildir(folder, create=False, factory=lambda file: email.message_from_binary_file(
            file, policy=email.policy.default))
        return [mail for mail in box if to.lower() in str(mail["To"]).lower()
                and (change is None or f"-{change}@shop>" in str(mail["Message-ID"]))]


def mail_text(mail):
    return mail["Subject"] + "\n" + mail.get_body(preferencelist=("plain", "html")).get_content()


def fetch(port, path, method="GET", body=None, token=None, headers=None, plain=False, ca=None):
    status, headers, body = http_client.fetch(f"127.0.0.1:{port}", path, method, body, token, headers, ca=ca)
    text = body.decode()
    answer = Answer(status, headers, "" if plain or not text.startswith("{") else text)
    answer.text = text
    return answer


class Person:
    """Somebody with an account, and what they do in the shop."""

    numbers = itertools.count(1)

    def __init__(self, shop, name="customer", email_address=None, password=PASSWORD):
        self.shop = shop
        self.email = email_address or f"{name}.{next(self.numbers)}@example.com"
        if email_address is None:
            shop.call("POST", "/auth/register", {
                "name": name.title(), "email": self.email, "password": password}).data
        answer = shop.call("POST", "/auth/login", {"email": self.email, "password": password}).data
        self.token = answer["accessToken"]
        self.id = answer["user"]["id"]

    @classmethod
    def super_admin(cls, shop):
        return cls(shop, email_address=shop.settings["SUPER_ADMIN_EMAIL"],
                   password=shop.settings["SUPER_ADMIN_PASSWORD"])

    def call(self, method, path, body=None, headers=None):
        return self.shop.call(method, path, body, self.token, headers)

    def make_product(self, name, price, stock):
        return self.call("POST", "/products", {"name": name, "price": price, "stock": stock}).data["id"]

    def order(self, product, quantity=1):
        """Places an order, which must be answered 201; answers its id."""
        answer = self.call("POST", "/orders", {"items": [{"productId": product, "quantity": quantity}]})
        assert answer.status == 201, f"the order was not taken: {answer}"
        return answer.data["id"]

    def status(self, order):
        return self.call("GET", f"/orders/{order}/status").data["status"]

    def wait_until_decided(self, order, limit=30):
        """PROCESSING or CANCELLED, whichever becomes of a PENDING order."""
        return wait_for(f"order {order} to be decided",
                        lambda: (status := self.status(order)) != "PENDING" and status, limit)
