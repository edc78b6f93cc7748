#!/usr/bin/python3
"""Which planted faults does a run of chaos catch?

  tests/chaos/planted.py [--faults REGEX] [--rounds 3]
  tests/chaos/planted.py --check      only whether every fault still applies; builds nothing

The faults are those of planted.toml. One copy of the tree (build/chaos-faults/tree-1) gets all of them at once and is
built once; each fault waits there for its key in the environment variable PLANTED_FAULT. The run of chaos has to pass
without one, and to fail with each, by one of the checks that the fault names. Exit status 0 when all of that is so.
The report is build/chaos-faults/report.txt, what the runs printed is beside it.
"""

import argparse
import dataclasses
import fcntl
import os
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "faults"), str(HERE)]

import checks  # pylint: disable=wrong-import-position
import run as faults  # pylint: disable=wrong-import-position
from ctest import REPO, PROCESSES, Stopped, end_on_signals, run, say  # pylint: disable=wrong-import-position

FOLDER = REPO / "build/chaos-faults"
HEADER = "libs/common/core/planted.h"
SECONDS = 40
QUIET = 150     # seconds until all has to be at rest
LIMIT = 900     # seconds that a run may take
SEED = 1


@dataclasses.dataclass(frozen=True)
class Edit:
    """A place in the tree, and the code that does wrong there when it is told to."""
    file: str
    find: str
    replace: str


@dataclasses.dataclass(frozen=True)
class Planted:
    key: str
    name: str
    caught_by: list = ()
    edits: list = ()
    seed: int = SEED
    seconds: int = SECONDS
    quiet: int = QUIET
    focus: list = ()
    provoke: list | None = None  # nothing: all that there is to provoke


NONE = Planted("", "no fault")


def read_list():
    text = tomllib.loads((HERE / "planted.toml").read_text())
    planted = [Planted(**(entry | {"edits": [Edit(**edit) for edit in entry["edits"]]})) for entry in text["fault"]]
    return text["header"], planted


# --- does it apply? -----------------------------------------------------------------------------

def problems(planted, root):
    """What is wrong with the list, as it stands to the tree below `root`."""
    known = {check.__name__ for check in checks.ALL}
    keys = [fault.key for fault in planted]
    found = [f"{key}: the key is there twice" for key in {key for key in keys if keys.count(key) > 1}]
    for fault in planted:
        found += [f"{fault.key}: there is no check {name}" for name in fault.caught_by if name not in known]
        if not any(f'Planted("{fault.key}")' in edit.replace for edit in fault.edits):
            found.append(f"{fault.key}: nothing asks for it")
        found += [f"{fault.key}: {why}" for edit in fault.edits if (why := faults.why_not_applicable(edit, root))]
    return found


# --- the copy -----------------------------------------------------------------------------------

def plant(header, planted, copy):
    """Makes the copy equal to the working tree, with all faults in it.

    A file is written only where it differs from what an earlier run left, so that the build has little to do.
    """
    edited = {edit.file for fault in planted for edit in fault.edits}
    before = {name: (copy.tree / name).read_text() for name in (*edited, HEADER) if (copy.tree / name).is_file()}
    times = {name: (copy.tree / name).stat() for name in before}
    copy.update()
    texts = {name: (copy.tree / name).read_text() for name in edited} | {HEADER: header.lstrip()}
    for fault in planted:
        for edit in fault.edits:
            texts[edit.file] = texts[edit.file].replace(edit.find, edit.replace)
    for name, text in texts.items():
        path = copy.tree / name
        path.write_text(text if name == HEADER else f'#include "common/core/planted.h"\n{text}')
        if before.get(name) == path.read_text():
            touch(path, times[name])


def touch(path, stat):
    """As if it had not been written."""
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def build(copy):
    subprocess.run(["cmake", "--preset", "dev"], cwd=copy.tree, check=True, stdout=subprocess.DEVNULL)
    failure = copy.built([f"bin/{program}" for program in (*PROCESSES, "messages", "topics")])
    if failure:
        sys.exit(f"{failure}\nthe tree does not build with the faults in it")


