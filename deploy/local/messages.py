"""Dead letters, retry queues, gaps and republishing: runs bin/messages for the services concerned."""

import os
import subprocess
from pathlib import Path

import containers
from settings import GROUPS, OUTBOXES, TOPICS, Settings, StackError


def service_of_group(group):
    if group not in GROUPS:
        raise StackError(f"GROUP={group or '…'}: no such group; there are {', '.join(GROUPS)}")
    return GROUPS[group]


def service_of_id(name):
    service, _, number = (name or "").rpartition("-")
    service = service.removesuffix("-outbox")
    if service not in OUTBOXES or not number.isdigit():
        raise StackError(f"ID={name or '…'}: an id is such as stock-17 or stock-outbox-3, make dead lists them")
    return service


def service_of_topic(topic):
    publisher = TOPICS[topic].publisher if topic in TOPICS else None
    if publisher not in OUTBOXES:
        raise StackError(f"TOPIC={topic or '…'}: no service here publishes it; there are "
                         + ", ".join(name for name, one in TOPICS.items() if one.publisher in OUTBOXES))
    return publisher


def run_for(args, settings, service, words, name="messages"):
    """Runs a program on the database of one service; answers the exit code and what it said."""
    if args.stack(args) == "docker":
        done = containers.compose(settings, "run", "--rm", "--no-deps", "-T", "--entrypoint", f"/app/{name}",
                                  service, *words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    else:
        program = Path(args.bin).resolve() / name
        if not program.exists():
            raise StackError(f"{program} is missing: run make build")
        environment = {name: value for name, value in os.environ.items() if name not in settings}
        environment |= settings.environment_of(service) | {"SHOP_PROCESS": service}
        done = subprocess.run([program, *words], env=environment, check=False, stdout=subprocess.PIPE, text=True)
    return done.returncode, done.stdout


def ask(args, services, words, nothing=None, program="messages", trouble=None):
    """Runs a program for each of the services; `trouble` begins the error that names those where it failed."""
    settings = Settings.read(args.env)
    failed, told = [], ""
    for service in services:
        code, said = run_for(args, settings, service, words, program)
        print(said, end="", flush=True)
        told += said
        if code != 0:
            failed.append(service)
    if failed:
        raise StackError(f"{trouble or words[0] + ' did not work for'} {', '.join(failed)}")
    if nothing and not told:
        print(nothing)


def apply(args):
    return ["--apply"] if args.apply else []


def dead(args):
    group = [args.group] if args.group else []
    services = [service_of_group(args.group)] if args.group else OUTBOXES
    ask(args, services, ["dead", *group], "nothing is dead, and nothing waits to be tried again")


def gaps(args):
    ask(args, OUTBOXES, ["gaps"], "no group stopped at a gap")


def one_event(args):
    ask(args, [service_of_id(args.id)], [args.command, args.id, *apply(args)])


def republish(args):
    since = ["--since", args.since] if args.since else []
    ask(args, [service_of_topic(args.topic)], ["republish", args.topic, *since, *apply(args)])


def resume(args):
    if args.topic not in TOPICS:
        raise StackError(f"TOPIC={args.topic or '…'}: which topic? make gaps lists them")
    since = ["--from", args.since] if args.since else []
    ask(args, [service_of_group(args.group)], ["resume", args.group, args.topic, *since, *apply(args)])


def add_commands(command):
    command("dead", dead, "dead letters, and events that wait to be tried again").add_argument("group", nargs="?")
    command("gaps", gaps, "groups that stopped, as the events they need are gone")
    for name, summary in (("redrive", "have a dead letter tried again"), ("discard", "drop an event for good")):
        added = command(name, one_event, summary)
        added.set_defaults(command=name)
        added.add_argument("id", nargs="?")
        added.add_argument("--apply", action="store_true")
    added = command("republish", republish, "publish what the outbox has of a topic once more")
    added.add_argument("topic", nargs="?")
    added.add_argument("--since")
    added.add_argument("--apply", action="store_true")
    added = command("resume", resume, "have a group go on after its gaps")
    added.add_argument("group", nargs="?")
    added.add_argument("topic", nargs="?")
    added.add_argument("--from", dest="since")
    added.add_argument("--apply", action="store_true")
