"""What every end-to-end test has: the running stack, and somebody who may do everything."""

import unittest

from harness import Person, say

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
