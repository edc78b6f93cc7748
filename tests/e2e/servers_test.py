"""Who gets into the servers behind the services, and to what they write."""

import socket
import stat
from decimal import Decimal

from case import Case
from harness import wait_for
from servers import psql
from settings import DATABASES, READERS, REDIS_USERS, ROLES, Settings


class Servers(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.settings = Settings.read(cls.shop.env_file)

    def redis(self, *commands, user=None):
        """What Redis replies to each command, a line each."""
        login = [f"AUTH {user} {self.settings[user.upper() + '_REDIS_PASSWORD']}"] if user else []
        with socket.create_connection(self.settings.address("REDIS_URL"), timeout=10) as connection:
            replies = connection.makefile("rb")
            answered = []
            for command in (*login, *commands):
                connection.sendall(command.encode() + b"\r\n")
                answered.append(replies.readline().decode().strip())
        return answered[len(login):]

    def test_a_roles_password_opens_what_is_for_it_and_no_other_database(self):
        for role in ROLES:
            for database in DATABASES:
                with self.subTest(role=role, database=database):
                    done = psql(self.settings, role, self.settings.role_password(role), database, ["-Xqc", "SELECT 1"],
                                capture_output=True, text=True)
                    is_for_it = role == database or database in READERS.get(role, ())
                    self.assertEqual(is_for_it, done.returncode == 0, done.stderr)

    def test_redis_lets_its_users_do_their_work_and_others_nothing(self):
        read, forged = "GET products:0", "PUBLISH products:changed 0"
        self.assertEqual(["+PONG"], self.redis("PING"))
        for reply in self.redis(read, forged, "FLUSHALL", "CONFIG GET *"):
            self.assertTrue(reply.startswith("-NOPERM"), reply)
        for reply in self.redis(read, forged, "SUBSCRIBE other", user="gateway"):
            self.assertTrue(reply.startswith("-NOPERM"), reply)
        for reply in self.redis("GET other", "PUBLISH other 1", "FLUSHALL", user="products"):
            self.assertTrue(reply.startswith("-NOPERM"), reply)
        self.assertNotIn("-", [reply[:1] for reply in self.redis(read, forged, user="products")])

    def test_products_are_read_from_redis(self):
        product = self.boss.make_product("Cached", Decimal("1.00"), 1)
        before = self.shop.metric("products", "cache_requests_total", 'outcome="hit"')

        def is_read():
            self.shop.call("GET", f"/products/{product}")  # which the gateway itself remembers for a second
            return self.shop.metric("products", "cache_requests_total", 'outcome="hit"') > before
        wait_for("a product to come from Redis", is_read, 30)

    def test_each_process_knows_its_own_passwords_alone(self):
        passwords = {name: value for name, value in self.settings.items() if name.endswith("_PASSWORD") and value}
        for process in (*ROLES, *REDIS_USERS):
            script = (self.shop.folder / "run/start" / process).read_text()
            own = {f"{process.upper()}_{server}_PASSWORD" for server in ("POSTGRES", "REDIS")}
            own |= {"SUPER_ADMIN_PASSWORD"} if process == "auth" else set()
            self.assertEqual(set(), {name for name, value in passwords.items() if value in script} - own, process)

    def test_what_they_write_is_closed_to_others(self):
        open_to_others = []
        for part in ("data", "run"):
            top = self.shop.folder / part
            self.assertFalse(top.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH), top)
            if top.stat().st_mode & stat.S_IXOTH:
                open_to_others += [path for path in top.iterdir()
                                   if path.stat().st_mode & (stat.S_IRWXO | stat.S_IRWXG)]
        self.assertEqual([], open_to_others)
