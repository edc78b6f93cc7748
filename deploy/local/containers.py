"""The stack in containers: what make's commands do to it, by Compose and the tools inside the containers."""

import email
import email.policy
import json
import os
import re
import shutil
import subprocess
import sys
import time

from http_client import fetch
from processes import Program, check_ports
from settings import PROCESSES, REPO, SERVICES, StackError, remove_old_secrets

PATIENCE = 300
# One-shot jobs: over when they ended well.
JOBS = ("databases", "topics", "mongo-users")
# What may run several times. The gateway has a port of the host itself.
SCALABLE = SERVICES
SMALL_JVM = ["-e", "KAFKA_HEAP_OPTS=-Xmx96m",
             "-e", "KAFKA_JVM_PERFORMANCE_OPTS=-XX:+UseSerialGC -XX:TieredStopAtLevel=1"]


# --- the engine and Compose ---------------------------------------------------------------------

def succeeds(command):
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False,
                              timeout=15).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def compose_command():
    """The words that run Compose, or None: a plugin of docker, or a program of its own."""
    if succeeds(["docker", "compose", "version"]):
        return ["docker", "compose"]
    return ["docker-compose"] if succeeds(["docker-compose", "version"]) else None


def engine_answers():
    """Whether containers can be run here: a docker command alone, with no engine behind it, is not enough."""
    return (shutil.which("docker") is not None
            and succeeds(["docker", "version", "--format", "{{.Server.Version}}"])
            and compose_command() is not None)


def compose_call(settings, arguments):
    """The command and the environment of Compose on our project, which reads the settings' file."""
    words = compose_command()
    if words is None or not engine_answers():
        raise StackError("no container engine with Compose answers (docker version, docker compose version): "
                         "start it, or use STACK=native")
    command = [*words, "--project-directory", str(REPO), "--env-file", str(settings.path),
               "-f", str(REPO / "docker-compose.yml"),
               *(("-f", str(REPO / "deploy/docker/tls.yml")) if settings.tls else ()),
               *(("--profile", "observability") if settings.observability else ()), *arguments]
    # .env takes precedence, also where the shell has a variable of that name.
    environment = {name: value for name, value in os.environ.items() if name not in settings}
    if settings.observability and not settings.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://jaeger:4318"
    return command, environment


def compose(settings, *arguments, **options):
    command, environment = compose_call(settings, arguments)
    return subprocess.run(command, env=environment, check=False, **options)


