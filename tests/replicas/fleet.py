"""A stack of its own in which processes have replicas, as a deployment has them."""

import sys
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "chaos"), str(HERE.parent / "e2e"), str(HERE.parents[1] / "deploy/local")]

import psutil  # pylint: disable=wrong-import-position

import checks  # pylint: disable=wrong-import-position
import outside  # pylint: disable=wrong-import-position
from databases import Databases  # pylint: disable=wrong-import-position
from harness import Person, Stack, fetch, say, wait_for  # pylint: disable=wrong-import-position
from processes import Folder, recorded_pid  # pylint: disable=wrong-import-position
from replicas import Replica  # pylint: disable=wrong-import-position
from settings import PROCESSES, free_ports  # pylint: disable=wrong-import-position

# Short, so that an order has its whole life in a run. The drain delay is more than a client of the load is silent.
SETTINGS = {"SHIPPING_DISPATCH_SECONDS": "0.5", "SHIPPING_DELIVERY_SECONDS": "0.5", "HTTP_REUSE_PORT": "true",
            "HTTP_DRAIN_DELAY_MS": "1000", "LOG_LEVEL": "warning"}
QUIET = 120  # seconds until everything has to be at rest
PIECES = 100_000


def tell(wrong, good):
    """Prints what is wrong, or that all is good; answers whether it is."""
    for sentence in wrong[:40]:
        print(sentence)
    print(f"{len(wrong)} things are wrong" if wrong else good)
    return not wrong


class Member:
    """One process of a service: the stack's own, or a replica. Whoever has started it starts it again when it ends."""

    def __init__(self, shop, service, replica=None):
        self.service = service
        self.replica = replica
        self.name = replica.name if replica else service
        self.folder = Folder(shop.folder)
        self.admin_port = replica.admin_port if replica else shop.admin_port(service)
        self.port = replica.program.ports.get(f"{service.upper()}_PORT") if replica else (
            shop.port(service) if "PORT" in PROCESSES[service].ports else None)

    def pid(self):
        return recorded_pid(self.folder, self.name)

    def ready(self):
        """Ready, and its consumers too."""
        try:
            return fetch(self.admin_port, "/readyz?strict", plain=True).status == 200
        except OSError:
            return False

    def clients(self):
        """The processes that are connected to it."""
        return {one.pid for one in psutil.net_connections("tcp")
                if one.status == psutil.CONN_ESTABLISHED and one.raddr and one.raddr.port == self.port}

    def samples(self):
        """Its metrics: {'name{labels}': value}."""
        lines = fetch(self.admin_port, "/metrics", plain=True).text.splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)
                if name and not name.startswith("#")}


class Fleet:
    """`counts` says how many processes there are of a service. The stack's own run from `binaries`, the others from
    `others`, where that is given."""

    def __init__(self, folder, binaries, counts, others=None, *, stack=Stack, settings=None):  # pylint: disable=too-many-arguments
        self.shop = stack(folder, binaries)
        self.own_settings = settings or SETTINGS
        self.counts = counts
        self.others = others or binaries
        self.numbers = {}   # service -> port and admin port of each of its other processes
        self.members = []
        self.databases = None
        self.boss = None
        self.people = []
        self.products = {}  # id -> how many pieces there are

    def start(self, people):
        self.start_first(people)
        self.start_others()

    def start_first(self, people):
        """One process of each service, which know already where the others will be."""
        self.shop.prepare(self.own_settings)
        ports = iter(free_ports(2 * sum(self.counts.values())))
        self.numbers = {service: [(next(ports), next(ports)) for _ in range(count - 1)]
                        for service, count in self.counts.items()}
        for service, numbers in self.numbers.items():
            if service != "gateway":  # all at one port
                all_ports = [self.shop.port(service), *(port for port, _ in numbers)]
                self.shop.change({f"{service.upper()}_ADDR": "ipv4:" + ",".join(
                    f"127.0.0.1:{port}" for port in all_ports)})
        self.shop.script("up")
        self.members = [Member(self.shop, service) for service in PROCESSES]
        self.databases = Databases(self.shop)
        self.boss = Person.super_admin(self.shop)
        self.products = {self.boss.make_product(f"Replicated {number}", Decimal("12.50"), PIECES): PIECES for number in range(4)}
        with ThreadPoolExecutor(4) as pool:
            self.people = list(pool.map(lambda _: Person(self.shop), range(people)))

    def start_others(self):
        for service, numbers in self.numbers.items():
            for number, (port, admin_port) in enumerate(numbers, 2):
                port = self.shop.port("gateway") if service == "gateway" else port
                replica = Replica(self.shop, service, port, admin_port, number, self.others)
                replica.start()
                self.members.append(Member(self.shop, service, replica))
        for member in self.members:
            wait_for(f"{member.name} to be ready", member.ready, 90)

    def of(self, service):
        return [member for member in self.members if member.service == service]

    def wait_for_quiet(self):
        left = {}

        def at_rest():
            left.update(outside.under_way(self.shop, self.databases))
            assert not any(left.values()), left
            return True
        wait_for("quiet", at_rest, QUIET)

    def violations(self, requests):
        """What does not hold of the checks of `make chaos`, once everything is at rest."""
        seen = checks.Seen(requests=requests)
        outside.look(self.shop, self.databases, self.people, self.products, seen)
        say(f"{len(seen.orders)} orders, {len(seen.written)} events written, {len(seen.events)} on the topics,"
            f" {len(seen.mails)} mails")
        return [f"{name}: {sentence}" for name, found in checks.violations(seen).items() for sentence in found]

    def end(self, passed):
        for member in self.members:
            if member.replica:
                member.replica.end()
        self.shop.script("down" if passed else "stop", check=False)
        if not passed:
            say(f"logs: {self.shop.folder / 'run' / 'log'}")
