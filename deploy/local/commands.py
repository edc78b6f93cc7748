"""Looking into a running stack: logs, databases, topics, events, mails, gRPC, the walkthrough."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from email import message_from_binary_file, policy
from pathlib import Path

import containers
import messages
import order_trail
import seed
import servers
import topics
from http_client import fetch
from processes import Folder, tail
from settings import AUDITED, DATABASES, PROCESSES, REPO, SERVICES, TOOLS, Settings, StackError, tls_files, write_private

COLLECTION = REPO / "E-Commerce-API.postman_collection.json"


def one_of(name, names, what):
    if name not in names:
        raise StackError(f"no {what} {name or '(none given)'}; there are: {', '.join(names)}")
    return name


def next_steps(settings, kafka, more=""):
    """What somebody does first with a stack that is up."""
    prometheus = f"\n  Prometheus http://localhost:{settings.port('PROMETHEUS_PORT')}/alerts" if settings.observability else ""
    return f"""
  API        {settings.base_url}/api/v1
  try it     {settings.base_url}/live
  log in     {settings.get("SUPER_ADMIN_EMAIL")}  {settings.get("SUPER_ADMIN_PASSWORD")}
  Kafka      {kafka}{more}{prometheus}

  make seed                  some hundred products and a few users
  make walkthrough           the Postman collection, in order
  make events TOPIC=orders   what happened, as events
  make mails                 what was sent
  make status                make logs SERVICE=orders                make help"""


def logs(args):
    if args.stack(args) == "docker":
        if args.order:
            order_trail.print_lines([containers.all_logs(Settings.read(args.env))], one_order(args.order))
            return
        containers.logs(Settings.read(args.env), args.name, args.follow)
    folder = Folder(args.dir)
    known = sorted(path.stem for path in folder.logs.glob("*.log"))
    if not known:
        raise StackError("there are no logs: run make up")
    if args.order:
        # The file before the current one, too.
        files = [path for name in known for path in (f"{folder.log(name)}.1", folder.log(name)) if Path(path).exists()]
        order_trail.print_lines((Path(path).read_text(errors="replace") for path in files), one_order(args.order))
        return
    names = known if args.name == "all" else [one_of(args.name, known, "program")]
    files = [str(folder.log(name)) for name in names]
    if args.follow:
        os.execvp("tail", ["tail", "-n", "20", "-F", *files])
    for name in names:
        if len(names) > 1:
            print(f"==> {name} <==")
        print(tail(folder.log(name), 20 if len(names) > 1 else 100), end="")


def log_level(args):
    """Until the process ends; LOG_LEVEL in .env is for good."""
    settings = Settings.read(args.env)
    process = one_of(args.process, PROCESSES, "process")
    status, _, body = fetch(f"127.0.0.1:{settings.port(process.upper() + '_ADMIN_PORT')}",
                            f"/log-level/{args.level}" if args.level else "/log-level", "PUT" if args.level else "GET")
    if status != 200:
        raise StackError(body.decode().strip())
    print(f"{process} logs from {body.decode().strip()} on")


def one_order(text):
    if not (text or "").isdigit():
        raise StackError("which order? ORDER=7: the id that the API and the events have")
    return text


def trace(args):
    if args.stack(args) == "docker":
        raise StackError("containers send their spans to where OTEL_EXPORTER_OTLP_ENDPOINT says: look there")
    order_trail.print_traces(servers.spans(Folder(args.dir)), one_order(args.order))


def psql(args):
    settings = Settings.read(args.env)
    service = one_of(args.service, DATABASES, "database")
    if args.stack(args) == "docker":
        sys.exit(containers.psql(settings, service, args.sql))
    arguments = ["-X", "-c", args.sql] if args.sql else []
    done = servers.psql(settings, service, settings.role_password(service), service, arguments)
    sys.exit(done.returncode)


# --- Kafka --------------------------------------------------------------------------------------

def show_topics(args):
    settings = Settings.read(args.env)
    counts = containers.topics(settings) if args.stack(args) == "docker" else topics.counts(
        settings.kafka_login("admin"))
    print(f"{'topic':<24}{'partitions':>10}{'events':>10}")
    for topic, (partitions, events_there) in sorted(counts.items()):
        print(f"{topic:<24}{partitions:>10}{events_there:>10}")


class Number(str):
    """A number as it was written: an amount of 50.00 must not come out as 50.0."""


def pretty(value, indent="  "):
    deeper = indent + "  "
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict) and value:
        return ("{\n" + ",\n".join(f"{deeper}{json.dumps(name)}: {pretty(part, deeper)}"
                                   for name, part in value.items()) + f"\n{indent}}}")
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(deeper + pretty(part, deeper) for part in value) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False)


def show_event(event):
    headers = dict(event["headers"])
    at = datetime.fromtimestamp(event["ts"] / 1000, timezone.utc).isoformat(timespec="milliseconds")
    print(f"{at.replace('+00:00', 'Z')}  {event['topic']} {event['partition']}/{event['offset']}"
          f"  key {event['key'] or '-'}  {headers.pop('ce_type', '')}")
    for name, value in headers.items():
        print(f"  {name}: {value}")
    payload = event["payload"]
    try:
        print("  " + pretty(json.loads(payload, parse_float=Number, parse_int=Number)))
    except (TypeError, ValueError):
        print(f"  {payload}")
    print(flush=True)


def events(args):
    """Prints the events of a topic up to its end, oldest first; or goes on as they come."""
    settings = Settings.read(args.env)
    if args.stack(args) == "docker":
        came = containers.events(settings, args.topic, args.follow)
    else:
        came = topics.read(settings.kafka_login("admin"), args.topic, args.follow)
    if not args.follow:
        came = sorted(came, key=lambda event: event["ts"])
        if not came:
            print(f"{args.topic} has no events yet")
    for event in came:
        show_event(event)


# --- mails, gRPC, the walkthrough ---------------------------------------------------------------

def mails_in(folder):
    """Every mail that the mail sink has, oldest first."""
    box = servers.maildir(folder)
    found = []
    for path in sorted(box.glob("new/*"), key=lambda path: path.stat().st_mtime_ns):
        with open(path, "rb") as file:
            found.append(message_from_binary_file(file, policy=policy.default))
    return found


def mails(args):
    """One line a mail, oldest first; then one in full: the newest, or the one asked for."""
    if args.stack(args) == "docker":
        found = containers.mails(Settings.read(args.env))
    else:
        found = mails_in(Folder(args.dir))
    if not found:
        print("no mail was sent yet")
        return
    for number, mail in enumerate(found, 1):
        print(f"{number:>4}  {mail['date'] or '':<31}  {mail['to'] or '':<28}  {mail['subject'] or ''}")
    if args.number and not 1 <= args.number <= len(found):
        raise StackError(f"no mail {args.number}; there are {len(found)}")
    mail = found[(args.number or len(found)) - 1]
    print()
    for name in ("From", "To", "Subject", "Date", "Message-ID"):
        print(f"{name}: {mail[name]}")
    body = mail.get_body(("plain", "html"))
    print("\n" + (body.get_content() if body else "(no text)"))


def run_own_command(args, process, *words):
    """One of the commands that a process has, beside the running one and with its settings."""
    settings = Settings.read(args.env)
    if args.stack(args) == "docker":
        sys.exit(containers.run_inside(settings, process, *words))
    program = Path(args.bin) / process
    if not program.exists():
        raise StackError(f"{program} is missing: run make build")
    sys.exit(subprocess.run([program, *words], env=settings.environment_of(process), check=False).returncode)


def reconcile(args):
    """One run of the reconciler beside the one that runs on a schedule, with its settings."""
    run_own_command(args, "reconciler", "--once")


def audit(args):
    """Of every log, or of the one whose entry somebody has kept a note of: SERVICE:SEQUENCE:HASH."""
    service, _, known = (args.known or "").partition(":")
    if args.known and (service not in AUDITED or not known):
        raise StackError(f"KNOWN={args.known}: an entry is such as payments:17:HASH, make audit says the last ones")
    messages.ask(args, [service] if known else AUDITED, [known] if known else [], program="audit", trouble="not whole:")


def rotate_keys(args):
    run_own_command(args, "auth", "rotate-keys")


def refused_mails(args):
    run_own_command(args, "notification", "refused-mails")


def resend_mails(args):
    if args.order is None:
        raise StackError("which? make mails-resend ORDER=12, or ORDER=all; make mails-refused lists them")
    run_own_command(args, "notification", "resend-mails", args.order)


def tool(path, maker):
    """A program that install-all.sh brings, brought now when it is missing: a stack in containers needs none
    of what else that script installs."""
    program = TOOLS / path
    if not program.exists():
        if shutil.which(maker) is None:
            raise StackError(f"{program.name} is not installed and needs {maker}: run ./install-all.sh")
        subprocess.run([REPO / "install-all.sh", "--for=commands"], check=False)
        if not program.exists():
            raise StackError(f"{program.name} could not be brought: run ./install-all.sh")
    return program


# What is called by example of each service that has rpcs, as the SUPER_ADMIN or, where that is False, as nobody.
CALLS = {
    "auth": ("GetMe", None, True),
    "users": ("ListUsers", {"limit": 3}, True),
    "products": ("ListProducts", {"limit": 3}, False),
    "cart": ("GetCart", None, True),
    "orders": ("ListOrders", {"limit": 3}, True),
    "payments": ("GetPayment", {"orderId": 1}, True),
    "shipping": ("GetShipment", {"orderId": 1}, True),
}


def shown(path):
    """A path as one types it in this folder."""
    return path.relative_to(REPO) if path.is_relative_to(REPO) else path


class Grpcurl:
    """Runs grpcurl, and prints each command as one would type it in this folder."""

    def __init__(self, settings):
        self.settings = settings
        self.program = tool("bin/grpcurl", "go")
        self.security = ["-plaintext"]
        if settings.tls:
            certificate, key = tls_files(shown(settings.certificates), "client")
            self.security = ["-cacert", str(tls_files(shown(settings.certificates), "ca")[0]), "-cert", str(certificate), "-key", str(key)]
        self.token = None

    def run(self, *words, token=None):
        """Exit code and output. Everybody can read a process's arguments: grpcurl takes the token out of its environment."""
        print(f"$ grpcurl {shlex.join(words)}", flush=True)
        environment = os.environ | {"token": token} if token else None
        done = subprocess.run([self.program, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, check=False, cwd=REPO)
        print(done.stdout, end="", flush=True)
        return done.returncode, done.stdout

    def log_in(self):
        address, email = self.settings.service_address("auth"), self.settings.require("SUPER_ADMIN_EMAIL")
        words = [*self.security, "-d", "@", address, "shop.auth.v1.AuthService/Login"]
        print(f"$ password=$(sed -n 's/^SUPER_ADMIN_PASSWORD=//p' {shlex.quote(str(self.settings.path))})\n"
              f"$ token=$(grpcurl {shlex.join(words)} <<<'{{\"email\": \"{email}\", \"password\": \"'\"$password\"'\"}}' |"
              " jq -r .access_token)\n$ export token", flush=True)
        login = json.dumps({"email": email, "password": self.settings.require("SUPER_ADMIN_PASSWORD")})
        done = subprocess.run([self.program, *words], input=login, capture_output=True, text=True, check=False, cwd=REPO)
        if done.returncode != 0:
            raise StackError(f"{email} cannot log in: {done.stderr}")
        return json.loads(done.stdout)["access_token"]

    def call(self, name):
        """One method, with a token when it needs one; the first of them shows how to get it."""
        method, body, with_token = CALLS[name]
        if with_token and self.token is None:
            self.token = self.log_in()
        header = ["-expand-headers", "-H", "authorization: Bearer ${token}"] if with_token else []
        code, text = self.run(*self.security, *header, *(["-d", json.dumps(body)] if body else []),
                              self.settings.service_address(name),
                              f"shop.{name}.v1.{name.title()}Service/{method}", token=self.token if with_token else None)
        # There may be no order yet, hence no payment and no shipment of it.
        return code == 0 or "Code: NotFound" in text


def grpc(args):
    """Shows by example how to talk to the services past the gateway."""
    settings = Settings.read(args.env)
    grpcurl = Grpcurl(settings)
    names = [one_of(args.service, SERVICES, "service")] if args.service else SERVICES
    failed = []
    for name in names:
        address = settings.service_address(name)
        code, listed = grpcurl.run(*grpcurl.security, address, "list")
        own = [service for service in listed.split() if service.startswith(f"shop.{name}.")]
        if code == 0 and not own:
            print(f"  {name} has no rpcs of its own: it handles events (make events shows them)")
        good = [code == 0, grpcurl.run(*grpcurl.security, address, "grpc.health.v1.Health/Check")[0] == 0]
        if args.service:
            good += [grpcurl.run(*grpcurl.security, address, "describe", service)[0] == 0
                     for service in own or ["grpc.health.v1.Health"]]
        if own and name in CALLS:
            good.append(grpcurl.call(name))
        if not all(good):
            failed.append(name)
        print()
    if failed:
        raise StackError("no good answer from " + ", ".join(failed) + ": see make status")


def walkthrough(args):
    settings = Settings.read(args.env)
    newman = tool("npm/node_modules/.bin/newman", "npm")
    variables = {"baseUrl": settings.base_url + "/api/v1",
                 "superAdminEmail": settings.require("SUPER_ADMIN_EMAIL"),
                 "superAdminPassword": settings.require("SUPER_ADMIN_PASSWORD")}
    # In a file that nobody else can read, as everybody can read a process's arguments.
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder) / "environment.json"
        write_private(environment, json.dumps({"name": "shop", "values": [
            {"key": name, "value": value, "enabled": True} for name, value in variables.items()]}))
        command = [newman, "run", COLLECTION, "--environment", environment, *args.newman]
        if settings.tls:
            command += ["--ssl-extra-ca-certs", settings.http_ca]
        code = subprocess.run(command, check=False).returncode
    sys.exit(code)


