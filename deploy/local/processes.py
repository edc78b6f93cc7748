"""Programs of a stack: how each is started, recognised and stopped, with or without supervisord.

A program is started by a small shell script in <dir>/run/start. The script notes its own line of
/proc (process id and start time) before it becomes the program, so that whoever comes later, after
a crash too, can tell our process from a stranger that was given the same id.
"""

import hashlib
import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from settings import StackError

try:
    import psutil
except ImportError:  # a stack in containers needs no package
    psutil = None


class Folder:
    """Where one stack keeps its things: <dir>/data stays when it is stopped, <dir>/run need not."""

    def __init__(self, root):
        self.root = Path(root).resolve()
        self.data = self.root / "data"
        self.run = self.root / "run"
        self.start = self.run / "start"
        self.pids = self.run / "pid"
        self.logs = self.run / "log"

    def make(self):
        # What lies there is closed to others; the servers that run as users of their own have to get to their data.
        for folder, mode in ((self.data, 0o711), (self.run, 0o700), (self.start, 0o700), (self.pids, 0o700),
                             (self.logs, 0o700)):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(mode)

    def log(self, name):
        return self.logs / f"{name}.log"

    @property
    def sockets(self):
        """Where services listen for each other; None where it is too deep for the address of a Unix socket."""
        return self.run if is_socket_address(self.run / "notification-65535.sock") else None


@dataclass
class Program:
    name: str
    command: list
    ports: dict                      # setting -> port it listens on
    ready: Callable[[], bool]
    host: str = "127.0.0.1"
    environment: dict = field(default_factory=dict)
    user: str | None = None          # only meant when we are root
    cwd: str = "/"
    stop_signal: str = "TERM"
    files: tuple = ()                # it must be restarted when one of these changes
    stdin: Path | None = None        # what it reads, opened before it becomes another user
    own_log: bool = False            # it writes its log itself, and rotates it: libs/common/telemetry/log.h
    prepare: Callable[[], None] = lambda: None

    def script(self, folder):
        lines = ["#!/bin/sh", f"# Starts {self.name}; written by stack.py.",
                 f"cat /proc/$$/stat >{shlex.quote(str(folder.pids / self.name))}",
                 f"cd {shlex.quote(self.cwd)}",
                 "umask 077",
                 'ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"']
        environment = self.environment
        if self.own_log:
            # From here on supervisord sees nothing of it, also when it does not come as far as opening the file.
            lines.append(f"exec >>{shlex.quote(str(folder.log(self.name)))} 2>&1")
            environment = environment | {"LOG_FILE": str(folder.log(self.name))}
        lines += [f"export {name}={shlex.quote(value)}"
                  for name, value in sorted(environment.items())]
        command = shlex.join(as_user(self.user) + [str(word) for word in self.command])
        lines.append(f"exec {command}" + (f" <{shlex.quote(str(self.stdin))}" if self.stdin else ""))
        return "\n".join(lines) + "\n"

    def write_script(self, folder):
        path = folder.start / self.name
        with open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o700), "w") as file:
            file.write(self.script(folder))
        return path

    def fingerprint(self, folder):
        """Differs when the program's command, settings, configuration or binary does."""
        digest = hashlib.sha256(self.script(folder).encode())
        for file in self.files:
            stat = os.stat(file)
            digest.update(f"{file} {stat.st_mtime_ns} {stat.st_size}".encode())
        return digest.hexdigest()

    def launch(self, folder):
        """Starts it with no supervisor: in its own session, holding none of our descriptors. Answers its process."""
        with open(folder.log(self.name), "ab") as log:
            return subprocess.Popen(["/bin/sh", str(self.write_script(folder))], stdin=subprocess.DEVNULL,
                                    stdout=log, stderr=log, start_new_session=True)


def is_socket_address(path):
    """Whether a Unix socket's address can hold it: 107 bytes on Linux (unix(7))."""
    return len(os.fsencode(path)) < 108