# --- a run --------------------------------------------------------------------------------------

@dataclasses.dataclass
class Result:
    fault: Planted
    good: bool
    detail: str
    seconds: float

    def __str__(self):
        verdict = "as it should" if self.good else "NOT SO"
        return (f"{verdict:<13} {self.fault.key or 'none'}: {self.fault.name}\n"
                f"{'':<13} {self.detail} ({self.seconds:.0f} s)")


def try_out(fault, copy, seed):
    words = [HERE / "run.py", "--bin", copy.build / "bin", "--dir", FOLDER / "stack", "--seed", str(seed),
             "--seconds", str(fault.seconds), "--quiet", str(fault.quiet), "--focus", ",".join(fault.focus)]
    if fault.provoke is not None:
        words += ["--provoke", ",".join(fault.provoke)]
    began = time.monotonic()
    status, text = run(list(map(str, words)), LIMIT, env=os.environ | {"PLANTED_FAULT": fault.key})
    seconds = time.monotonic() - began
    log = FOLDER / f"{fault.key or 'none'}.{seed}.log"
    log.write_text(text)
    found = {line.replace(" ", "_") for line in re.findall(r"^  FAILED  (.*)$", text, re.M)}
    if not fault.key:
        return Result(fault, status == 0, f"seed {seed}: passed" if status == 0 else f"failed: {log}", seconds)
    caught = [name for name in fault.caught_by if name in found]
    if caught:
        return Result(fault, True, f"seed {seed}: caught by {', '.join(caught)}", seconds)
    other = f"found only {', '.join(sorted(found))}" if found else f"exit status {status}, nothing found"
    return Result(fault, False, f"seed {seed}: {other}: {log}", seconds)


def all_runs(chosen, copy, rounds):
    for number in range(rounds):
        for fault in (NONE, *chosen):
            say(f"{fault.key or 'none'}: {fault.name}")
            result = try_out(fault, copy, fault.seed + number)
            say(f"  {'' if result.good else 'NOT SO: '}{result.detail} ({result.seconds:.0f} s)")
            yield result


def report(results, wanted, began):
    good = sum(result.good for result in results)
    lines = [str(result) for result in sorted(results, key=lambda result: not result.good)]
    lines.append(f"{time.strftime('%Y-%m-%d')}: of {wanted} runs {good} ended as they should,"
                 f" {wanted - len(results)} were not made; {(time.monotonic() - began) / 60:.0f} minutes")
    (FOLDER / "report.txt").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return good == wanted


def remove_stack(copy):
    stack = FOLDER / "stack"
    if (stack / "env").exists():
        subprocess.run(["/usr/bin/python3", REPO / "deploy/local/stack.py", "down", "--dir", stack,
                        "--env", stack / "env", "--bin", copy.build / "bin"], check=False, stdout=subprocess.DEVNULL)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--faults", metavar="REGEX", help="those whose keys match")
    parser.add_argument("--rounds", type=int, default=1, help="how often, with other seeds")
    args = parser.parse_args()
    header, planted = read_list()
    found = problems(planted, REPO)
    print("\n".join([*found, f"{len(planted)} faults, {len(found)} problems"]))
    if found or args.check:
        sys.exit(1 if found else 0)
    chosen = [fault for fault in planted if re.search(args.faults or "", fault.key)]
    if not chosen:
        sys.exit("no such faults")

    end_on_signals()
    FOLDER.mkdir(parents=True, exist_ok=True)
    lock = open(FOLDER / "lock", "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit(f"another run uses {FOLDER}")
    copy = faults.Copy(1, 1, FOLDER)
    say("building the copy with the faults in it")
    plant(header, planted, copy)
    build(copy)
    began, results = time.monotonic(), []
    try:
        for result in all_runs(chosen, copy, args.rounds):
            results.append(result)
    except Stopped as stopped:
        say(f"stopped by {stopped}")
    finally:
        remove_stack(copy)
    sys.exit(0 if report(results, args.rounds * (1 + len(chosen)), began) else 1)


if __name__ == "__main__":
    main()
