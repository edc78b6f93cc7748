"""The servers behind the services: PostgreSQL, Redis, Kafka, the MongoDB stand-in, the mail sink.

Each function answers a Program: how the server is prepared, started, and known to be ready.
"""

import glob
import hashlib
import json
import os
import secrets
import shutil
import socket
import subprocess
from pathlib import Path

import topics
from processes import Folder, Program, as_user, can_reach, give_to, is_socket_address, stop_recorded, wait_ready
from settings import DATABASES, KAFKA_PASSWORDS, PROCESSES, READERS, REPO, TOOLS, Settings, StackError, free_ports, kafka_users
from settings import redis_users, write_private

KAFKA = TOOLS / "kafka"
MONGO = TOOLS / "mongo"
KAFKA_FORMATTED = KAFKA / "formatted"
KAFKA_ARCHIVE = KAFKA / "classes.jsa"
SMALL_JVM = ["-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]


def all_servers(folder, settings, for_tests=False):
    return [postgres(folder, settings, for_tests), redis(folder, settings, for_tests),
            kafka(folder, settings, for_tests),
            mongo(folder, settings, for_tests), mail(folder, settings),
            *([prometheus(folder, settings), collector(folder, settings)] if settings.observability else [])]


def answers(host, port, say=b"", expect=b""):
    """Whether something accepts connections there and, when asked for, replies as expected."""
    try:
        with socket.create_connection((host, port), timeout=1) as connection:
            connection.sendall(say)
            return not expect or connection.recv(len(expect)) == expect
    except OSError:
        return False


def write_if_changed(path, text):
    """For a file by whose time a program is started again."""
    if not path.exists() or path.read_text() != text:
        write_private(path, text)


def installed(path, what):
    if not os.path.exists(path):
        raise StackError(f"{what} is not installed: run ./install-all.sh")
    return str(path)


# --- PostgreSQL ---------------------------------------------------------------------------------

def postgres_bin(tool):
    versions = glob.glob("/usr/lib/postgresql/*/bin")
    if not versions:
        raise StackError("PostgreSQL is not installed: run ./install-all.sh")
    return max(versions, key=lambda path: int(path.split("/")[4])) + "/" + tool


def postgres_user():
    """PostgreSQL refuses to run as root."""
    return "postgres" if os.geteuid() == 0 else None


def postgres_data(folder):
    """Its data folder: the stack's own, or one that its user can reach when that one is closed."""
    if can_reach("postgres", folder.data):
        return folder.data / "postgres"
    return distant_postgres_data(folder)


def distant_postgres_data(folder):
    name = hashlib.sha256(str(folder.root).encode()).hexdigest()[:12]
    return Path("/var/lib/postgresql") / f"shop-{name}"


def postgres_socket(folder):
    """The folder of its Unix socket, which only we and its user may enter; None where it cannot be one."""
    data = postgres_data(folder)
    # PostgreSQL takes a list of folders, with commas between them.
    fits = is_socket_address(data / ".s.PGSQL.65535") and not set(',"') & set(str(data))
    return data if fits else None


def sockets(folder):
    """The settings by which processes of ours reach services and PostgreSQL through Unix sockets."""
    found = {"SERVICE_SOCKETS": folder.sockets, "POSTGRES_HOST": postgres_socket(folder)}
    return {name: str(path) for name, path in found.items() if path}


def postgres_superuser(folder, settings, for_tests):
    """Who makes databases and roles. The password lives and dies with the data it opens."""
    if for_tests:
        return settings["POSTGRES_USER"], settings["POSTGRES_PASSWORD"]
    keeper = folder.data / "postgres.password"
    if not keeper.exists():
        write_private(keeper, secrets.token_hex(24))
    return "postgres", keeper.read_text()


def postgres(folder, settings, for_tests=False):
    host, port = settings.require("POSTGRES_HOST"), settings.port("POSTGRES_PORT")
    data = postgres_data(folder)
    options = {"listen_addresses": host, "port": port, "unix_socket_directories": postgres_socket(folder) or "",
               "max_connections": 200, "log_timezone": "UTC", "timezone": "UTC"}
    if for_tests:
        # A test's database need not outlive a power cut.
        options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off",
                    "max_connections": 300}
    command = [postgres_bin("postgres"), "-D", data]
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    is_ready = [postgres_bin("pg_isready"), "-q", "-h", host, "-p", str(port)]
    return Program(
        "postgres", command, {"POSTGRES_PORT": port}, host=host, user=postgres_user(),
        stop_signal="INT",  # the fast shutdown; TERM would wait for every client to leave
        ready=lambda: subprocess.run(is_ready, check=False).returncode == 0,
        prepare=lambda: init_postgres(folder, data, *postgres_superuser(folder, settings, for_tests)))


