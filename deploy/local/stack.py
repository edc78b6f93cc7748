#!/usr/bin/python3
"""The local stack: servers and services on loopback, under supervisord or in containers.

`make help` lists what people use; the tests call this script themselves. STACK=native|docker says which of the
two stacks a command is about; by default it is the one that the last `up` in this folder started, or else
containers where an engine answers.
"""

import argparse
import fcntl
import json
import os
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import backup
import certificates
import containers
import commands
import messages
import servers
from http_client import fetch
from processes import Folder, Program, check_ports, recorded_pid, remove_tree, send, stop_recorded
from processes import tail, wait_ready
from settings import PROCESSES, REPO, Settings, StackError, free_env, free_ports
from settings import change, init_env, write_private
from supervision import Supervisor

SERVER_PATIENCE = 90
SERVICE_PATIENCE = 90


# --- the programs of a stack --------------------------------------------------------------------

def is_all_there(host, admin_port):
    """Whether a process is ready and nothing of it degraded: up and status are about everything."""
    try:
        return fetch(f"{host}:{admin_port}", "/readyz?strict", timeout=2)[0] == 200
    except OSError:
        return False


def process(settings, name, binaries, sockets):
    """One of our own processes. Those of this machine call each other, and PostgreSQL, through Unix sockets."""
    binary = Path(binaries).resolve() / name
    if not binary.exists():
        raise StackError(f"{binary} is missing: run make build")
    ports = {f"{name.upper()}_{kind}": settings.port(f"{name.upper()}_{kind}") for kind in PROCESSES[name].ports}
    asked = ports[f"{name.upper()}_ADMIN_PORT"]
    return Program(name, [binary], ports, host=settings.bind_host, cwd=str(REPO), files=(binary,),
                   environment=settings.environment_of(name) | sockets, own_log=True,
                   ready=lambda: is_all_there(settings.bind_host, asked))


def all_processes(folder, settings, binaries):
    sockets = servers.sockets(folder)
    return [process(settings, name, binaries, sockets) for name in PROCESSES]


# --- up, stop, down -----------------------------------------------------------------------------

