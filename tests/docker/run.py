#!/usr/bin/python3
"""The stack in containers, tried for real wherever an engine answers, with the compose file as it is.

  tests/docker/run.py [--build] [--keep]

Builds the images when --build asks, brings a project of its own up on free ports, MongoDB's first start cut off
among it, and then: looks for secrets and rights that nobody needs, walks through the collection twice, looks at
events, mails, databases, logs and gRPC from the host, runs a service twice, kills every container as a power cut
would, stops and starts with the data still there and a password changed, turns TLS on and off, builds from a clone
that is closed to others and after a commit, and removes all. What is built from clones is what was committed.
Exits 77 where no engine answers, and where images are missing and nobody asked to build them: a quarter of an
hour is not for every test run.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO / "deploy/local"), str(REPO / "tests/e2e")]

import containers  # pylint: disable=wrong-import-position
from event_stream import EventStream  # pylint: disable=wrong-import-position
from harness import fetch, say, wait_for  # pylint: disable=wrong-import-position
from settings import (AS_FILES, AUDITED, DATABASES, KAFKA_PASSWORDS, PROCESSES, READERS, REDIS_PASSWORDS,  # pylint: disable=wrong-import-position
                      SERVICES, TOOLS, TOPICS, Settings, change, mongodb_uri, tls_files)
from web_socket import WebSocket  # pylint: disable=wrong-import-position

SKIPPED = 77
PROJECT = "shop-test"
FOLDER = REPO / "build/docker"
# Images of programs of ours: the processes, and the job that sets Kafka up.
IMAGES = (*PROCESSES, "topics")
SERVERS = ("postgres", "redis", "kafka", "mongo", "mailpit", "ports")
LIMIT = 3000
PATIENCE = 90
PAGES = ("/", "/live", "/docs", "/docs/events")
# An order whose payment went through; the carrier comes after some seconds.
GOES_ON = ("PROCESSING", "SHIPPED", "DELIVERED")


def run(*command, check=True, text=""):
    # The first build is the one that may take long.
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=3600)
    assert not check or done.returncode == 0, f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}"
    return done


def stack(command, *arguments, check=True, **variables):
    settings = [f"{name}={value}" for name, value in variables.items()]
    say(" ".join(("stack:", *settings, command) + arguments))
    return run("env", *settings, "/usr/bin/python3", REPO / "deploy/local/stack.py", command, "--dir", FOLDER,
               "--env", FOLDER / "env", *arguments, check=check).stdout


class Shop:
    """The gateway as its operator sees it."""

    def __init__(self, settings, product=None):
        self.settings = settings
        self.token = None
        self.product = product

    def port(self, process):
        return self.settings.port(f"{process.upper()}_PORT")

    @property
    def http_ca(self):
        return self.settings.http_ca

    def call(self, method, path, body=None):
        answer = fetch(self.port("gateway"), "/api/v1" + path, method, body, self.token, ca=self.http_ca)
        assert answer.status < 300, f"{method} {path}: {answer}"
        return answer.data

    def sign_in(self):
        self.token = None
        self.token = self.call("POST", "/auth/login", {
            "email": self.settings["SUPER_ADMIN_EMAIL"],
            "password": self.settings["SUPER_ADMIN_PASSWORD"]})["accessToken"]

    def make_product(self):
        self.product = self.call("POST", "/products", {
            "name": "Container Mug", "price": 9.50, "stock": 1000})["id"]

    def order(self, **how):
        return self.call("POST", "/orders", {"items": [{"productId": self.product, "quantity": 1}], **how})["id"]

    def must_go_through(self, order):
        def status():
            return self.call("GET", f"/orders/{order}/status")["status"]
        assert wait_for(f"order {order} to be decided",
                        lambda: (now := status()) != "PENDING" and now, PATIENCE) in GOES_ON


def container(settings, service, number=1):
    found = [one["Name"] for one in containers.containers_of(settings)
             if one["Service"] == service and one["Name"].endswith(f"-{number}")]
    assert found, f"no container {number} of {service}"
    return found[0]


def inspect(name, form):
    return run("docker", "inspect", "--format", form, name).stdout.strip()


# --- what is tried ------------------------------------------------------------------------------

def check_images(settings):
    """Small, without a shell or a compiler, run by nobody in particular, read-only, and labelled."""
    for process in IMAGES:
        name = container(settings, process)
        image = inspect(name, "{{.Config.Image}}")
        assert int(inspect(image, "{{.Size}}")) < 100_000_000, f"{image} is large"
        assert inspect(image, "{{.Config.User}}") == "10001:10001"
        assert inspect(image, '{{index .Config.Labels "org.opencontainers.image.title"}}') == f"shop-{process}"
        assert inspect(name, "{{.HostConfig.ReadonlyRootfs}}") == "true"
        files = run("sh", "-c", f"docker export {name} | tar t").stdout.splitlines()
        found = [file for file in files if re.search(r"(^|/)(sh|bash|dpkg|cc|gcc|g\+\+|ld)$", file)]
        assert "app/process" in files and not found, f"{image} has {found}"


def check_rights(settings):
    """Nobody is root, has a capability, may get one, or may start processes without end."""
    for one in containers.containers_of(settings):
        name = one["Name"]
        assert inspect(name, "{{.Config.User}}") not in ("", "0", "root"), f"{name} runs as root"
        assert inspect(name, "{{.HostConfig.CapDrop}}") == "[ALL]", f"{name} keeps capabilities"
        assert inspect(name, "{{.HostConfig.CapAdd}}") == "[]", f"{name} has capabilities"
        assert "no-new-privileges:true" in inspect(name, "{{.HostConfig.SecurityOpt}}"), name
        assert 0 < int(inspect(name, "{{.HostConfig.PidsLimit}}")) <= 512, f"{name} may start what it likes"
        assert one["Service"] in containers.JOBS or one["Health"] == "healthy", f"{name} has no health check"


def check_secrets(settings):
    """What somebody sees who may look at containers and no more."""
    names = [one["Name"] for one in containers.containers_of(settings)]
    shown = run("docker", "inspect", *names).stdout
    for name in (*AS_FILES, *REDIS_PASSWORDS.values()):
        assert settings[name] not in shown, f"docker inspect shows {name}"
    assert "PRIVATE KEY" not in shown, "docker inspect shows a private key"
    for key in settings.certificates.glob("*.key"):
        assert not [line for line in key.read_text().splitlines() if line in shown], f"docker inspect shows {key.name}"


def check_published(settings):
    """On loopback alone, on the ports of the settings, and nothing else."""
    wanted = {settings.port(f"{name.upper()}_{kind}") for name, process in PROCESSES.items() for kind in process.ports}
    wanted |= {settings.port("KAFKA_PORT"), settings.port("MAIL_VIEWER_PORT")}
    published = [port for one in containers.containers_of(settings)
                 for port in one.get("Publishers") or [] if port["PublishedPort"]]
    assert {port["URL"] for port in published} == {"127.0.0.1"}, published
    assert {port["PublishedPort"] for port in published} == wanted, published


def check_volumes(settings):
    """Every volume is one that the compose file names: a nameless one outlives `down`, once a container was made anew."""
    for one in containers.containers_of(settings):
        found = inspect(one["Name"], '{{range .Mounts}}{{if eq .Type "volume"}}{{.Name}} {{end}}{{end}}').split()
        nameless = [name for name in found if not name.startswith(PROJECT)]
        assert not nameless, f"{one['Name']} has {nameless}"


def check_databases(settings):
    """A service's password opens its own database as its own role, a reader's those that it reads, and nothing else."""
    tried = {}
    for number, service in enumerate(DATABASES):
        password = settings[f"{service.upper()}_POSTGRES_PASSWORD"]
        for database in (*DATABASES, "postgres", "template1"):
            tried[service, database, password] = service == database
        tried[DATABASES[number - 1], DATABASES[number - 1], password] = False
    for reader, reads in READERS.items():
        password = settings[f"{reader.upper()}_POSTGRES_PASSWORD"]
        for database in (*DATABASES, "postgres", "template1"):
            tried[reader, database, password] = database in reads
    script = """while read -r user database password; do
        PGPASSWORD=$password psql -X -h postgres -U "$user" -d "$database" -tAc 'SELECT 1' </dev/null >/dev/null 2>&1
        echo $?
    done"""
    codes = run("docker", "exec", "-i", container(settings, "postgres"), "sh", "-c", script,
                text="".join(" ".join(words) + "\n" for words in tried)).stdout.split()
    opened = {words: code == "0" for words, code in zip(tried, codes, strict=True)}
    assert opened == tried, {words[:2] for words in tried if opened[words] != tried[words]}


def check_redis(settings, refused=None):
    """A user's password opens Redis to that user; another's or an earlier one does not, and without one nobody reads."""
    said = ["GET products:1"]
    wanted = ["NOPERM"]
    for user, name in REDIS_PASSWORDS.items():
        others = [settings[other] for other in REDIS_PASSWORDS.values() if other != name]
        passwords = [*others, *([refused[name]] if refused else []), settings[name]]
        said += [f"AUTH {user} {password}" for password in passwords]
        wanted += ["WRONGPASS"] * (len(passwords) - 1) + ["OK"]
    answers = run("docker", "exec", "-i", container(settings, "redis"), "redis-cli", text="\n".join(said) + "\n").stdout
    assert [line.split()[0] for line in answers.splitlines() if line] == wanted, answers


def check_kafka(settings, refused=None):
    """Kafka is changed by its admin alone, who has logged in with the right password."""
    image = inspect(container(settings, "topics"), "{{.Config.Image}}")

    def sets_it_up(user, password, port=29092, anonymous_read=settings["KAFKA_ANONYMOUS_READ"]):
        login = {"SECURITY_PROTOCOL": "sasl_plaintext", "SASL_MECHANISM": "PLAIN",
                 "SASL_USERNAME": user, "SASL_PASSWORD": password} if user else {}
        login |= {"BOOTSTRAP_SERVERS": f"kafka:{port}", "ANONYMOUS_READ": anonymous_read}
        done = run("docker", "run", "--rm", "--network", f"{PROJECT}_default",
                   *(word for name, value in login.items() for word in ("--env", f"KAFKA_{name}={value}")),
                   image, "/app/deploy", check=False)
        return "done" if done.returncode == 0 else done.stdout + done.stderr

    passwords = {user: settings[name] for user, name in KAFKA_PASSWORDS.items()}
    assert (said := sets_it_up("admin", passwords["admin"])) == "done", said
    assert "authorization failed" in (said := sets_it_up("orders", passwords["orders"])), said
    # Who may read topics without a login may not change even that.
    other = "false" if settings["KAFKA_ANONYMOUS_READ"] == "true" else "true"
    said = sets_it_up(None, None, 9094, other)
    assert "needs ALTER permission" in said or "authorization failed" in said, said
    wrong = ("orders", refused[KAFKA_PASSWORDS["orders"]]) if refused else ("admin", passwords["orders"])
    assert "Invalid username or password" in (said := sets_it_up(*wrong)), said


def check_caches(settings, shop):
    """Products and gateway have logged in to Redis: they keep what they were asked for."""
    def hits(process, metric):
        told = fetch(settings.port(f"{process.upper()}_ADMIN_PORT"), "/metrics", plain=True).text
        return re.search(rf'^{metric}{{outcome="hit"}} [1-9]', told, re.M)

    def kept():
        shop.call("GET", f"/products/{shop.product}")
        return hits("products", "cache_requests_total") and hits("gateway", "answer_cache_requests_total")

    wait_for("products and gateway to keep a product", kept, PATIENCE)


def check_carts_need_a_password(settings):
    name = f"{PROJECT}-stranger"
    run("docker", "run", "--detach", "--name", name, "--network", f"{PROJECT}_default",
        "-e", "MONGODB_URI=" + mongodb_uri("mongodb://mongo:27017/cart", "wrong"),
        "-e", "SERVICE_KEY=" + settings["CART_SERVICE_KEY"], "-e", "SERVICE_KEYS=" + settings["SERVICE_KEYS"],
        inspect(container(settings, "cart"), "{{.Config.Image}}"))
    try:
        wait_for("a cart service with a wrong password to be refused",
                 lambda: "uthentication" in run("docker", "logs", name).stdout, PATIENCE)
    finally:
        run("docker", "rm", "--force", name)


def check_commands():
    """What make offers to look at a stack with."""
    listed = stack("topics")
    for topic, (partitions, *_) in TOPICS.items():
        wanted = "0" if topic.endswith(".dead") else r"\d+"
        assert re.search(rf"^{re.escape(topic)} +{partitions} +{wanted}$", listed, re.M), f"{topic}:\n{listed}"
    told = stack("events", "orders")
    assert "ORDER_CREATED" in told and "ce_id: " in told, told[:2000]
    assert "Your order" in stack("mails")
    assert "nothing is dead" in stack("dead")
    assert "events of orders" in stack("republish", "orders")
    told = stack("audit")
    for service in AUDITED:
        last = re.search(rf"^{service}: [1-9]\d* entries, the last is (\S+)$", told, re.M)
        assert last, f"{service}:\n{told}"
        assert last[1] in stack("audit", f"{service}:{last[1]}")
    assert re.search(r"^ +[1-9]", stack("psql", "orders", "--sql", "SELECT count(*) FROM orders"), re.M)
    assert "WARNING" not in stack("seed")
    for name in SERVICES:
        assert "SERVING" in stack("grpc", name)


def check_logs():
    """Through a pipe they are what the processes wrote, a JSON object a line."""
    lines = stack("logs", "auth").splitlines()
    assert any('"rpc"' in line for line in lines), lines
    for line in lines:
        assert json.loads(line)["process"] == "auth", line
    torn = [line for line in stack("logs").splitlines() if "\x1b[2K" in line]
    assert not torn, torn[:3]


def check_pages(settings):
    """The gateway's pages, and every file and page of ours that they name."""
    def get(path):
        answer = fetch(settings.port("GATEWAY_PORT"), path, plain=True)
        assert answer.status == 200, f"{path}: {answer}"
        return answer

    named = set()
    for path in PAGES:
        page = get(path)
        assert page.headers["Content-Type"].startswith("text/html"), f"{path}: {page.headers}"
        named |= set(re.findall(r'(?:href|src)="(/[^"]*)"', page.text))
    assert {"/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js", "/live/live.js", *PAGES} <= named, named
    for path in sorted(named - set(PAGES)):
        get(path)


