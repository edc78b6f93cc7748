"""supervisord, the process manager: its configuration, and its XML-RPC over a Unix socket."""

import hashlib
import http.client
import os
import resource
import tempfile
import time
import xmlrpc.client
from pathlib import Path

from processes import Program, recorded_pid, stop_recorded
from settings import StackError

NOT_RUNNING = 70  # supervisor.xmlrpc.Faults

# Longer than the ten seconds in which every process promises to stop.
STOP_PATIENCE = 15


def socket_path(folder):
    """In the run folder, unless that is deeper than a Unix socket's address can hold."""
    usual = folder.run / "supervisor.sock"
    if len(str(usual)) < 90:
        return str(usual)
    name = hashlib.sha256(str(folder.root).encode()).hexdigest()[:12]
    return os.path.join(tempfile.gettempdir(), f"shop-{os.getuid()}-{name}.sock")


class Supervisor:
    def __init__(self, folder):
        self.folder = folder
        self.config = folder.run / "supervisord.conf"

    @property
    def rpc(self):
        # Not at the top: stack.py runs before install-all.sh has brought it, and for containers without it.
        from supervisor.xmlrpc import SupervisorTransport  # pylint: disable=import-outside-toplevel
        transport = SupervisorTransport(serverurl=f"unix://{socket_path(self.folder)}")
        return xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=transport).supervisor

    def running(self):
        return recorded_pid(self.folder, "supervisord") is not None

    def write_config(self, programs):
        """Writes the configuration; answers whether it differs from what was there."""
        def literal(path):
            return str(path).replace("%", "%%")

        most_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        lines = ["; written by stack.py",
                 "[supervisord]", f"logfile={literal(self.folder.log('supervisord'))}",
                 f"pidfile={literal(self.folder.run / 'supervisord.pid')}",
                 f"childlogdir={literal(self.folder.logs)}", f"minfds={min(1024, most_files)}"]
        if os.geteuid() == 0:
            lines.append("user=root")
        lines += ["[unix_http_server]", f"file={literal(socket_path(self.folder))}", "chmod=0700",
                  "[rpcinterface:supervisor]",
                  "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface"]
        for program in programs:
            script = literal(self.folder.start / program.name)
            log = "NONE" if program.own_log else literal(self.folder.log(program.name))
            lines += [f"[program:{program.name}]", f'command=/bin/sh "{script}"', f"stdout_logfile={log}",
                      "redirect_stderr=true", "stdout_logfile_maxbytes=20MB",
                      "stdout_logfile_backups=1", f"stopsignal={program.stop_signal}",
                      f"stopwaitsecs={STOP_PATIENCE}",
                      # stack.py starts them, servers before services; after that they are started
                      # again whenever they die, with a pause that grows, and never given up on.
                      "autostart=false", "autorestart=true", "startsecs=1", "startretries=1000000"]
        text = "\n".join(lines) + "\n"
        changed = not self.config.exists() or self.config.read_text() != text
        self.config.write_text(text)
        return changed

    def start(self):
        Path(socket_path(self.folder)).unlink(missing_ok=True)
        daemon = Program("supervisord", ["/usr/bin/supervisord", "-n", "-c", self.config],
                         ports={}, ready=self.answers)
        if not os.path.exists("/usr/bin/supervisord"):
            raise StackError("supervisor is not installed: run ./install-all.sh")
        daemon.launch(self.folder)
        deadline = time.monotonic() + 15
        while not self.answers():
            if time.monotonic() > deadline:
                raise StackError(f"supervisord does not start; {self.folder.log('supervisord')} says why")
            time.sleep(0.05)

    def answers(self):
        try:
            self.rpc.getState()
            return True
        except (OSError, http.client.HTTPException, xmlrpc.client.Error):
            return False

    def info(self):
        """Program -> what supervisord knows of it; empty when supervisord does not run."""
        if not self.running():
            return {}
        return {entry["name"]: entry for entry in self.rpc.getAllProcessInfo()}

    def states(self):
        return {name: entry["statename"] for name, entry in self.info().items()}

    def start_programs(self, names):
        states = self.states()
        for name in names:
            if states.get(name) == "BACKOFF":  # waits for its next try: try now
                self.rpc.stopProcess(name)
            if states.get(name) not in ("RUNNING", "STARTING"):
                self.rpc.startProcess(name, False)

    def stop_programs(self, names):
        """Stops them side by side: each may take its ten seconds to drain."""
        states = self.states()
        for name in names:
            if states.get(name) in ("RUNNING", "STARTING", "BACKOFF"):
                self.stop(name)
        deadline = time.monotonic() + STOP_PATIENCE + 5
        while any(self.states().get(name) in ("STOPPING", "RUNNING", "STARTING") for name in names):
            if time.monotonic() > deadline:
                raise StackError("still stopping: " + ", ".join(names))
            time.sleep(0.05)

    def stop(self, name):
        """Also where it has ended at this moment: supervisord is about to start it again then, and would."""
        deadline = time.monotonic() + 2
        while True:
            try:
                self.rpc.stopProcess(name, False)
                return
            except xmlrpc.client.Fault as fault:
                if fault.faultCode != NOT_RUNNING:
                    raise
                if time.monotonic() > deadline:  # it stays as it is
                    return
                time.sleep(0.05)

    def shutdown(self):
        stop_recorded(self.folder, patience=STOP_PATIENCE + 5)