@contextmanager
def locked(folder):
    """One of up, stop and down works on a folder at a time; the kernel frees the lock of who dies."""
    folder.root.mkdir(parents=True, exist_ok=True)
    with open(folder.root / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(f"another make up, stop or down is at work in {folder.root}") from None
        yield


def stack_note(folder):
    """Which stack was started here, from its up until its down."""
    return folder.root / "stack"


def chosen_stack(args):
    """native or docker: what STACK says, or what the last up in this folder started, or what is possible here."""
    named = os.environ.get("STACK")
    if named:
        if named not in ("native", "docker"):
            raise StackError(f"STACK={named} is neither native nor docker")
        return named
    folder = Folder(args.dir)
    note = stack_note(folder)
    if note.exists():
        return note.read_text().strip()
    # A stack beside the usual one is made of processes: containers there are for the checkout's own.
    if folder.root != (REPO / ".local").resolve() or recorded_pid(folder, "supervisord"):
        return "native"
    return "docker" if containers.engine_answers() else "native"


def stack_to_start(args, folder):
    """The one that was chosen, unless the other one is there."""
    note, stack = stack_note(folder), chosen_stack(args)
    before = note.read_text().strip() if note.exists() else stack
    # With the engine away there is nothing in the way, and nothing that could be taken down.
    if before != stack and (before == "native" or containers.engine_answers()):
        raise StackError(f"the {before} stack is up, or stopped with its data: "
                         f"make down STACK={before} comes first")
    return stack


def which(args):
    """Asked before anything is installed or built."""
    print(stack_to_start(args, Folder(args.dir)))


def note_choices(args):
    """Notes in .env what `make up` was told about TLS and PROFILE, for all commands that follow; makes what TLS takes."""
    present = Settings.read(args.env)
    chosen = {name: os.environ[name] for name in ("TLS", "PROFILE") if os.environ.get(name)}
    if chosen.items() - present.items():
        write_private(args.env, change(Path(args.env).read_text(), chosen))
    make_wanted_certificates(args.env)


def make_wanted_certificates(env):
    settings = Settings.read(env)
    if settings.tls:
        certificates.make(settings.certificates)


def make_env(args):
    """The files of its secrets have the certificates too, so these are made first."""
    make_wanted_certificates(args.out if Path(args.out).exists() else args.template)
    init_env(args.template, args.out)


def make_certificates(args):
    settings = Settings.read(args.env)
    made = certificates.make(settings.certificates)
    print(f"{settings.certificates}: " + ("made " + ", ".join(made) if made else "all are there, and good for a month and more"))


def up(args):
    folder = Folder(args.dir)
    with locked(folder):
        stack = stack_to_start(args, folder)
        stack_note(folder).write_text(stack + "\n")
        if stack == "docker" and not Path(args.env).exists():
            init_env(REPO / ".env.example", args.env)
        note_choices(args)
        if stack == "docker":
            init_env(REPO / ".env.example", args.env)
            settings = Settings.read(args.env)
            containers.up(settings)
            print(commands.next_steps(settings, f"localhost:{settings.port('KAFKA_PORT')}", f"""
  mails      http://localhost:{settings.port('MAIL_VIEWER_PORT')}"""))
        else:
            up_locked(args, folder, Settings.read(args.env))


def up_locked(args, folder, settings, before_services=lambda: None):
    if os.geteuid() == 0:
        print("warning: this is root; all but PostgreSQL and Redis, which have users of their own, runs as root too")
    folder.make()
    backing = servers.all_servers(folder, settings)
    own = all_processes(folder, settings, args.bin)
    supervisor = Supervisor(folder)

    left = clear_way(folder, supervisor, backing + own)
    if left:
        print("stopped what an earlier run left: " + ", ".join(left))
    states = supervisor.states()
    changed, fingerprints = changed_programs(folder, backing + own, states)
    absent = [program for program in backing + own
              if states.get(program.name) not in ("RUNNING", "STARTING")]
    check_ports([program for program in absent if states.get(program.name) != "BACKOFF"], settings)
    if not supervisor.running():
        supervisor.start()
    if changed:
        print("changed, starting again: " + ", ".join(program.name for program in changed))
        supervisor.stop_programs([program.name for program in changed])
        check_ports(changed, settings)
    # Noted only now: had this failed before, the next up has to find them changed again.
    write_private(folder.run / "fingerprints.json", json.dumps(fingerprints))

    bring_up(folder, supervisor, backing, SERVER_PATIENCE)
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(servers.make_databases, folder, settings),
                     pool.submit(servers.make_topics, settings, args.bin)]:
            done.result()
    before_services()
    bring_up(folder, supervisor, own, SERVICE_PATIENCE)
    print("the stack was up already" if not absent and not changed else "the stack is up")
    print(commands.next_steps(settings, settings["KAFKA_BOOTSTRAP_SERVERS"]))


def clear_way(folder, supervisor, programs):
    """Stops what cannot stay: what a dead supervisord left, or all when its configuration changed."""
    if supervisor.running() and supervisor.answers():
        if not supervisor.write_config(programs):
            return []
        supervisor.stop_programs(supervisor.states())
    else:
        supervisor.write_config(programs)
    return stop_recorded(folder, programs)


def changed_programs(folder, programs, states):
    """Prepares every program; answers the running ones that were started from something else,
    and what all are started from now."""
    record = folder.run / "fingerprints.json"
    before = json.loads(record.read_text()) if record.exists() else {}
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(program.prepare) for program in programs]:
            done.result()
    now = {program.name: program.fingerprint(folder) for program in programs}
    for program in programs:
        program.write_script(folder)
    return [program for program in programs if before.get(program.name) != now[program.name]
            and states.get(program.name) in ("RUNNING", "STARTING")], now


def bring_up(folder, supervisor, programs, patience):
    supervisor.start_programs([program.name for program in programs])

    def describe(name):
        state = supervisor.states().get(name, "unknown")
        return "" if state in ("RUNNING", "STARTING") else f" ({state.lower()}: see make logs SERVICE={name})"

    try:
        wait_ready(programs, patience, describe)
    except StackError as error:
        late = [program.name for program in programs if not program.ready()]
        logs = "\n".join(f"--- {name}, last lines of {folder.log(name)}\n{tail(folder.log(name))}"
                         for name in late)
        raise StackError(f"{error}\n{logs}") from None