def check_streams(shop):
    """What happens to an order, as Server-Sent Events and as a WebSocket, while it happens."""
    order = shop.order()
    path = f"/orders/{order}/watch"
    end = time.monotonic() + PATIENCE

    def up_to_its_dispatch(next_entry):
        entries = []
        while not entries or entries[-1]["what"] != "ORDER_SHIPPED":
            entries.append(next_entry())
            assert entries[-1], f"nothing comes of {path} after {entries}"
        return entries

    say(f"watching order {order} until it is on its way")
    events = EventStream(shop, shop.token, path)
    with WebSocket(shop, shop.token, path) as messages:
        told = [up_to_its_dispatch(lambda: events.next(lambda: time.monotonic() > end)),
                up_to_its_dispatch(messages.next)]
    timeline = shop.call("GET", f"/orders/{order}/timeline")["items"]
    assert [entry["sequence"] for entry in timeline] == list(range(1, len(timeline) + 1)), timeline
    for entries in told:
        assert entries == timeline[:len(entries)], f"{entries} is not {timeline}"


def check_consistency():
    """Services, topics and the payment provider say the same, as the reconciler sees it from inside."""
    wait_for("no drift", lambda: stack("reconcile").startswith("no drift"), PATIENCE)


def check_replicas(settings, shop):
    """Both replicas of a service work, and the gateway finds the new one by itself."""
    stack("scale", "orders", "2")
    second = container(settings, "orders", 2)

    def has_work():
        shop.call("GET", "/orders")
        return '"message":"rpc"' in run("docker", "logs", second).stdout

    wait_for("the second replica of orders to get requests", has_work, PATIENCE)
    assert "SERVING" in stack("grpc", "orders")
    stack("walkthrough")
    stack("scale", "orders", "1")
    shop.must_go_through(shop.order())