def as_user(user):
    """The words that run what follows as another user, when we are root."""
    if user is None or os.geteuid() != 0:
        return []
    return ["/usr/bin/setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--"]


def can_reach(user, path):
    """Whether a user may walk to a folder; a checkout below /root is closed to all others."""
    return os.geteuid() != 0 or subprocess.run(
        as_user(user) + ["test", "-x", str(path)], check=False).returncode == 0


def give_to(user, path):
    if user is not None and os.geteuid() == 0:
        entry = pwd.getpwnam(user)
        os.chown(path, entry.pw_uid, entry.pw_gid)


def stat_fields(text):
    """Process id, state and start time of a /proc/<pid>/stat line; the name may hold spaces."""
    pid, rest = text.split(" ", 1)
    fields = rest.rpartition(")")[2].split()
    return int(pid), fields[0], fields[19]


def recorded_pid(folder, name):
    """The process id a program noted, if that very process still runs."""
    try:
        pid, _, started = stat_fields((folder.pids / name).read_text())
        _, state, now_started = stat_fields(Path(f"/proc/{pid}/stat").read_text())
    except (OSError, ValueError, IndexError):
        return None
    return pid if started == now_started and state != "Z" else None


def stop_recorded(folder, programs=(), patience=12):
    """Stops every process that was started in a folder and still runs; answers their names."""
    signals = {program.name: program.stop_signal for program in programs}
    names = [path.name for path in folder.pids.glob("*")] if folder.pids.exists() else []
    # The supervisor first, or it starts again what is stopped here.
    alive = []
    for name in sorted(names, key=lambda name: name != "supervisord"):
        pid = recorded_pid(folder, name)
        if pid:
            send(pid, signals.get(name, "INT" if name == "postgres" else "TERM"))
            alive.append(name)
    stopped = list(alive)
    deadline = time.monotonic() + patience
    while alive and time.monotonic() < deadline:
        time.sleep(0.05)
        alive = [name for name in alive if recorded_pid(folder, name)]
    for name in alive:
        send(recorded_pid(folder, name), "KILL")
    return stopped


def send(pid, name):
    try:
        if pid:
            os.kill(pid, signal.Signals[f"SIG{name}"])
    except ProcessLookupError:
        pass


def wait_ready(programs, timeout, describe=lambda name: "", tell=True):
    """Waits until every program answers, and says now and then what it waits for."""
    waiting = {program.name: program for program in programs}
    start = time.monotonic()
    told = start
    while True:
        waiting = {name: program for name, program in waiting.items() if not program.ready()}
        now = time.monotonic()
        if not waiting:
            return
        if now - start > timeout:
            raise StackError("not ready after %d s: %s" % (timeout, ", ".join(waiting)))
        if tell and now - told >= 3:
            names = ", ".join(name + describe(name) for name in waiting)
            print(f"  waiting for {names} ({now - start:.0f} s)", flush=True)
            told = now
        time.sleep(0.05)


def tail(path, lines=15):
    try:
        return "".join(Path(path).read_text(errors="replace").splitlines(True)[-lines:])
    except OSError:
        return ""


def port_owner(port):
    """Name and id of the process that listens on a port, as far as we may see it."""
    if psutil:
        for one in psutil.net_connections("tcp"):
            if one.status == psutil.CONN_LISTEN and one.laddr.port == port and one.pid:
                return f"{psutil.Process(one.pid).name()} (process {one.pid})"
    return "another process"


def check_ports(programs, settings):
    """Says of every port that somebody else has who that is and which setting changes ours."""
    taken = []
    for program in programs:
        for setting, port in program.ports.items():
            try:
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind((program.host, port))
            except OSError as error:
                taken.append(f"  {program.name} cannot have port {port}, {port_owner(port)} has it "
                             f"({error.strerror}): stop that, or change {setting} in {settings.path}")
    if taken:
        raise StackError("ports are taken:\n" + "\n".join(taken))


def remove_tree(path):
    if Path(path).is_symlink():
        Path(path).unlink()
    elif Path(path).exists():
        shutil.rmtree(path)