def init_postgres(folder, data, superuser, password):
    if (data / "PG_VERSION").exists():
        return
    if data.parent != folder.data:
        print(f"  user postgres cannot enter {folder.data}: its data goes to {data}")
    shutil.rmtree(data, ignore_errors=True)  # what an interrupted first start left
    data.mkdir(mode=0o700)
    give_to(postgres_user(), data)
    password_file = data.with_name(data.name + ".new-password")
    write_private(password_file, password + "\n")
    give_to(postgres_user(), password_file)
    try:
        made = subprocess.run(
            as_user(postgres_user()) + [postgres_bin("initdb"), "-D", str(data), "-U", superuser,
                                        f"--pwfile={password_file}", "--auth=scram-sha-256",
                                        "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"],
            cwd="/", capture_output=True, text=True, check=False)
    finally:
        password_file.unlink()
    if made.returncode != 0:
        shutil.rmtree(data, ignore_errors=True)
        raise StackError("initdb failed:\n" + made.stderr)


def psql(settings, user, password, database, arguments=(), **options):
    """Runs psql; what it needs to connect is in the environment, so no process list shows it."""
    environment = os.environ | {
        "PGHOST": settings.require("POSTGRES_HOST"), "PGPORT": settings.require("POSTGRES_PORT"),
        "PGUSER": user, "PGPASSWORD": password, "PGDATABASE": database}
    return subprocess.run([postgres_bin("psql"), *arguments], env=environment, check=False, **options)


def make_databases(folder, settings):
    """A database and a role for each service, which may open no other's; and those that may read some, and no more."""
    def role(name):
        quoted = settings.role_password(name).replace("'", "''")
        return (f"SELECT 'CREATE ROLE {name} LOGIN' WHERE NOT EXISTS"
                f" (SELECT FROM pg_roles WHERE rolname = '{name}') \\gexec\n"
                f"ALTER ROLE {name} PASSWORD '{quoted}';")

    lines = ["\\set ON_ERROR_STOP on", "SET client_min_messages = warning;"]
    for name in DATABASES:
        lines += [
            role(name),
            f"SELECT 'CREATE DATABASE {name} OWNER {name}' WHERE NOT EXISTS"
            f" (SELECT FROM pg_database WHERE datname = '{name}') \\gexec",
            f"REVOKE CONNECT, TEMPORARY ON DATABASE {name} FROM PUBLIC;"]
    for name, read in READERS.items():
        lines += [
            role(name),
            f"ALTER ROLE {name} SET default_transaction_read_only = on;",
            # With that, which it once had, it could read everybody's passwords (pg_authid) too.
            f"SELECT 'REVOKE pg_read_all_data FROM {name}' WHERE pg_has_role('{name}', 'pg_read_all_data', 'MEMBER') \\gexec",
            f"GRANT CONNECT ON DATABASE {', '.join(read)} TO {name};"]
        # The tables that are there, and those that migrations will make.
        for database in read:
            lines += [
                f"\\connect {database}",
                f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name};",
                f"ALTER DEFAULT PRIVILEGES FOR ROLE {database} IN SCHEMA public GRANT SELECT ON TABLES TO {name};"]
    # Search needs trigrams, and only a superuser may be sure to create an extension.
    lines += ["\\connect products", "SET client_min_messages = warning;",
              "CREATE EXTENSION IF NOT EXISTS pg_trgm;"]
    user, password = postgres_superuser(folder, settings, for_tests=False)
    done = psql(settings, user, password, "postgres", ["-X", "-q"], input="\n".join(lines),
                capture_output=True, text=True)
    if done.returncode != 0:
        raise StackError("could not make the databases:\n" + done.stderr)


