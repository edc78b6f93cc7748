#!/usr/bin/env python3
"""protos.sh tells a change that breaks others from one that does not, whatever history there is."""

import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
ORDERS = "proto/shop/events/v1/orders.proto"
GOLDEN = "tests/golden/ORDER_CREATED/1.event"


class ProtosTest(unittest.TestCase):
    def setUp(self):
        self.repo = Path(self.enterContext(tempfile.TemporaryDirectory()))
        for name in ("proto", "tests/golden"):
            shutil.copytree(REPO / name, self.repo / name)
        (self.repo / "deploy/local").mkdir(parents=True)
        shutil.copy(REPO / "deploy/local/protos.sh", self.repo / "deploy/local")
        (self.repo / ".local").mkdir()
        (self.repo / ".local/tools").symlink_to((REPO / ".local/tools").resolve())
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit("first")

    def git(self, *words):
        settings = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "t",
                    "GIT_AUTHOR_EMAIL": "t@localhost", "GIT_COMMITTER_NAME": "t",
                    "GIT_COMMITTER_EMAIL": "t@localhost"}
        subprocess.run(["git", *words], cwd=self.repo, env=os.environ | settings, check=True,
                       capture_output=True)

    def commit(self, message):
        self.git("add", "proto", "tests", "deploy")
        self.git("commit", "--quiet", "--message", message)

    def edit(self, name, old, new):
        path = self.repo / name
        text = path.read_text()
        self.assertIn(old, text)
        path.write_text(text.replace(old, new, 1))

    def add_a_field(self):
        self.edit(ORDERS, "optional int64 cart_version = 9;", "optional int64 cart_version = 9;\n  string more = 99;")

    def move_a_field(self):
        self.edit(ORDERS, "optional int64 cart_version = 9;", "optional int64 cart_version = 19;")

    def breaking(self):
        return subprocess.run(["deploy/local/protos.sh", "breaking"], cwd=self.repo, capture_output=True,
                              text=True, check=False)

    def assert_good(self):
        done = self.breaking()
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def assert_broken(self, why):
        done = self.breaking()
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assertIn(why, done.stdout + done.stderr)

    def test_a_first_commit_has_nothing_to_be_compared_with(self):
        self.assertIn("no earlier version", self.assert_good())

    def test_a_new_field_breaks_nothing(self):
        self.add_a_field()
        self.assert_good()

    def test_an_uncommitted_change_is_compared_with_main(self):
        self.move_a_field()
        self.assert_broken("cart_version")

    def test_a_branch_is_compared_with_where_it_left_main(self):
        self.git("checkout", "--quiet", "-b", "branch")
        self.move_a_field()
        self.commit("breaks")
        self.add_a_field_elsewhere()
        self.commit("breaks nothing")
        self.assert_broken("cart_version")

    def add_a_field_elsewhere(self):
        self.edit("proto/shop/events/v1/users.proto", "shop.api.v1.Role role = 2;",
                  "shop.api.v1.Role role = 2;\n  string more = 99;")

    def test_the_last_commit_of_main_is_compared_with_the_one_before(self):
        self.move_a_field()
        self.commit("breaks")
        self.assert_broken("cart_version")

    def test_a_detached_head_without_branches_is_compared_with_the_commit_before(self):
        self.move_a_field()
        self.commit("breaks")
        self.git("checkout", "--quiet", "--detach")
        self.git("branch", "--delete", "--force", "main")
        self.assert_broken("cart_version")

    def test_an_edited_golden_file_breaks(self):
        self.edit(GOLDEN, "ORDER_CREATED", "ORDER_CREATED2")
        self.assert_broken(GOLDEN)

    def test_a_removed_golden_file_breaks(self):
        (self.repo / GOLDEN).unlink()
        self.assert_broken(GOLDEN)

    def test_a_new_golden_file_breaks_nothing(self):
        shutil.copy(self.repo / GOLDEN, (self.repo / GOLDEN).with_name("99.event"))
        self.commit("a new shape")
        self.assert_good()


if __name__ == "__main__":
    unittest.main()
