#!/usr/bin/python3
"""That the lists of make sbom have what an executable is made of, and nothing else. The first two arguments are
the gateway and orders of a build folder."""

import sys
import unittest
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "deploy/local"))

import sbom  # pylint: disable=wrong-import-position


class Packages(unittest.TestCase):
    def test_are_those_of_the_libraries_that_a_program_loads(self):
        orders = sbom.packages_of(BUILD, "orders")
        self.assertLessEqual({"libc6", "libgrpc++1.51", "libpq5", "libpqxx-6.4", "librdkafka1", "libssl3"}, orders)
        self.assertFalse({"libmongoc-1.0-0", "libgtest-dev"} & orders, "of another program, and of tests")

    def test_are_those_too_that_are_compiled_into_it(self):
        gateway = sbom.packages_of(BUILD, "gateway")
        self.assertIn("libboost1.81-dev", gateway, "headers alone")
        self.assertNotIn("libgrpc++-dev", gateway, "whose library is there")
        self.assertNotIn("libpq5", gateway)


if __name__ == "__main__":
    BUILD = Path(sys.argv.pop(1)).parents[1]
    sys.argv.pop(1)
    unittest.main()