def kill_and_recover(settings, shop, service):
    """SIGKILL from outside, as the kernel or a power cut would; the engine has to start it again."""
    name = container(settings, service)
    pid, restarts = map(int, inspect(name, "{{.State.Pid}} {{.RestartCount}}").split())
    # docker kill would count as somebody's wish, after which nothing is started again.
    run("docker", "run", "--rm", "--privileged", "--pid", "host", "--user", "0", "--entrypoint", "sh",
        inspect(container(settings, "redis"), "{{.Config.Image}}"), "-c", f"kill -9 {pid}")
    wait_for(f"{service} to be started again",
             lambda: int(inspect(name, "{{.RestartCount}}")) > restarts, PATIENCE)
    wait_for("every container to be well",
             lambda: all(map(containers.is_well, containers.containers_of(settings))), 180)
    shop.must_go_through(wait_for("an order to be taken", shop.order, PATIENCE))


def check_stop(settings):
    """On SIGTERM every process of ours is through in time, with exit code 0."""
    stack("stop")
    for process in PROCESSES:
        code = inspect(container(settings, process), "{{.State.ExitCode}}")
        assert code == "0", f"{process} ended with {code}"


def cut_mongo_off(settings, half_done):
    """A first start that ends before there is a user, or between root and the cart's: the next up completes it."""
    containers.compose(settings, "up", "--detach", "mongo")
    name = container(settings, "mongo")
    if half_done:
        password = settings["MONGO_ROOT_PASSWORD"]
        wait_for("MongoDB to answer", lambda: inspect(name, "{{.State.Health.Status}}") == "healthy", PATIENCE)
        run("docker", "exec", "-i", name, "mongosh", "--quiet", "admin",
            text=f"db.createUser({{user: 'root', pwd: '{password}', roles: ['root']}})\n")
    run("docker", "kill", "--signal", "KILL", name)


