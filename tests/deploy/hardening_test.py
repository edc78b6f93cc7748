#!/usr/bin/python3
"""Are the executables built to make the most of an attacker's mistake? Read from what the linker wrote."""

import re
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy/local"))

from settings import PROCESSES  # pylint: disable=wrong-import-position

binaries = None  # their folder, set below


def read_elf(program, *options):
    return subprocess.run(["readelf", "--wide", *options, binaries / program],
                          check=True, capture_output=True, text=True).stdout


class EveryProcess(unittest.TestCase):
    def each(self, *options):
        for program in (*PROCESSES, "messages"):
            yield program, read_elf(program, *options)

    def test_is_loaded_at_an_address_that_nobody_knows(self):
        for program, header in self.each("--file-header"):
            self.assertRegex(header, r"Type:\s+DYN", program)

    def test_has_no_stack_that_runs(self):
        for program, segments in self.each("--segments"):
            self.assertRegex(segments, r"GNU_STACK .* RW +0x", program)

    def test_has_its_calls_into_libraries_fixed_before_it_starts(self):
        for program, segments in self.each("--segments"):
            self.assertIn("GNU_RELRO", segments, program)
        for program, dynamic in self.each("--dynamic"):
            self.assertRegex(dynamic, r"\(FLAGS(_1)?\).*\b(BIND_)?NOW\b", program)

    def test_notices_a_stack_that_was_overwritten_and_a_copy_beyond_a_buffer(self):
        for program, symbols in self.each("--dyn-syms"):
            self.assertIn("__stack_chk_fail", symbols, program)
            self.assertRegex(symbols, re.compile(r" UND __\w+_chk@", re.M), program)


if __name__ == "__main__":
    binaries = Path(sys.argv.pop())
    unittest.main()