def ask(settings, *arguments):
    done = compose(settings, *arguments, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise StackError(f"docker compose {arguments[0]} failed; is the stack up (make status)?\n{done.stderr}")
    return done.stdout


def containers_of(settings):
    """What Compose knows of our containers, stopped ones too; older versions answer one list."""
    text = ask(settings, "ps", "--all", "--format", "json").strip()
    found = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
    return sorted(found, key=lambda one: ((*PROCESSES, one["Service"]).index(one["Service"]), one["Name"]))


def is_well(one):
    if one["Service"] in JOBS:
        return one["State"] == "exited" and one["ExitCode"] == 0
    # Compose asks for the state and then for the health. Of a container that ended in between it says `running` and no
    # health, as of one without a health check, but for the status, which is of the time of the state.
    no_check = one["Health"] == "" and "health" not in one.get("Status", "")
    return one["State"] == "running" and (one["Health"] == "healthy" or no_check)


# --- up, stop, down, scale ----------------------------------------------------------------------

def published_ports(settings):
    names = [f"{name.upper()}_{kind}" for name, process in PROCESSES.items() for kind in process.ports]
    names += ["KAFKA_PORT", "MAIL_VIEWER_PORT"]
    if settings.observability:
        names += ["PROMETHEUS_PORT", "GRAFANA_PORT", "JAEGER_PORT"]
    return {name: settings.port(name) for name in names}


def up(settings):
    known = containers_of(settings)
    if not any(one["State"] == "running" for one in known):
        check_ports([Program("the stack", [], published_ports(settings), ready=lambda: True)], settings)
    # A service keeps the number of its replicas, whatever the file says.
    counts = {service: sum(one["Service"] == service for one in known) for service in SCALABLE}
    scales = [word for service, count in counts.items() if count > 1
              for word in ("--scale", f"{service}={count}")]
    print("building the images: a quarter of an hour the first time, seconds when nothing changed", flush=True)
    if compose(settings, "build").returncode != 0:
        raise StackError("the images could not be built; what went wrong stands above")
    bring_up(settings, "--remove-orphans", *scales)
    remove_old_secrets(settings)
    print("the stack is up, in containers")


def bring_up(settings, *arguments):
    started = compose(settings, "up", "--detach", "--no-build", *arguments)
    deadline = time.monotonic() + PATIENCE
    told = time.monotonic()
    while started.returncode == 0:
        late = [one for one in containers_of(settings) if not is_well(one)]
        if not late:
            return
        if time.monotonic() > deadline:
            break
        if time.monotonic() - told > 3:
            print("  waiting for " + ", ".join(one["Name"] for one in late), flush=True)
            told = time.monotonic()
        time.sleep(0.5)
    late = [one for one in containers_of(settings) if not is_well(one) and one["State"] != "created"]
    for one in late:
        print(f"--- {one['Name']}: {one['State']} {one['Health']}, its last lines", flush=True)
        subprocess.run(["docker", "logs", "--tail", "15", one["Name"]], check=False)
    raise StackError("not all containers are well: " + (", ".join(one["Name"] for one in late) or "see above"))


def stop(settings):
    if compose(settings, "stop").returncode != 0:
        raise StackError("the containers could not all be stopped")
    print("stopped; the data stays in the volumes (docker volume ls)")


def down(settings):
    if compose(settings, "--profile", "*", "down", "--volumes", "--remove-orphans").returncode != 0:
        raise StackError("the containers could not all be removed")


def scale(settings, service, count):
    if service not in SCALABLE:
        raise StackError(f"no service {service or '(none given)'} that can run several times; there are: "
                         + ", ".join(SCALABLE))
    if count is None or not 1 <= count <= 20:
        raise StackError("how often? make scale SERVICE=orders N=3")
    bring_up(settings, "--no-deps", "--no-recreate", "--scale", f"{service}={count}", service)
    print(f"{service} runs {count} times; clients find a new replica within half a minute")


# --- looking into it ----------------------------------------------------------------------------

def status(settings):
    """Prints what runs; answers the exit code."""
    found = containers_of(settings)
    if not found:
        raise StackError("the stack is not up: run make up")
    print(f"{'container':<26}{'state':<10}{'health':<11}ports")
    for one in found:
        ports = sorted({port["PublishedPort"] for port in one.get("Publishers") or []} - {0})
        health = "done" if one["Service"] in JOBS and is_well(one) else one["Health"] or "-"
        print(f"{one['Name']:<26}{one['State']:<10}{health:<11}{' '.join(map(str, ports))}")
    return 0 if all(map(is_well, found)) else 1


def logs(settings, name, follow):
    words = ["logs", "--tail", "20" if name == "all" or follow else "100"]
    if follow:
        words.append("--follow")
    if name != "all":
        known = sorted({one["Service"] for one in containers_of(settings)})
        if name not in known:
            raise StackError(f"no program {name}; there are: {', '.join(known)}")
        words += ["--no-log-prefix", name]
    if sys.stdout.isatty():
        sys.exit(compose(settings, *words).returncode)
    # What reads a pipe gets the lines as they were written. Compose erases a line before each, whatever it is told.
    command, environment = compose_call(settings, [*words, "--no-color", "--no-log-prefix"])
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as reader:
        for line in reader.stdout:
            sys.stdout.buffer.write(line.replace(b"\x1b[2K", b""))
            sys.stdout.buffer.flush()
    sys.exit(reader.returncode)


def all_logs(settings):
    """Whatever the containers have written, and Docker has kept, line by line as it was written."""
    command, environment = compose_call(settings, ["logs", "--no-color", "--no-log-prefix"])
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, check=True)
    return done.stdout.replace(b"\x1b[2K", b"").decode(errors="replace")