def change_env(changes):
    env = FOLDER / "env"
    env.write_text(change(env.read_text(), changes))
    return Settings.read(env)


def check_changed_password(settings, shop):
    """A password that is changed in .env is in use after the next up."""
    change_env({name: settings[name][::-1] for name in (
        "AUTH_POSTGRES_PASSWORD", "MONGO_CART_PASSWORD", *REDIS_PASSWORDS.values(), KAFKA_PASSWORDS["orders"],
        "CART_SERVICE_KEY")})
    stack("up")
    changed = Settings.read(FOLDER / "env")
    check_databases(changed)
    check_redis(changed, refused=settings)
    check_kafka(changed, refused=settings)
    check_caches(changed, shop)
    check_secrets(changed)


def up_with_tls(value):
    """Up again with TLS on or off; answers the settings of then."""
    stack("up", TLS=value)
    settings = Settings.read(FOLDER / "env")
    assert settings.tls == (value == "on"), settings.get("TLS")
    not_well = [one["Name"] for one in containers.containers_of(settings) if not containers.is_well(one)]
    assert not not_well, not_well
    return settings


def speaks_http(settings):
    """Whether the gateway's port has an answer in plain HTTP."""
    with socket.create_connection(("127.0.0.1", settings.port("GATEWAY_PORT")), timeout=10) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        try:
            return b"HTTP/" in plain.recv(1000)
        except ConnectionError:
            return False


