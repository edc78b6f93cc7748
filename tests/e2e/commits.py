"""Earlier commits of this repository, to run beside what is in the working tree."""

import os
import shutil
import subprocess
import sys

from harness import REPO


def git(*words):
    return subprocess.run(["git", *words], cwd=REPO, stdout=subprocess.PIPE, check=True, text=True).stdout.strip()


def build(commit, folder, build_type, jobs, targets=()):  # pylint: disable=too-many-arguments
    """The tree of a commit and the folder of its executables, all of them unless `targets` are named. Both stay in
    `folder` for the next time."""
    tree, note = folder / "tree", folder / "commit"
    if not note.exists() or note.read_text() != commit:
        shutil.rmtree(tree, ignore_errors=True)
        tree.mkdir(parents=True)
        files = subprocess.Popen(["git", "archive", commit], cwd=REPO, stdout=subprocess.PIPE)
        subprocess.run(["tar", "-x", "-C", tree], stdin=files.stdout, check=True)
        if files.wait() != 0:
            raise RuntimeError(f"git archive {commit} failed")
        (tree / ".local").mkdir()
        (tree / ".local" / "tools").symlink_to((REPO / ".local" / "tools").resolve())
        note.write_text(commit)
    # What has not changed is in the compiler's cache, wherever its tree lies.
    cache = os.environ | {"CCACHE_BASEDIR": "/", "CCACHE_NOHASHDIR": "1"}
    for words in (["cmake", "-S", tree, "-B", folder / "build", "-G", "Ninja", f"-DCMAKE_BUILD_TYPE={build_type}", "-DSHOP_BUILD_TESTS=OFF"],
                  ["cmake", "--build", folder / "build", "--parallel", jobs, *(["--target", *targets] if targets else [])]):
        subprocess.run(list(map(str, words)), check=True, stdout=sys.stderr, env=cache)
    return tree, folder / "build" / "bin"