# --- Redis --------------------------------------------------------------------------------------

def redis(folder, settings, for_tests=False):
    host, port = settings.address("REDIS_URL")
    config = folder.run / "redis.conf"
    # A cache: bounded, evicting, nothing on disk.
    text = (f'bind {host}\nport {port}\nsave ""\nappendonly no\ndaemonize no\n'
            "maxmemory 64mb\nmaxmemory-policy allkeys-lru\n")
    # A test may do anything.
    text += "" if for_tests else redis_users(settings)
    return Program("redis", [installed("/usr/bin/redis-server", "Redis"), "-"], {"REDIS_URL": port}, host=host,
                   user="redis", stdin=config, files=(config,), prepare=lambda: write_if_changed(config, text),
                   ready=lambda: answers(host, port, b"PING\r\n", b"+PONG"))


# --- Kafka --------------------------------------------------------------------------------------

def java(folder, *options):
    """The JVM without its memory-mapped counters, which would lie in the shared /tmp."""
    jars = sorted(glob.glob(str(folder / "jars" / "*.jar")))
    if not jars:
        raise StackError(f"{folder} is empty: run ./install-all.sh")
    path = ":".join(jars + [str(folder / "classes")] if (folder / "classes").exists() else jars)
    return ["/usr/bin/java", "-XX:-UsePerfData", *SMALL_JVM, *options, "-cp", path]


def kafka_command(config, *options):
    """Kafka with that configuration, and the users of the file beside it."""
    # The class path holds jars alone: the archive of loaded classes allows no folder on it.
    jars = ":".join(sorted(glob.glob(str(KAFKA / "jars" / "*.jar"))))
    return ["/usr/bin/java", "-XX:-UsePerfData", *SMALL_JVM, "-Xmx256m",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
            f"-Djava.security.auth.login.config={config.with_name('kafka.users')}",
            *options, "-cp", jars, "kafka.Kafka", str(config)]


