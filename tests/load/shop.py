"""The platform under load: a stack of its own, people and goods in it, and what its processes use."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

REPO = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO / "deploy" / "local"), str(REPO / "tests" / "e2e")]

import servers  # pylint: disable=wrong-import-position
from harness import Person, Stack, fetch, say, wait_for  # pylint: disable=wrong-import-position
from processes import Folder, recorded_pid  # pylint: disable=wrong-import-position
from settings import DATABASES, PROCESSES, TOOLS, Settings  # pylint: disable=wrong-import-position
from settings import change, free_ports, write_private  # pylint: disable=wrong-import-position

SERVERS = ("postgres", "redis", "kafka", "mongo", "mail", "supervisord")
# Enough of each thing that no order and no cart is ever refused.
PLENTY = 1_000_000_000
LOAD = Path(__file__).resolve().parent


class Shop(Stack):
    """A stack on free ports with the settings of a production: bcrypt's usual cost, few logs."""

    def __init__(self, folder, binaries, repo=REPO):
        super().__init__(folder, binaries)
        self.repo = repo  # the checkout whose stack it is
        self.beside = []  # what runs besides the stack: (name, Popen)

    def start(self, settings=None):
        """Makes a new stack and starts it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.script("free-env", "--from", str(self.repo / ".env.example"), "--out", str(self.env_file))
        lines = [line for line in self.env_file.read_text().splitlines()
                 if not line.startswith("BCRYPT_COST=")]
        write_private(self.env_file, "\n".join(lines))
        self.set({
            "LOG_LEVEL": "warning", "ACCESS_TOKEN_SECONDS": "7200",
            "ALLOW_ROLE_AT_REGISTRATION": "false", "ORDER_MAX_PENDING": "1000000000",
            "RATE_LIMIT_ENABLED": "false", "MAILS_PER_ADDRESS_AND_DAY": "0"} | (settings or {}))
        self.script("up")

    def set(self, settings):
        write_private(self.env_file, change(self.env_file.read_text(), settings))
        self.settings = Settings.read(self.env_file)

    def start_again(self, settings=None):
        """Stops it and starts it with its data, all of it in memory, and with other settings; seconds until everything
        was ready."""
        self.script("stop")
        self.set(settings or {})
        begun = time.monotonic()
        self.script("up")
        return time.monotonic() - begun

    def stop(self):
        for _, process in self.beside:
            process.terminate()
        for _, process in self.beside:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
        self.script("down", check=False)

    def start_beside(self, name, command, environment=None):
        """Starts a program that the stack's own script does not know of."""
        log = open(self.folder / f"{name}.log", "wb")  # pylint: disable=consider-using-with
        with log:
            self.beside.append((name, subprocess.Popen(  # pylint: disable=consider-using-with
                [str(word) for word in command], env=os.environ | (environment or {}), cwd=self.repo,
                stdout=log, stderr=subprocess.STDOUT)))

    def environment_of(self, process):
        """What the stack has given to a process of its own."""
        return psutil.Process(recorded_pid(Folder(self.folder), process)).environ()

    def start_gateway(self, name, changes):
        """Another gateway, which keeps no answers; its port."""
        port, admin = free_ports(2)
        self.start_beside(name, [self.binaries / "gateway"], self.environment_of("gateway") | {
            "GATEWAY_PORT": str(port), "GATEWAY_ADMIN_PORT": str(admin), "ANSWER_CACHE_MS": "0"} | changes)
        wait_for(name, lambda: servers.answers("127.0.0.1", port), 30)
        return port

    def start_collector(self):
        """Something that takes spans; where to."""
        port, folder = free_ports(1)[0], self.folder / "collector"
        folder.mkdir()
        self.start_beside("collector", ["/usr/bin/python3", REPO / "deploy/local/collector.py", "127.0.0.1", port, folder])
        wait_for("the collector", lambda: servers.answers("127.0.0.1", port), 10)
        return f"http://127.0.0.1:{port}"

    def start_without_cache(self):
        """Another gateway before another products that finds no Redis: the port of that gateway; where that
        products is, by TCP and as gateways of this machine call it."""
        products, products_admin, nobody = free_ports(3)
        ours = self.environment_of("products")
        self.start_beside("products-uncached", [self.binaries / "products"], ours | {
            "PRODUCTS_PORT": str(products), "PRODUCTS_ADMIN_PORT": str(products_admin),
            "REDIS_URL": f"redis://127.0.0.1:{nobody}"})
        tcp = local = f"127.0.0.1:{products}"
        if "SERVICE_SOCKETS" in ours:
            local = f"unix:{ours['SERVICE_SOCKETS']}/products-{products}.sock"
        return self.start_gateway("gateway-uncached", {"PRODUCTS_ADDR": local}), tcp, local

    def start_peer(self, products):
        """grpc-gateway before a products service at that address; its port."""
        port = free_ports(1)[0]
        self.start_beside("grpc-gateway", [TOOLS / "bin" / "grpc-gateway", "-listen", f"127.0.0.1:{port}", "-products", products])
        wait_for("grpc-gateway", lambda: servers.answers("127.0.0.1", port), 10)
        return port

    # --- who and what is in it ---

    def fill(self, buyers):
        """The catalogue of make seed, with plenty of everything, and some buyers."""
        self.script("seed")
        with ThreadPoolExecutor(4) as pool:
            people = list(pool.map(lambda _: Person(self, "buyer"), range(buyers)))
        boss = Person.super_admin(self)
        total = boss.call("GET", "/products?limit=1").data["total"]
        for product in range(1, total + 1):
            boss.call("PUT", f"/products/{product}", {"stock": PLENTY}).data  # pylint: disable=expression-not-assigned
        self.analyse()
        return people, total

    def analyse(self):
        """The plans of a database that has run for a while, not those of one just filled."""
        for database in DATABASES:
            self.sql(database, "VACUUM ANALYZE;")

    def fill_up(self, products):
        """More products, straight into the database, until there are so many, with plenty of each."""
        first = int(self.sql("products", "SELECT max(id) + 1 FROM products;")[0][0])
        self.sql("products", f"SET catalogue.first = {first};\nSET catalogue.count = {products - first + 1};\n"
                             + (LOAD / "catalogue.sql").read_text() + f"""
            INSERT INTO stock_movements (product_id, kind, on_hand)
            SELECT id, 'RECEIVED', {PLENTY} - on_hand FROM products WHERE id >= {first};
            UPDATE products SET on_hand = {PLENTY} WHERE id >= {first};""")
        self.sql("products", "VACUUM ANALYZE;")

    # --- PostgreSQL ---

    def sql(self, database, text):
        """What a query answers, as the database's superuser: rows of strings."""
        folder = Folder(self.folder)
        user, password = servers.postgres_superuser(folder, self.settings, for_tests=False)
        done = servers.psql(self.settings, user, password, database, ["-X", "-q", "-A", "-t", "-F", "\t"],
                            input="\\set ON_ERROR_STOP on\n" + text, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{database}: {done.stderr}")
        return [line.split("\t") for line in done.stdout.splitlines()]

    def superuser(self):
        return servers.postgres_superuser(Folder(self.folder), self.settings, for_tests=False)

    def copy_of_orders(self):
        """A database with the tables of orders that no service looks at, for pgbench to write to."""
        user, password = self.superuser()
        environment = os.environ | {"PGHOST": self.settings["POSTGRES_HOST"], "PGUSER": user,
                                    "PGPORT": self.settings["POSTGRES_PORT"], "PGPASSWORD": password}
        schema = subprocess.run([servers.postgres_bin("pg_dump"), "--schema-only", "--no-owner", "orders"],
                                env=environment, capture_output=True, text=True, check=True).stdout
        self.sql("postgres", "CREATE DATABASE bench_orders;")
        self.sql("bench_orders", schema)
        return "bench_orders"

    # --- what its processes use ---

    def processes(self):
        """{name: [process id, …]}; PostgreSQL is split by the databases it works for."""
        folder = Folder(self.folder)
        found = {name: [pid] for name in (*PROCESSES, *SERVERS) if (pid := recorded_pid(folder, name))}
        for child in psutil.Process(found["postgres"][0]).children():
            try:  # postgres: role database address state
                words = " ".join(child.cmdline()).split()
            except psutil.Error:
                continue
            database = words[2] if len(words) > 3 and words[2] in DATABASES else ""
            found.setdefault(f"postgres/{database}".rstrip("/"), []).append(child.pid)
        for name, process in self.beside:
            found.setdefault(name.removesuffix("-uncached"), []).append(process.pid)
        return found

    def cpu(self):
        """Seconds of CPU that each has used so far; of PostgreSQL's ended children, in `postgres`."""
        used = {}
        for name, pids in self.processes().items():
            used[name] = 0
            for pid in pids:
                try:
                    times = psutil.Process(pid).cpu_times()
                except psutil.Error:
                    continue
                used[name] += times.user + times.system
                if name == "postgres":  # the postmaster has waited for them
                    used[name] += times.children_user + times.children_system
        return used

    def log_level(self, level):
        """What its own processes log from now on, as by make log-level."""
        for name in PROCESSES:
            answer = fetch(self.admin_port(name), f"/log-level/{level}", "PUT", plain=True)
            if answer.status != 200:
                raise RuntimeError(f"{name} does not log from {level} on: {answer}")

    def pin(self, cores):
        """Keeps everything that runs, and whatever that starts, on some cores."""
        for pids in self.processes().values():
            for pid in pids:
                for thread in Path(f"/proc/{pid}/task").glob("*"):
                    try:
                        os.sched_setaffinity(int(thread.name), cores)
                    except ProcessLookupError:
                        pass

    def memory(self):
        """{process of ours: (resident, proportional)} in MB."""
        found = {name: psutil.Process(recorded_pid(Folder(self.folder), name)).memory_full_info() for name in PROCESSES}
        return {name: (sizes.rss / 2**20, sizes.pss / 2**20) for name, sizes in found.items()}

    def settle(self, limit=90):
        """Waits until the stack has nothing left to do: what events set off outlasts the answers."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            before = sum(self.cpu().values())
            time.sleep(0.5)
            if sum(self.cpu().values()) - before < 0.15:  # with nothing to do it uses a fifth of a core
                return
        say(f"the stack was still busy after {limit} s")
