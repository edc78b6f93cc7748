"""Another process of a service beside the one that the stack has: on ports of its own, and started again whenever it
dies, as supervision does with the first."""

import threading
from pathlib import Path

from harness import REPO, fetch
from processes import Folder, Program, recorded_pid
from settings import Settings


class Replica:
    def __init__(self, shop, service, port, admin_port, number=2, binaries=None):  # pylint: disable=too-many-arguments
        self.name = f"{service}-{number}"
        self.admin_port = admin_port
        self.folder = Folder(shop.folder)
        ports = {f"{service.upper()}_PORT": port, f"{service.upper()}_ADMIN_PORT": admin_port}
        environment = Settings.read(shop.env_file).environment_of(service)
        self.program = Program(
            self.name, [Path(binaries or shop.binaries).resolve() / service], ports, self.answers, cwd=str(REPO),
            environment=environment | {name: str(value) for name, value in ports.items()})
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def start(self):
        self.thread.start()

    def run(self):
        process = None
        while not self.ended.wait(0.2):
            if process is None or process.poll() is not None:
                process = self.program.launch(self.folder)

    def end(self):
        """It is not started again; the stack's own end stops it with the others."""
        self.ended.set()
        if self.thread.is_alive():
            self.thread.join()

    def pid(self):
        return recorded_pid(self.folder, self.name)

    def answers(self):
        try:
            return fetch(self.admin_port, "/readyz", plain=True).status == 200
        except OSError:
            return False