def psql(settings, service, sql, quiet=False):
    terminal = [] if sys.stdin.isatty() and sys.stdout.isatty() and not sql else ["-T"]
    return compose(settings, "exec", *terminal, "postgres", "psql", "-X", "-h", "127.0.0.1", "-U", service, "-d", service,
                   *(["-q"] if quiet else []), *(["-c", sql] if sql else [])).returncode


def run_inside(settings, process, *words):
    """A command of one of our own executables, in a container that runs it."""
    return compose(settings, "exec", "-T", process, "/app/process", *words).returncode


def kafka_tool(name, *arguments):
    return ["exec", "-T", *SMALL_JVM, "kafka", f"/opt/kafka/bin/{name}.sh",
            "--bootstrap-server", "kafka:29092", "--command-config", "/run/secrets/kafka_admin", *arguments]


def topics(settings):
    """Topic -> (its partitions, how many events they hold)."""
    counts = {}
    for time_of, sign in (("-2", -1), ("-1", 1)):
        for line in ask(settings, *kafka_tool("kafka-get-offsets", "--time", time_of,
                                              "--exclude-internal-topics")).splitlines():
            topic, partition, offset = line.rsplit(":", 2)
            counts.setdefault(topic, {}).setdefault(partition, 0)
            counts[topic][partition] += sign * int(offset)
    return {topic: (len(parts), sum(parts.values())) for topic, parts in counts.items()}


# One event of the console consumer: time, partition, offset, headers, key, value.
EVENT = re.compile(r"(?:CreateTime|LogAppendTime):(\d+)\tPartition:(\d+)\tOffset:(\d+)\t([^\t]*)\t([^\t]*)\t(.*)")


def events(settings, topic, follow):
    """The events of a topic up to its end, or as they come, as topics.read gives them."""
    known = topics(settings)
    if topic not in known:
        raise StackError(f"no topic {topic}; there are: {', '.join(sorted(known))}")
    end = [] if follow else ["--max-messages", str(known[topic][1]), "--timeout-ms", "15000"]
    if known[topic][1] == 0 and not follow:
        return
    properties = [word for name in ("timestamp", "partition", "offset", "headers", "key")
                  for word in ("--property", f"print.{name}=true")]
    command, environment = compose_call(settings, kafka_tool(
        "kafka-console-consumer", "--topic", topic, "--from-beginning", *properties,
        "--property", "headers.separator=\x1f", *end))
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, text=True, errors="replace") as reader:
        for line in reader.stdout:
            parts = EVENT.fullmatch(line.rstrip("\n"))
            if parts is None:
                continue
            at, partition, offset, headers, key, payload = parts.groups()
            yield {"ts": int(at), "topic": topic, "partition": int(partition), "offset": int(offset),
                   "headers": {} if headers == "NO_HEADERS" else dict(
                       header.partition(":")[::2] for header in headers.split("\x1f")),
                   "key": key if key != "null" else None, "payload": payload}
        said = reader.stderr.read()
    if reader.returncode != 0:
        raise StackError(f"the console consumer ended with {reader.returncode}\n{said}")


def mails(settings):
    """Every mail that Mailpit has, oldest first."""
    address = f"127.0.0.1:{settings.port('MAIL_VIEWER_PORT')}"

    def get(path):
        status, _, body = fetch(address, "/api/v1" + path)
        if status != 200:
            raise ValueError(f"{path}: {status}")
        return body

    try:
        listed, start = [], 0
        while True:
            page = json.loads(get(f"/messages?start={start}&limit=200"))["messages"]
            listed += page
            start += len(page)
            if not page:
                break
        return [email.message_from_bytes(get(f"/message/{one['ID']}/raw"), policy=email.policy.default)
                for one in reversed(listed)]
    except (OSError, ValueError) as error:
        raise StackError(f"Mailpit does not answer at {address} ({error}): is the stack up (make status)?") from None