def shown_certificate(settings, process, name):
    """What a process shows, under the name that it is certified for, to somebody with the client's certificate."""
    context = ssl.create_default_context(cafile=settings.http_ca)
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.load_cert_chain(*tls_files(settings.certificates, "client"))
    address = ("127.0.0.1", settings.port(f"{process.upper()}_PORT"))
    with socket.create_connection(address, timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname=name) as connection:
            return ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True))


def check_strangers(settings):
    """At no service's published port is anybody answered who does not speak TLS, or has no certificate."""
    def health(service, *way):
        port = settings.port(f"{service.upper()}_PORT")
        done = run(TOOLS / "bin/grpcurl", "-connect-timeout", "3", *way, f"127.0.0.1:{port}",
                   "grpc.health.v1.Health/Check", check=False)
        return done.returncode != 0 and "SERVING" not in done.stdout

    with ThreadPoolExecutor() as pool:
        for way in (["-plaintext"], ["-cacert", settings.http_ca]):
            for service, refused in zip(SERVICES, pool.map(lambda service, way=way: health(service, *way), SERVICES)):
                assert refused, f"{service} answers {way[0]} without a certificate"


def check_webhooks(settings, shop):
    """A payment that is decided later is: the provider says so to the gateway."""
    def taken():
        told = fetch(settings.port("GATEWAY_ADMIN_PORT"), "/metrics", plain=True).text
        return [line for line in told.splitlines() if line.startswith("http_requests_total{")
                and 'route="/api/v1/payments/webhook"' in line and 'status="200"' in line and not line.endswith(" 0")]

    shop.must_go_through(shop.order(paymentToken="tok_late"))
    wait_for("a webhook to be taken", taken, PATIENCE)