def run_seed(args):
    settings = Settings.read(args.env)
    if args.stack(args) == "docker":
        def analyze(sql):
            return containers.psql(settings, "products", sql, quiet=True)
    else:
        def analyze(sql):
            return servers.psql(settings, "products", settings.role_password("products"), "products",
                                ["-X", "-q", "-c", sql]).returncode
    seed.run(settings, analyze)


def add_commands(command):
    added = command("logs", logs, "the last lines of a program's log, or of all")
    added.add_argument("name", nargs="?", default="all")
    added.add_argument("--follow", action="store_true")
    added.add_argument("--order", metavar="ID", help="of all, the lines about one order")
    added = command("log-level", log_level, "the least level that a process logs; another one")
    added.add_argument("process", nargs="?")
    added.add_argument("level", nargs="?")
    added = command("trace", trace, "what became of an order, and how long each part took")
    added.add_argument("order", nargs="?", metavar="ORDER")
    added = command("psql", psql, "psql in a service's database, as its role")
    added.add_argument("service", nargs="?")
    added.add_argument("--sql")
    command("topics", show_topics, "topics, their partitions and events")
    added = command("events", events, "the events of a topic")
    added.add_argument("topic", nargs="?", default="orders")
    added.add_argument("--follow", action="store_true")
    command("audit", audit, "is the audit log whole?").add_argument("known", nargs="?")
    command("rotate-keys", rotate_keys, "make the next key that signs access tokens")
    command("mails", mails, "the mails that were sent").add_argument("number", nargs="?", type=int)
    command("mails-refused", refused_mails, "the mails that were refused for good, or not to be sent")
    command("mails-resend", resend_mails, "send refused mails again").add_argument("order", nargs="?")
    command("reconcile", reconcile, "compare all services, their topics and the payment provider")
    command("grpc", grpc, "a grpcurl example a service").add_argument("service", nargs="?")
    added = command("walkthrough", walkthrough, "run the Postman collection")
    added.add_argument("newman", nargs="*", help="more arguments for newman, after --")
    command("seed", run_seed, "a believable catalogue and a few users")
