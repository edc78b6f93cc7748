#!/usr/bin/python3
"""How much memory clients can make a gateway take: a process of its own, with no service behind it.

  gateway/memory_test.py build/dev/bin/gateway [unittest arguments]
"""

import contextlib
import http.client
import json
import os
import random
import resource
import selectors
import socket
import subprocess
import sys
import threading
import time
import unittest

# What the gateway stays below whatever clients send: half of what its container has.
MOST = 128 << 20
# What may stay with the allocator of what it needed for a while.
REST = 24 << 20
SENT = 950_000
# Nearly as many connections as one client may have, and what each of them may take, whatever it sends, while no body is
# stored. Some 12 KB of it are the connection's own.
CONNECTIONS = 1900
A_CONNECTION = 24 << 10

gateway_binary = None


def free_port():
    """A port that is nobody's, below those that clients' own sockets get."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def eventually(what, condition, limit=60):
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {limit} s in vain for {what}")
        time.sleep(0.02)


class Senders:
    """Clients that send a large part of a body each, and never its end, in a thread of their own."""

    def __init__(self, port, addresses, count):
        self.answers = []
        self.stopping = False
        self.selector = selectors.DefaultSelector()
        head = (f"POST /api/v1/auth/register HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                f"Content-Length: 1000000\r\n\r\n").encode()
        self.message = memoryview(head + b" " * SENT)
        self.sending = 0
        for number in range(count):
            sender = socket.socket()
            sender.bind((addresses[number % len(addresses)], 0))
            sender.connect(("127.0.0.1", port))
            sender.setblocking(False)
            self.selector.register(sender, selectors.EVENT_READ | selectors.EVENT_WRITE, [0])
            self.sending += 1
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.stopping:
            for key, events in self.selector.select(0.1):
                self.step(key.fileobj, key.data, events)

    def step(self, sender, sent, events):
        try:
            if events & selectors.EVENT_READ:
                answer = sender.recv(65536)
                if answer.startswith(b"HTTP/1.1 "):
                    self.answers.append(int(answer[9:12]))
                if not answer:
                    raise OSError("closed")
            if events & selectors.EVENT_WRITE:
                sent[0] += sender.send(self.message[sent[0]:sent[0] + 65536])
                if sent[0] == len(self.message):
                    self.sending -= 1
                    self.selector.modify(sender, selectors.EVENT_READ, sent)
        except BlockingIOError:
            pass
        except OSError:  # it has been answered, and its connection is at its end
            if sent[0] < len(self.message):
                self.sending -= 1
            self.selector.unregister(sender)
            sender.close()

    def close(self):
        self.stopping = True
        self.thread.join()
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()
        self.selector.close()


class Memory(unittest.TestCase):
    def setUp(self):
        self.port, admin = free_port(), free_port()
        nobody = "127.0.0.1:1"
        settings = {f"{name}_ADDR": nobody for name in
                    ("AUTH", "USERS", "PRODUCTS", "CART", "ORDERS", "STOCK", "SHIPPING", "NOTIFICATION")}
        self.process = subprocess.Popen([gateway_binary], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        env=os.environ | settings | {
            "GATEWAY_PORT": str(self.port), "GATEWAY_ADMIN_PORT": str(admin), "REDIS_URL": f"redis://{nobody}",
            "LOG_LEVEL": "warning", "HTTP_BODY_TIMEOUT_MS": "300000", "RATE_LIMIT_ENABLED": "false"})
        self.addCleanup(self.process.wait)
        self.addCleanup(self.process.kill)
        eventually("the gateway to answer", self.serves)

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def serves(self):
        try:
            return self.ask("GET", "/openapi.json")[0] == 200
        except OSError:
            return False

    def memory(self, what):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            for line in file:
                if line.startswith(what):
                    return int(line.split()[1]) * 1024
        raise AssertionError(f"no {what}")

    def start_senders(self, addresses):
        senders = Senders(self.port, addresses, 1000)
        self.addCleanup(lambda: senders.stopping or senders.close())
        return senders

    def check(self, senders, before, refused):
        """Others are served while they send and when they have; then the memory goes back."""
        served = 0
        while senders.sending > 0:
            self.assertTrue(self.serves())
            served += 1
        self.assertTrue(self.serves())
        peak = self.memory("VmHWM")
        self.assertLess(peak, MOST, "at the worst")
        eventually("the refusals", lambda: len(senders.answers) >= refused)
        self.assertLessEqual(set(senders.answers), {429, 503})
        status, body = self.ask("POST", "/api/v1/auth/login", '{"email":"a@example.com","password":"x"}')
        senders.close()
        eventually("the memory to go back", lambda: self.serves() and self.memory("VmRSS") < before + REST)
        print(f"{served} served meanwhile; {before >> 20} MB before, {peak >> 20} MB at most, "
              f"{self.memory('VmRSS') >> 20} MB after", file=sys.stderr)
        return status, json.loads(body)["error"]["code"]

    def test_a_thousand_unfinished_bodies_of_one_client_leave_room_for_others(self):
        before = self.memory("VmRSS")
        answered = self.check(self.start_senders(["127.0.0.2"]), before, 990)
        # Others' bodies are taken: it is auth that is away here.
        self.assertEqual((503, "UNAVAILABLE"), answered)

    def test_a_thousand_unfinished_bodies_of_many_clients_leave_reads_alone(self):
        before = self.memory("VmRSS")
        self.check(self.start_senders([f"127.0.0.{host}" for host in range(2, 52)]), before, 960)

    def check_refused(self, rest, status):
        """Requests to log in that go on with `rest`, which is refused."""
        before = self.memory("VmRSS")
        message = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n" + rest
        with contextlib.ExitStack() as stack:
            senders = []
            for _ in range(CONNECTIONS):
                sender = socket.create_connection(("127.0.0.1", self.port), 20, ("127.0.0.2", 0))
                senders.append(stack.enter_context(sender))
                with contextlib.suppress(ConnectionError):  # it has its answer already
                    sender.sendall(message)
            for sender in senders:
                with contextlib.suppress(ConnectionError):
                    self.assertEqual(b"HTTP/1.1 %d" % status, sender.recv(12))
            self.assertTrue(self.serves())
            peak = self.memory("VmHWM")
        print(f"{before >> 20} MB before, {peak >> 20} MB at most", file=sys.stderr)
        self.assertLess(peak, before + CONNECTIONS * A_CONNECTION)

    def test_headers_of_nothing_but_fields_take_little(self):
        self.check_refused(b"Content-Length: 9\r\n" + b"a:\r\n" * 990 + b"\r\n", 431)

    def test_chunk_extensions_without_an_end_take_little(self):
        self.check_refused(b"Transfer-Encoding: chunked\r\n\r\n1;" + b"a" * 70_000, 400)


if __name__ == "__main__":
    gateway_binary = sys.argv.pop(1)
    # A thousand connections need more descriptors than many shells give, here and in the gateway.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    unittest.main()