def stop_all(folder):
    supervisor = Supervisor(folder)
    if supervisor.running():
        names = supervisor.states()
        # Services first, while what they drain to is still there.
        supervisor.stop_programs([name for name in PROCESSES if name in names])
        supervisor.stop_programs([name for name in names if name not in PROCESSES])
    supervisor.shutdown()


def stop(args):
    folder = Folder(args.dir)
    with locked(folder):
        if chosen_stack(args) == "docker":
            containers.stop(Settings.read(args.env))
            return
        stop_all(folder)
    print(f"stopped; the data stays in {folder.data}")


def down(args):
    folder = Folder(args.dir)
    with locked(folder):
        if chosen_stack(args) == "docker":
            containers.down(Settings.read(args.env))
        else:
            stop_all(folder)
            remove_data(folder)
        stack_note(folder).unlink(missing_ok=True)
    print("stopped; removed data and logs; tools, keys, images and .env stay")


def remove_data(folder):
    remove_tree(servers.distant_postgres_data(folder))
    remove_tree(folder.data)
    remove_tree(folder.run)


# --- a copy of the data -------------------------------------------------------------------------

def needs_native(args, what):
    if chosen_stack(args) == "docker":
        raise StackError(f"make {what} is for a stack without containers; docs/runbook.md has the commands for others")


def save_backup(args):
    needs_native(args, "backup")
    if not args.to:
        raise StackError("where to? make backup TO=folder")
    backup.save(Folder(args.dir), Settings.read(args.env), args.to)
    print(f"Keep {args.env} too, elsewhere: nobody can log in without its KEY_ENCRYPTION_KEY.")


def restore_backup(args):
    """Starts an empty stack with the data of a copy."""
    needs_native(args, "restore")
    if not args.source:
        raise StackError("what? make restore FROM=folder")
    backup.check(args.source)
    folder = Folder(args.dir)
    with locked(folder):
        if folder.data.exists() and any(folder.data.iterdir()):
            raise StackError(f"there is data in {folder.data}: make down removes it")
        stack_note(folder).write_text("native\n")
        settings = Settings.read(args.env)
        up_locked(args, folder, settings, lambda: backup.load(args, folder, settings))


# --- single programs ----------------------------------------------------------------------------

def supervised(args):
    supervisor = Supervisor(Folder(args.dir))
    known = supervisor.info()
    if not known:
        raise StackError("the stack is not up: run make up")
    if args.name not in known:
        raise StackError(f"no program {args.name}; there are: " + ", ".join(known))
    return supervisor, known[args.name]


def stop_program(args):
    supervisor, _ = supervised(args)
    supervisor.stop_programs([args.name])


def start_program(args):
    supervisor, _ = supervised(args)
    folder, settings = Folder(args.dir), Settings.read(args.env)
    programs = servers.all_servers(folder, settings) + all_processes(folder, settings, args.bin)
    bring_up(folder, supervisor, [program for program in programs if program.name == args.name],
             SERVICE_PATIENCE)


def kill_program(args):
    _, info = supervised(args)
    if info["statename"] not in ("RUNNING", "STARTING"):
        raise StackError(f"{args.name} does not run: {info['statename'].lower()}")
    send(info["pid"], "KILL")


def scale(args):
    if chosen_stack(args) != "docker":
        raise StackError("without containers each service runs once: make scale needs STACK=docker")
    containers.scale(Settings.read(args.env), args.service, args.count)


def status(args):
    folder, settings = Folder(args.dir), Settings.read(args.env)
    if chosen_stack(args) == "docker":
        sys.exit(containers.status(settings))
    info = Supervisor(folder).info()
    if not info:
        raise StackError("the stack is not up: run make up")
    programs = servers.all_servers(folder, settings) + all_processes(folder, settings, args.bin)
    with ThreadPoolExecutor() as pool:
        ready = list(pool.map(lambda program: program.ready(), programs))
    print(f"{'program':<14}{'state':<10}{'pid':>8}  {'ready':<7}ports")
    for program, is_ready in zip(programs, ready):
        entry = info.get(program.name, {"statename": "UNKNOWN", "pid": 0})
        print(f"{program.name:<14}{entry['statename'].lower():<10}{entry['pid'] or '-':>8}  "
              f"{'yes' if is_ready else 'no':<7}{' '.join(map(str, program.ports.values()))}")
    if not all(ready):
        sys.exit(1)