def check_renewed_certificate(settings, shop):
    """A certificate that was made anew is shown after the next up, by a container made anew."""
    certificate, _ = tls_files(settings.certificates, "orders")
    before, old = certificate.read_text(), inspect(container(settings, "orders"), "{{.Id}}")
    assert shown_certificate(settings, "orders", "orders") == before
    certificate.unlink()
    settings = up_with_tls("on")
    assert inspect(container(settings, "orders"), "{{.Id}}") != old, "the container has stayed"
    assert shown_certificate(settings, "orders", "orders") == certificate.read_text() != before
    shop.sign_in()
    shop.must_go_through(shop.order())


def check_tls(product):
    """HTTPS at the gateway, and certificates between processes, turned on where there is data already; and off again."""
    settings = up_with_tls("on")
    check_rights(settings)
    check_secrets(settings)
    check_published(settings)
    assert shown_certificate(settings, "gateway", "localhost") == tls_files(settings.certificates, "https")[0].read_text()
    assert not speaks_http(settings), "the gateway answers plain HTTP too"
    check_strangers(settings)
    assert "SERVING" in stack("grpc")
    stack("walkthrough")
    shop = Shop(settings, product)
    shop.sign_in()
    check_webhooks(settings, shop)
    check_streams(shop)
    check_renewed_certificate(settings, shop)

    settings = up_with_tls("off")
    assert speaks_http(settings)
    shop = Shop(settings, product)
    shop.sign_in()
    shop.must_go_through(shop.order())


def clone_under(mask):
    folder = FOLDER / "clone"
    shutil.rmtree(folder, ignore_errors=True)
    run("sh", "-c", f"umask {mask} && git clone --quiet --local '{REPO}' '{folder}'")
    return folder


def compose_in(clone, *words):
    """Compose on the project, with a clone's files and code, and with images of their own."""
    code = ("import sys; from settings import Settings; import containers;"
            " sys.exit(containers.compose(Settings.read(sys.argv[1]), *sys.argv[2:]).returncode)")
    say("compose in a clone: " + " ".join(words))
    return run("env", "SHOP_VERSION=clone", f"PYTHONPATH={clone}/deploy/local", "/usr/bin/python3", "-c", code,
               FOLDER / "env", *words)


def check_closed_clone():
    """Made under umask 077, where nobody else may read a file, and so no other user in a container."""
    clone = clone_under("077")
    compose_in(clone, "build", *containers.JOBS, "ports")
    for job in containers.JOBS:
        compose_in(clone, "run", "--rm", "--no-deps", "-T", job)
    compose_in(clone, "run", "--rm", "--no-deps", "-T", "--entrypoint", "nginx", "ports", "-t", "-e", "stderr")


