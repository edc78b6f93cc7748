"""The settings of a stack: one .env file, what follows from it, and how such a file is made."""

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import random
import re
import secrets
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlsplit

REPO = Path(__file__).resolve().parents[2]
TOOLS = REPO / ".local" / "tools"


def read_list(name):
    """The lines of a file such as deploy/services, as words."""
    return [line.split() for line in (REPO / name).read_text().splitlines() if line and not line.startswith("#")]


class Process(NamedTuple):
    """A line of deploy/services."""
    ports: dict    # PORT, where it has one, and ADMIN_PORT -> number
    database: str  # postgres, mongo, none or reads
    reads: tuple   # services whose databases it may read
    groups: dict   # consumer group -> its topics


def read_process(port, admin_port, database, *groups):
    ports = {} if port == "-" else {"PORT": int(port)}
    database, _, reads = database.partition(":")
    return Process(ports | {"ADMIN_PORT": int(admin_port)}, database, tuple(reads.split(",")) if reads else (),
                   {group: topics.split(",") for group, topics in (word.split("=") for word in groups)})


PROCESSES = {name: read_process(*words) for name, *words in read_list("deploy/services")}
# Those that speak gRPC. The gateway is the public entrance, the provider stands for somebody else's, the reconciler
# answers nobody.
SERVICES = tuple(name for name in PROCESSES if name not in ("gateway", "provider", "reconciler"))
# Those that show each other certificates.
TLS_PROCESSES = ("gateway", *SERVICES)
DATABASES = tuple(name for name, process in PROCESSES.items() if process.database == "postgres")
# Those that have no database and may read others.
READERS = {name: process.reads for name, process in PROCESSES.items() if process.reads}
# Those with a role in PostgreSQL.
ROLES = (*DATABASES, *READERS)
# Consumer group -> the service it is a part of.
GROUPS = {group: name for name, process in PROCESSES.items() for group in process.groups}


class Topic(NamedTuple):
    """A line of deploy/topics."""
    partitions: int
    retention_ms: int
    replicas: int
    in_sync: int
    publisher: str


def read_topic(partitions, retention, replicas, in_sync, publisher):
    return Topic(int(partitions), int(retention.removesuffix("d")) * 86_400_000, int(replicas), int(in_sync), publisher)


TOPICS = {name: read_topic(*words) for name, *words in read_list("deploy/topics")}
# Services that publish: their databases have an outbox.
OUTBOXES = tuple(name for name in DATABASES if any(topic.publisher == name for topic in TOPICS.values()))

# Services that keep an audit log (libs/common/audit).
AUDITED = ("auth", "users", "products", "payments")

# Role in PostgreSQL -> the setting that has its password: nobody knows another's.
ROLE_PASSWORDS = {role: f"{role.upper()}_POSTGRES_PASSWORD" for role in ROLES}

# User of Redis, the process of that name -> what it may do; and the setting that has its password.
REDIS_USERS = {name: " ".join(rules) for name, *rules in read_list("deploy/redis-users")}
REDIS_PASSWORDS = {name: f"{name.upper()}_REDIS_PASSWORD" for name in REDIS_USERS}

# User of Kafka -> the setting that has its password: our processes, but for the provider, which stands for somebody
# else's; `broker`, as which Kafka comes to itself, and `admin`, as whom an operator does.
KAFKA_PASSWORDS = {user: f"{user.upper()}_KAFKA_PASSWORD"
                   for user in (*(name for name in PROCESSES if name != "provider"), "broker", "admin")}

# What is generated for the containers alone.
CONTAINER_SECRETS = ("POSTGRES_ADMIN_PASSWORD", "MONGO_ROOT_PASSWORD")

# Service -> the setting that has its private key; SERVICE_KEYS lists the public ones.
SERVICE_KEYS = {service: f"{service.upper()}_SERVICE_KEY" for service in SERVICES}

# What is generated for both stacks, besides the passwords of Redis.
SHARED_SECRETS = (*SERVICE_KEYS.values(), "KEY_ENCRYPTION_KEY", "PROVIDER_API_KEY", "PROVIDER_WEBHOOK_SECRET", "MONGO_CART_PASSWORD",
                  *ROLE_PASSWORDS.values(), *KAFKA_PASSWORDS.values())

