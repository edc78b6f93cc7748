#!/usr/bin/python3
"""No migration has changed since it was committed: a database that has applied it refuses the other text, be it a comment.

  tests/upgrade/migrations_test.py [--since COMMIT]

Exits 77 where there is no history.
"""

import argparse
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
# It changed one itself, which was added after the release before.
BEFORE = "f25bf2aca99e0e38102f25e946be33da659507b0"
SKIPPED = 77


def changed(*words):
    return subprocess.run(["git", *words, "--diff-filter=MDR", "--name-only", "--", "*/migrations/*.sql"], cwd=REPO,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True).stdout.split()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--since", default=BEFORE)
    since = parser.parse_args().since
    try:
        found = changed("log", "--format=", f"{since}..HEAD") + changed("diff", "HEAD")
    except (subprocess.CalledProcessError, FileNotFoundError):
        print("skipped: there is no history here")
        sys.exit(SKIPPED)
    for name in sorted(set(found)):
        print(f"{name} has changed since it was committed: what it left out is for a migration of its own")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
