"""What every end-to-end test has: the running stack, and somebody who may do everything."""

import json
import subprocess
import unittest

from harness import Person, say, tool

stack = None  # set by run.py before the tests are loaded


class Case(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.shop = stack
        cls.boss = Person.super_admin(stack)

    def setUp(self):
        say(f"=== {self.id()}")

    def stock_of(self, product):
        return self.shop.call("GET", f"/products/{product}").data["stock"]

    def grpcurl(self, service, *arguments, headers=(), body=None, certificate="client"):
        """Calls a service past the gateway, over TLS with this certificate; answers grpcurl's code and what it wrote."""
        words = [tool("grpcurl", "bin/grpcurl"), "-max-time", "10"]
        if self.shop.http_ca:
            own, key = self.shop.certificate(certificate)
            words += ["-cacert", self.shop.http_ca, "-cert", own, "-key", key]
        else:
            words.append("-plaintext")
        for header in headers:
            words += ["-H", header]
        flags = [argument for argument in arguments if argument.startswith("-")]
        rest = [argument for argument in arguments if not argument.startswith("-")]
        if body is not None:
            words += ["-d", json.dumps(body)]
        words += flags + [f"127.0.0.1:{self.shop.port(service)}"] + rest
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
        return done.returncode, done.stdout + done.stderr