# The secrets that containers read as files of the same names in small letters.
AS_FILES = (*SHARED_SECRETS, "SUPER_ADMIN_PASSWORD", *CONTAINER_SECRETS)

# Settings that only these processes get to see.
PRIVATE = {
    "SECRETS_DIR": set(),
    "KEY_ENCRYPTION_KEY": {"auth"},
    "KEY_ENCRYPTION_KEY_FILE": {"auth"},
    "SUPER_ADMIN_EMAIL": {"auth"},
    "SUPER_ADMIN_PASSWORD": {"auth"},
    "SMTP_URL": {"notification"},
    "MONGO_CART_PASSWORD": set(),
    "MONGODB_URI": {name for name, process in PROCESSES.items() if process.database == "mongo"},
    "REDIS_URL": set(REDIS_USERS),
    # The public entrance is no service, and calls none as one.
    "SERVICE_KEYS": set(SERVICES),
    "PROVIDER_API_KEY": {"payments", "provider", "reconciler"},
    "PROVIDER_WEBHOOK_SECRET": {"payments", "provider"},
} | {name: set() for name in (*ROLE_PASSWORDS.values(), *REDIS_PASSWORDS.values(), *KAFKA_PASSWORDS.values(), *SERVICE_KEYS.values(),
                                *CONTAINER_SECRETS)}

# Above are ports that the kernel hands out to clients; a server there can find its port taken.
FIRST_EPHEMERAL_PORT = 32768


# Settings that hold an address of a server; the ports of our own processes end in _PORT.
SERVER_ADDRESSES = ("KAFKA_BOOTSTRAP_SERVERS", "REDIS_URL", "MONGODB_URI", "SMTP_URL")


class StackError(Exception):
    """Something the person at the keyboard can mend; the message says how."""


