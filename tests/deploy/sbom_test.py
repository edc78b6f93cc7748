#!/usr/bin/python3
"""That the lists of make sbom have what an executable is made of, and nothing else. The first two arguments are
the gateway and orders of a build folder."""

import re
import sys
import unittest
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "deploy/local"))

import sbom  # pylint: disable=wrong-import-position


def packages_of(program):
    """Without the versions that their names have: those are each release's of Debian."""
    return {re.sub(r"[-\d.]+(t64)?(-dev)?$", r"\2", name) for name in sbom.packages_of(BUILD, program)}


class Packages(unittest.TestCase):
    def test_are_those_of_the_libraries_that_a_program_loads(self):
        orders = packages_of("orders")
        self.assertLessEqual({"libc", "libgrpc++", "libpq", "libpqxx", "librdkafka", "libssl"}, orders)
        self.assertFalse({"libmongoc", "libgtest-dev"} & orders, "of another program, and of tests")

    def test_are_those_too_that_are_compiled_into_it(self):
        gateway = packages_of("gateway")
        self.assertIn("libboost-dev", gateway, "headers alone")
        self.assertNotIn("libgrpc++-dev", gateway, "whose library is there")
        self.assertNotIn("libpq", gateway)


if __name__ == "__main__":
    BUILD = Path(sys.argv.pop(1)).parents[1]
    sys.argv.pop(1)
    unittest.main()