def kafka_config(logs, host, port, controller_port, services_port=None):
    """With `services_port` services log in there, to do what the program `topics` lets them; who comes by `port`
    is nobody. Without it anybody may do anything."""
    if services_port:
        secured = {
            "listener.security.protocol.map":
                "READERS:PLAINTEXT,SERVICES:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT",
            "listeners": f"READERS://{host}:{port},SERVICES://{host}:{services_port},"
                         f"CONTROLLER://127.0.0.1:{controller_port}",
            "advertised.listeners": f"READERS://{host}:{port},SERVICES://{host}:{services_port}",
            "inter.broker.listener.name": "SERVICES",
            "sasl.enabled.mechanisms": "PLAIN", "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "sasl.mechanism.controller.protocol": "PLAIN",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:broker;User:admin",
        }
    else:
        secured = {
            "listeners": f"PLAINTEXT://{host}:{port},CONTROLLER://127.0.0.1:{controller_port}",
            "advertised.listeners": f"PLAINTEXT://{host}:{port}",
        }
    settings = secured | {
        "process.roles": "broker,controller", "node.id": 1,
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": logs,
        "auto.create.topics.enable": "false",
        "num.partitions": 6,
        # One node: nothing to replicate to, and nobody else to wait for.
        "offsets.topic.replication.factor": 1, "offsets.topic.num.partitions": 1,
        "transaction.state.log.replication.factor": 1, "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 1,
        "group.initial.rebalance.delay.ms": 0,
        # A killed broker cannot come back before its old registration expires.
        "broker.session.timeout.ms": 3000, "broker.heartbeat.interval.ms": 500,
        "num.network.threads": 2, "num.io.threads": 2, "background.threads": 2,
        "num.recovery.threads.per.data.dir": 1, "log.cleaner.dedupe.buffer.size": 4194304,
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def kafka(folder, settings, for_tests=False):
    _, port = settings.address("KAFKA_BOOTSTRAP_SERVERS")
    host, controller_port = settings.bind_host, settings.port("KAFKA_CONTROLLER_PORT")
    logs, config, users = folder.data / "kafka", folder.run / "kafka.properties", folder.run / "kafka.users"
    installed(KAFKA_FORMATTED, "Kafka")
    ports = {"KAFKA_BOOTSTRAP_SERVERS": port, "KAFKA_CONTROLLER_PORT": controller_port}
    if not for_tests:
        ports["KAFKA_SERVICES_PORT"] = settings.port("KAFKA_SERVICES_PORT")
    text = kafka_config(logs, host, port, controller_port, ports.get("KAFKA_SERVICES_PORT"))
    operator = settings if for_tests else settings.kafka_login("admin")

    def prepare():
        if not logs.exists():
            shutil.copytree(KAFKA_FORMATTED, logs)
        logs.chmod(0o700)
        write_if_changed(config, text)
        write_if_changed(users, "" if for_tests else kafka_users(settings))

    archive = [f"-XX:SharedArchiveFile={KAFKA_ARCHIVE}", "-Xlog:cds=off", "-Xlog:cds+dynamic=off"]
    return Program("kafka", kafka_command(config, *(archive if KAFKA_ARCHIVE.exists() else [])),
                   ports, host=host, files=(config, users), prepare=prepare,
                   ready=lambda: answers(host, port) and topics.answers(operator))


def make_topics(settings, binaries):
    """Brings Kafka to what deploy/topics and deploy/services say."""
    program = Path(binaries).resolve() / "topics"
    if not program.exists():
        raise StackError(f"{program} is missing: run make build")
    environment = settings.kafka_login("admin") | {
        "KAFKA_ANONYMOUS_READ": settings.get("KAFKA_ANONYMOUS_READ", "")}
    done = subprocess.run([program, REPO / "deploy"], env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StackError("could not set up Kafka:\n" + done.stderr)
    new = [line for line in done.stdout.splitlines() if line.startswith(("topic ", "this Kafka "))]
    print("".join(line + "\n" for line in new), end="")


def prepare_kafka():
    """Done once by install-all.sh: a formatted log folder to copy, and an archive of loaded classes.

    Formatting takes a JVM and a second, loading classes two; both come out the same every time.
    """
    port, controller_port, services_port = free_ports(3)
    work = Folder(KAFKA / "warm-up")
    shutil.rmtree(work.root, ignore_errors=True)
    work.make()
    config = work.run / "kafka.properties"
    config.write_text(kafka_config(work.data / "kafka", "127.0.0.1", port, controller_port, services_port))
    settings = Settings({"KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{port}", "KAFKA_SERVICES_PORT": services_port}
                        | {name: secrets.token_hex(16) for name in KAFKA_PASSWORDS.values()})
    operator = settings.kafka_login("admin")
    write_private(work.run / "kafka.users", kafka_users(settings))
    cluster = subprocess.run(java(KAFKA) + ["kafka.tools.StorageTool", "random-uuid"],
                             capture_output=True, text=True, check=True).stdout.split()[-1]
    formatted = subprocess.run(java(KAFKA) + ["kafka.tools.StorageTool", "format",
                                              "-t", cluster, "-c", str(config)],
                               capture_output=True, text=True, check=False)
    if formatted.returncode != 0:
        raise StackError("could not format Kafka's log folder:\n" + formatted.stderr)
    shutil.rmtree(KAFKA_FORMATTED, ignore_errors=True)
    shutil.copytree(work.data / "kafka", KAFKA_FORMATTED)

    KAFKA_ARCHIVE.unlink(missing_ok=True)
    server = Program("kafka", kafka_command(config, f"-XX:ArchiveClassesAtExit={KAFKA_ARCHIVE}"),
                     {}, ready=lambda: topics.answers(operator))
    server.launch(work)
    try:
        wait_ready([server], 60, tell=False)
        topics.make(operator, "warm")
        topics.publish(operator, "warm", "warm", "warm", {})
        reader = topics.consumer(operator, "warm", auto_offset_reset="earliest")
        reader.subscribe(["warm"])
        reader.poll(30)
        reader.commit(asynchronous=False)
        reader.close()
    finally:
        stop_recorded(work, patience=60)  # the archive is written while it stops
    shutil.rmtree(work.root, ignore_errors=True)


# --- the MongoDB stand-in and the mail sink -----------------------------------------------------

def mongo(folder, settings, for_tests):
    host, port = settings.address("MONGODB_URI")
    store = folder.data / "mongo"
    password = folder.run / "mongo-password"

    def prepare():
        store.mkdir(mode=0o700, exist_ok=True)
        if not for_tests:
            write_if_changed(password, settings.require("MONGO_CART_PASSWORD"))

    command = java(MONGO, "-Xmx128m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
    return Program("mongo", command + ["MongoStandIn", host, port, store / "cart.mv", *(() if for_tests else (password,))],
                   {"MONGODB_URI": port}, host=host, ready=lambda: answers(host, port),
                   prepare=prepare, files=() if for_tests else (password,))


def maildir(folder):
    return folder.data / "mail"


def mail(folder, settings):
    host, port = settings.address("SMTP_URL")
    command = ["/usr/bin/python3", "-m", "aiosmtpd", "-n", "-l", f"{host}:{port}",
               "-c", "aiosmtpd.handlers.Mailbox", maildir(folder)]
    return Program("mail", command, {"SMTP_URL": port}, host=host,
                   ready=lambda: answers(host, port, expect=b"220"))


# --- Prometheus and the collector of spans, where they are wanted -------------------------------

def prometheus_config(settings):
    """What it scrapes: every process, each with its name as the label `process`. JSON, which is YAML."""
    targets = [{"targets": [f"{settings.bind_host}:{settings.port(name.upper() + '_ADMIN_PORT')}"], "labels": {"process": name}}
               for name in PROCESSES]
    return json.dumps({"global": {"scrape_interval": "5s", "evaluation_interval": "5s"},
                       "rule_files": [str(REPO / "deploy/observability/rules.yml")],
                       "scrape_configs": [{"job_name": "shop", "static_configs": targets}]}, indent=1)


def prometheus(folder, settings):
    program, port = shutil.which("prometheus"), settings.port("PROMETHEUS_PORT")
    if program is None:
        raise StackError("Prometheus is not installed: run ./install-all.sh --for=observability, or make up PROFILE=none")
    config, host = folder.run / "prometheus.yml", settings.bind_host
    command = [program, f"--config.file={config}", f"--storage.tsdb.path={folder.data / 'prometheus'}",
               "--storage.tsdb.retention.time=15d", f"--web.listen-address={host}:{port}", "--log.level=warn",
               "--enable-feature=exemplar-storage"]
    return Program("prometheus", command, {"PROMETHEUS_PORT": port}, host=host,
                   ready=lambda: answers(host, port, b"GET /-/ready HTTP/1.0\r\n\r\n", b"HTTP/1.0 200"),
                   prepare=lambda: write_if_changed(config, prometheus_config(settings)),
                   files=(config, REPO / "deploy/observability/rules.yml"))


def spans(folder):
    return folder.data / "spans"


def collector(folder, settings):
    host, port = settings.bind_host, settings.port("COLLECTOR_PORT")
    program = REPO / "deploy/local/collector.py"
    return Program("collector", ["/usr/bin/python3", program, host, port, spans(folder)], {"COLLECTOR_PORT": port}, host=host,
                   ready=lambda: answers(host, port, b"GET /healthz HTTP/1.0\r\n\r\n", b"HTTP/1.1 200"),
                   prepare=lambda: spans(folder).mkdir(mode=0o700, exist_ok=True), files=(program,))