class Settings(dict):
    """The variables of one .env file."""

    def __init__(self, variables, path=".env"):
        super().__init__(variables)
        self.path = path

    @classmethod
    def read(cls, path):
        if not Path(path).exists():
            raise StackError(f"{path} is missing: make env makes it from .env.example")
        return cls(parse(Path(path).read_text()), path)

    def require(self, name):
        if not self.get(name):
            raise StackError(f"{name} is not set in {self.path}; .env.example shows how it looks")
        return self[name]

    def port(self, name):
        try:
            return int(self.require(name))
        except ValueError:
            raise StackError(f"{name}={self[name]} in {self.path} is not a port") from None

    def address(self, name):
        """Host and port of a setting such as REDIS_URL or KAFKA_BOOTSTRAP_SERVERS."""
        value = self.require(name)
        try:
            parts = urlsplit(value if "//" in value else "//" + value)
            if parts.hostname and parts.port:
                return parts.hostname, parts.port
        except ValueError:
            pass
        raise StackError(f"{name}={value} in {self.path} names no host and port")

    @property
    def bind_host(self):
        return self.get("BIND_HOST") or "127.0.0.1"

    def role_password(self, role):
        return self.require(ROLE_PASSWORDS[role])

    def service_address(self, service):
        name = service.upper()
        return self.get(f"{name}_ADDR") or f"127.0.0.1:{self.port(name + '_PORT')}"

    def kafka_login(self, user):
        """The settings of a client of Kafka that logs in as that user."""
        host, _ = self.address("KAFKA_BOOTSTRAP_SERVERS")
        return {"KAFKA_BOOTSTRAP_SERVERS": f"{host}:{self.port('KAFKA_SERVICES_PORT')}",
                "KAFKA_SECURITY_PROTOCOL": "sasl_plaintext", "KAFKA_SASL_MECHANISM": "PLAIN",
                "KAFKA_SASL_USERNAME": user, "KAFKA_SASL_PASSWORD": self.require(KAFKA_PASSWORDS[user])}

    @property
    def mongodb_uri(self):
        """As the cart service comes to MongoDB."""
        return mongodb_uri(self.require("MONGODB_URI"), self.require("MONGO_CART_PASSWORD"))

    @property
    def tls(self):
        """Whether the gateway speaks HTTPS, and processes TLS with each other."""
        value = self.get("TLS") or "off"
        if value not in ("on", "off"):
            raise StackError(f"TLS={value} in {self.path} is neither on nor off")
        return value == "on"

    @property
    def observability(self):
        """Whether Prometheus and a collector of spans run beside the rest."""
        value = self.get("PROFILE") or "none"
        if value not in ("observability", "none"):
            raise StackError(f"PROFILE={value} in {self.path} is neither observability nor none")
        return value == "observability"

    @property
    def certificates(self):
        """The folder where make certs puts them."""
        return REPO / (self.get("TLS_DIR") or ".local/certs")

    @property
    def base_url(self):
        return f"http{'s' if self.tls else ''}://localhost:{self.port('GATEWAY_PORT')}"

    @property
    def http_ca(self):
        """What a client of the gateway has to trust; None where it speaks plain HTTP."""
        return tls_files(self.certificates, "ca")[0] if self.tls else None

    def environment_of(self, process):
        """What the process manager hands to one process: no other's secrets, its own role."""
        chosen = {name: value for name, value in self.items()
                  if process in PRIVATE.get(name, {process})}
        if process in ROLES:
            chosen |= {"POSTGRES_USER": process, "POSTGRES_PASSWORD": self.role_password(process)}
        if process in SERVICE_KEYS:
            chosen["SERVICE_KEY"] = self.require(SERVICE_KEYS[process])
        if process in KAFKA_PASSWORDS:
            chosen |= self.kafka_login(process)
        if process in REDIS_USERS:
            chosen["REDIS_URL"] = redis_url(
                self.require("REDIS_URL"), process, self.require(REDIS_PASSWORDS[process]))
        if self.tls:
            chosen |= self.tls_environment(process)
        if self.observability and not chosen.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
            chosen["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://{self.bind_host}:{self.port('COLLECTOR_PORT')}"
        if process == "cart":
            chosen["MONGODB_URI"] = self.mongodb_uri
        if process == "provider":
            chosen.setdefault("PROVIDER_WEBHOOK_URL", f"{self.base_url}/api/v1/payments/webhook")
        if process == "gateway":
            chosen.setdefault("SWAGGER_UI_DIR", str(TOOLS / "npm/node_modules/swagger-ui-dist"))
        return chosen

    def tls_environment(self, process):
        def named(prefix, name):
            return dict(zip((f"{prefix}_CERT_FILE", f"{prefix}_KEY_FILE"), map(str, tls_files(self.certificates, name))))
        if process == "provider":
            return {"PROVIDER_WEBHOOK_CA_FILE": str(self.http_ca)}
        chosen = {}
        if process in TLS_PROCESSES:
            chosen = named("TLS", process) | {"TLS_CA_FILE": str(self.http_ca)}
        if process == "gateway":
            chosen |= named("HTTP_TLS", "https")
        return chosen


def tls_files(folder, name):
    """Where a certificate and its key are."""
    return Path(folder) / f"{name}.crt", Path(folder) / f"{name}.key"


def parse(text):
    """KEY=value lines, as the shell and Compose read them; comments and quotes are allowed."""
    variables = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            value = value.strip()
            if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
                value = value[1:-1]
            variables[name] = value
    return variables


def change(text, changes):
    """The same file, comments and order kept, with some values replaced or added."""
    left = dict(changes)
    lines = []
    for line in text.splitlines():
        name = line.partition("=")[0]
        lines.append(f"{name}={left.pop(name)}" if "=" in line and name in left else line)
    lines += [f"{name}={value}" for name, value in left.items()]
    return "\n".join(lines) + "\n"


def missing_secrets(variables):
    """Values for the secrets that a file leaves empty."""
    made = {name: secrets.token_hex(32)
            for name in (*SHARED_SECRETS, *REDIS_PASSWORDS.values(), *CONTAINER_SECRETS)
            if not variables.get(name)}
    if variables.get("SUPER_ADMIN_EMAIL") and not variables.get("SUPER_ADMIN_PASSWORD"):
        made["SUPER_ADMIN_PASSWORD"] = secrets.token_hex(12)  # which a person types
    return made


def service_keys(variables):
    """The public part of each service's key. Those of keys of before stay listed, so that processes that have them
    still are taken; whoever replaced one that was lost takes it out."""
    listed = [entry for entry in variables.get("SERVICE_KEYS", "").split(",") if entry]
    for service, name in SERVICE_KEYS.items():
        entry = f"{service}:{public_key(name, variables[name])}"
        if entry not in listed:
            listed.append(entry)
    return ",".join(listed)


def private_key_der(digits):
    """A private key of P-256 as openssl reads it: RFC 5915, without the public part."""
    return bytes.fromhex("30310201010420" + digits + "a00a06082a8648ce3d030107")


def public_key(name, digits):
    """x and y of the point that belongs to a private key of P-256, in base64url."""
    try:
        told = subprocess.run(["openssl", "ec", "-inform", "DER", "-pubout", "-outform", "DER"],
                              input=private_key_der(digits), capture_output=True, check=True).stdout
    except FileNotFoundError:
        raise StackError("openssl is not installed") from None
    except (ValueError, subprocess.CalledProcessError):
        raise StackError(f"{name} is not a private key of P-256 in 64 hexadecimal digits") from None
    return base64.urlsafe_b64encode(told[-64:]).rstrip(b"=").decode()


def write_private(path, text):
    """Writes a file that only its owner can read, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".new")
    with open(os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


def redis_url(server, user, password):
    """The URL of a server with a user's login. Our client takes the password as it stands there, unquoted."""
    return server.replace("//", f"//{user}:{password}@", 1)


def mongodb_uri(server, password):
    """The URI of a database with the login of `cart`, who is a user of that database."""
    options = "&" if "?" in server else "?"
    return server.replace("//", f"//cart:{quote(password, safe='')}@", 1) + f"{options}authMechanism=SCRAM-SHA-256"


def redis_users(variables):
    """The list of Redis' users, which it keeps in memory by the digests of their passwords."""
    lines = ["user default on nopass +ping +info"]
    for user, rules in REDIS_USERS.items():
        digest = hashlib.sha256(variables[REDIS_PASSWORDS[user]].encode()).hexdigest()
        lines.append(f"user {user} on #{digest} {rules}")
    return "".join(line + "\n" for line in lines)


# Kafka's name for a login by a password.
KAFKA_LOGIN_MODULE = "org.apache.kafka.common.security.plain.PlainLoginModule required"


def kafka_users(variables):
    """Who may log in to Kafka, as its JVM reads it (JAAS); what they may do is in its access control list."""
    users = [f'  user_{user}="{variables[name]}"' for user, name in KAFKA_PASSWORDS.items()]
    own = f'  username="broker"\n  password="{variables[KAFKA_PASSWORDS["broker"]]}"'
    return f"KafkaServer {{\n  {KAFKA_LOGIN_MODULE}\n{own}\n" + "\n".join(users) + ";\n};\n"


def kafka_admin(variables):
    """What Kafka's own tools need to come as `admin`."""
    return ("security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\n"
            f"sasl.jaas.config={KAFKA_LOGIN_MODULE}"
            f' username="admin" password="{variables[KAFKA_PASSWORDS["admin"]]}";\n')


def write_secrets(variables, parent):
    """Writes the secrets of containers, a file each, into a folder named after what they say; answers it.

    The name is a label of containers with secrets: by it Compose sees a change, and makes them anew.

    The folder's parent is closed to all others; the files are not, as the users of containers have to read
    them.
    """
    contents = {name.lower(): variables.get(name, "") for name in AS_FILES}
    contents["mongodb_uri"] = mongodb_uri("mongodb://mongo:27017/cart", variables["MONGO_CART_PASSWORD"])
    contents["redis_users"] = redis_users(variables)
    contents["kafka_users"] = kafka_users(variables)
    contents["kafka_admin"] = kafka_admin(variables)
    settings = Settings(variables)
    if settings.tls:
        contents |= tls_secrets(settings.certificates)
    for user, name in REDIS_PASSWORDS.items():
        contents[f"{user}_redis_url"] = redis_url("redis://redis:6379", user, variables[name])
    digest = hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()
    folder = Path(parent) / digest[:16]
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name, content in contents.items():
        file = folder / name
        if not file.exists():
            write_private(file, content)
        file.chmod(0o644)
    return folder


def tls_secrets(folder):
    """The certificates, as deploy/docker/tls.yml names them."""
    contents = {"tls_ca": tls_files(folder, "ca")[0].read_text()}
    for name in (*TLS_PROCESSES, "https"):
        certificate, key = tls_files(folder, name)
        contents |= {f"{name}_tls_certificate": certificate.read_text(), f"{name}_tls_key": key.read_text()}
    return contents


def remove_old_secrets(settings):
    """What earlier settings had written: nothing runs with it any more."""
    current = REPO / settings.require("SECRETS_DIR")
    for folder in current.parent.iterdir():
        if folder != current and re.fullmatch("[0-9a-f]{16}", folder.name):
            shutil.rmtree(folder)


def init_env(template, out):
    """Makes .env from its template, and the files of secrets; leaves alone what exists.

    Addresses that a later template brings are added. Other settings are not: leaving one out can
    have a meaning.
    """
    out = Path(out)
    wanted = parse(Path(template).read_text())
    text = out.read_text() if out.exists() else Path(template).read_text()
    present = parse(text)
    added = {name: value for name, value in wanted.items() if name not in present
             and (name.endswith("_PORT") or name in SERVER_ADDRESSES)} | missing_secrets(present)
    added["SERVICE_KEYS"] = service_keys(present | added)
    before = Path(present.get("SECRETS_DIR") or ".local/secrets/none")
    folder = write_secrets(present | added, REPO / before.parent)
    added["SECRETS_DIR"] = str(before.with_name(folder.name))
    if added.items() - present.items() or not out.exists():
        write_private(out, change(text, added))


def free_env(template, out):
    """An .env whose every port is free now, so that another stack can run beside the usual one."""
    text = Path(template).read_text()
    variables = parse(text)
    located = [name for name, value in variables.items()
               if re.fullmatch(r"\d+", value) and name.endswith("_PORT")]
    embedded = [name for name in SERVER_ADDRESSES if name in variables]
    ports = iter(free_ports(len(located) + len(embedded)))
    changes = {name: str(next(ports)) for name in located}
    for name in embedded:
        changes[name] = re.sub(r":\d+", f":{next(ports)}", variables[name], count=1)
    changes |= missing_secrets(variables)
    changes["TLS_DIR"] = str(Path(out).resolve().parent / "certs")
    changes["SERVICE_KEYS"] = service_keys(variables | changes)
    changes["SECRETS_DIR"] = str(write_secrets(variables | changes, Path(out).resolve().parent / "secrets"))
    write_private(out, change(text, changes))


def free_ports(count):
    """Ports that nothing listens on, and that nobody else was given in the last ten minutes: what several stacks
    that are started at once will listen on is not bound yet."""
    folder = own_folder(Path(tempfile.gettempdir()) / f"shop-ports-{os.getuid()}")
    with open_lock(folder / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ports = []
        for port in random.sample(range(12000, FIRST_EPHEMERAL_PORT), FIRST_EPHEMERAL_PORT - 12000):
            if len(ports) == count:
                return ports
            given = folder / str(port)
            if (given.exists() and time.time() - given.stat().st_mtime < 600) or not is_free(port):
                continue
            given.touch()
            ports.append(port)
    raise StackError(f"there are no {count} free ports")


def own_folder(path):
    """A folder in the temporary one, where everybody may have put something of that name before us."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise StackError(f"{path} is not a folder that is yours and closed to all others: see whose it is, and remove it")
    return path


def open_lock(path):
    """Leaves what is there as it is, and follows no link."""
    try:
        return open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, 0o600), "w")
    except OSError as error:
        raise StackError(f"{path} cannot be opened as a lock ({error.strerror}): see what it is, and remove it") from None


def is_free(port):
    with socket.socket() as candidate:
        try:
            candidate.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False