# --- the servers alone, for tests ---------------------------------------------------------------

def servers_up(args):
    """Fresh servers on free ports; what an earlier run in the same folder left is stopped first."""
    folder = Folder(args.dir)
    stop_recorded(folder)
    remove_data(folder)
    folder.make()
    ports = free_ports(6)
    env = {
        "POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": str(ports[0]),
        "POSTGRES_USER": "shop", "POSTGRES_PASSWORD": "shop",
        "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{ports[1]}", "KAFKA_CONTROLLER_PORT": str(ports[2]),
        "REDIS_URL": f"redis://127.0.0.1:{ports[3]}",
        "MONGODB_URI": f"mongodb://127.0.0.1:{ports[4]}/cart",
        "SMTP_URL": f"smtp://127.0.0.1:{ports[5]}",
        "MAILDIR": str(servers.maildir(folder)),
    }
    programs = servers.all_servers(folder, Settings(env), for_tests=True)

    def begin(program):
        program.prepare()
        program.launch(folder)

    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(begin, programs))
        wait_ready(programs, SERVER_PATIENCE)
    except BaseException:
        for program in programs:
            sys.stderr.write(f"--- {program.name}\n{tail(folder.log(program.name))}")
        stop_recorded(folder)
        raise
    env["SERVERS_PIDS"] = " ".join(str(recorded_pid(folder, program.name)) for program in programs)
    write_private(args.write_env, "".join(f"{name}={value}\n" for name, value in env.items()))


def servers_down(args):
    folder = Folder(args.dir)
    stop_recorded(folder)
    remove_data(folder)


# --- the command line ---------------------------------------------------------------------------

def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.set_defaults(dir=REPO / ".local", env=REPO / ".env", bin=REPO / "build/release/bin",
                        stack=chosen_stack)
    subcommands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name, run, summary):
        added = subcommands.add_parser(name, help=summary, description=summary)
        added.set_defaults(run=run)
        added.add_argument("--dir", default=argparse.SUPPRESS, help="where data and run files lie")
        added.add_argument("--env", default=argparse.SUPPRESS, help="the settings")
        added.add_argument("--bin", default=argparse.SUPPRESS, help="where the executables lie")
        return added

    command("up", up, "start everything, wait until it is ready")
    command("stop", stop, "stop everything, keep the data")
    command("down", down, "stop everything, remove data and logs")
    command("backup", save_backup, "copy the data of all databases into a folder").add_argument("--to")
    command("restore", restore_backup, "start an empty stack with such a copy").add_argument("--from", dest="source")
    command("status", status, "program, state, process id, readiness, ports")
    command("certs", make_certificates, "make certificates for TLS=on, where they are missing")
    command("which", which, "native or docker: which stack commands are about")
    added = command("scale", scale, "run a service several times")
    added.add_argument("service", nargs="?")
    added.add_argument("count", nargs="?", type=int)
    for name, run, summary in (("stop-program", stop_program, "stop one program"),
                               ("start-program", start_program, "start one program, wait for it"),
                               ("kill-program", kill_program, "SIGKILL one program; it is started again")):
        command(name, run, summary).add_argument("name")
    commands.add_commands(command)
    messages.add_commands(command)

    added = command("servers-up", servers_up, "servers alone on free ports, for tests")
    added.add_argument("--write-env", required=True, metavar="FILE")
    command("servers-down", servers_down, "stop those servers, remove their data")
    for name, run, summary in (("init-env", make_env, "make .env and its secrets, if missing"),
                               ("free-env", lambda args: free_env(args.template, args.out),
                                "make an .env whose ports are free ones")):
        added = command(name, run, summary)
        added.add_argument("--from", dest="template", default=REPO / ".env.example", metavar="FILE")
        added.add_argument("--out", required=True, metavar="FILE")
    command("prepare-kafka", lambda args: servers.prepare_kafka(),
            "format Kafka's log folder and archive its classes, once")
    return parser.parse_args()


def main():
    args = arguments()
    socket.setdefaulttimeout(30)  # supervisor's transport sets none
    try:
        args.run(args)
    except StackError as error:
        sys.exit(f"error: {error}")
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