def check_commit_makes_no_image():
    """A commit that changes nothing of what images hold."""
    def build():
        compose_in(clone, "build", *IMAGES)
        return [inspect(f"shop/{image}:clone", "{{.Id}}") for image in IMAGES]

    clone = clone_under("022")
    before = build()
    clone.joinpath("docs/new.md").write_text("New.\n")
    for words in (["add", "docs/new.md"], ["-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-qm", "New"]):
        run("git", "-C", clone, *words)
    assert build() == before, "a commit made images anew"


def check_fresh_env():
    """Compose by hand on a copy of .env.example names the one command that is missing."""
    done = run("docker", "compose", "--env-file", REPO / ".env.example", "-f", REPO / "docker-compose.yml",
               "config", "--quiet", check=False)
    assert done.returncode != 0 and "`make env`" in done.stderr, done.stderr


# --- from beginning to end ----------------------------------------------------------------------

def everything(settings):
    check_fresh_env()
    cut_mongo_off(settings, half_done=False)
    cut_mongo_off(settings, half_done=True)
    stack("up")
    check_images(settings)
    check_rights(settings)
    check_secrets(settings)
    check_published(settings)
    check_volumes(settings)
    check_databases(settings)
    check_redis(settings)
    check_kafka(settings)
    check_carts_need_a_password(settings)
    check_pages(settings)
    for _ in range(2):
        stack("walkthrough")
    check_commands()
    check_logs()

    shop = Shop(settings)
    shop.sign_in()
    shop.make_product()
    check_caches(settings, shop)
    check_streams(shop)
    check_replicas(settings, shop)
    for service in (*PROCESSES, *SERVERS):
        kill_and_recover(settings, shop, service)
        shop.sign_in()
    check_consistency()

    kept = shop.order()
    shop.must_go_through(kept)
    check_stop(settings)
    stack("up")
    shop.sign_in()
    assert shop.call("GET", f"/orders/{kept}")["status"] in GOES_ON
    assert shop.call("GET", f"/products/{shop.product}")["name"] == "Container Mug"
    check_changed_password(settings, shop)
    shop.sign_in()
    shop.must_go_through(shop.order())
    check_tls(shop.product)
    check_consistency()
    check_closed_clone()
    check_commit_makes_no_image()


def missing_images():
    version = os.environ.get("SHOP_VERSION", "dev")
    return [image for image in IMAGES
            if run("docker", "image", "inspect", f"shop/{image}:{version}", check=False).returncode != 0]


def left_over():
    label = f"label=com.docker.compose.project={PROJECT}"
    return [line for kind in ("container", "volume", "network") for line in run(
        "docker", kind, "ls", *(["--all"] if kind == "container" else []), "--quiet", "--filter", label
    ).stdout.splitlines()]


def give_up(*_):
    raise AssertionError("the tests took too long")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--build", action="store_true", help="build the images, however long it takes")
    parser.add_argument("--keep", action="store_true", help="leave the stack running")
    args = parser.parse_args()
    if not containers.engine_answers():
        print("skipped: no container engine with Compose answers")
        sys.exit(SKIPPED)
    if not args.build and missing_images():
        print("skipped: no image of " + ", ".join(missing_images()) + "; tests/docker/run.py --build makes them")
        sys.exit(SKIPPED)

    os.environ.update(STACK="docker", COMPOSE_PROJECT_NAME=PROJECT)
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(LIMIT + (3600 if args.build else 0))
    if (FOLDER / "env").exists():
        stack("down", check=False)
    shutil.rmtree(FOLDER / "certs", ignore_errors=True)
    run("/usr/bin/python3", REPO / "deploy/local/stack.py", "free-env", "--out", FOLDER / "env")
    # Everybody here is one user at one address, and asks more often than people do.
    settings = change_env({"RATE_LIMIT_USER": 1_000_000, "RATE_LIMIT_ADDRESS": 1_000_000})
    passed = False
    try:
        everything(settings)
        passed = True
    finally:
        signal.alarm(0)
        if not passed:
            print(stack("status", check=False))
        if not args.keep:
            stack("down", check=False)
    assert args.keep or not left_over(), f"down left {left_over()}"
    say("everything works")


if __name__ == "__main__":
    main()
