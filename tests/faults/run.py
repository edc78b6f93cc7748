#!/usr/bin/python3
"""Plants faults in copies of the tree, one by one in each, and says which test caught which.

  tests/faults/run.py [--area kafka] [--faults REGEX] [--jobs 2]
  tests/faults/run.py --check        only whether every fault still applies; builds nothing

The faults are the entries of tests/faults/*.toml, one file an area:

  [[fault]]
  name = "what goes wrong, for a reader"
  file = "the/source/file.cpp"
  find = '''text that occurs exactly once in it'''
  replace = '''the faulty text; has to compile'''
  test = "order_test"         what ctest calls the test that has to catch it
  filter = "Order.Moves"      which of its cases: a GoogleTest filter; of a test in Python the names of modules,
                              classes or methods, as unittest takes them; of e2e thus "delivery_test" or
                              "delivery_test.TheLastPieces"

The copy is build/faults/tree-1, with a build folder of its own that the next run goes on from. First every named test
has to pass there without a fault, and once more after the last: otherwise its failing says nothing. Exit status 0
when each fault was caught. A fault that no longer applies or does not build fails the run too.

With --jobs there are several copies (tree-2, …), each with servers of its own. The faults of one file stay in one copy;
those that the end-to-end tests have to catch come after all others, in the first copy alone.
"""

import argparse
import contextlib
import dataclasses
import fcntl
import fnmatch
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import tomllib
from concurrent.futures import as_completed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ctest import REPO, Servers, Stopped, all_tests, end_on_signals, run, say, threads  # pylint: disable=wrong-import-position

FOLDER = REPO / "build/faults"
# What a copy has that is no copy.
NOT_COPIED = {"build", ".local"}

# As the presets have it.
COMPILERS = 2
# One copy after another: ccache then has most of it for the second.
first_build = threading.Lock()

CAUGHT, SURVIVED, BROKEN = "caught", "SURVIVED", "BROKEN"


# --- the lists ----------------------------------------------------------------------------------

@dataclasses.dataclass(frozen=True)
class Fault:
    area: str
    name: str
    file: str
    find: str
    replace: str
    test: str
    filter: str

    def in_place(self, text):
        return text.replace(self.find, self.replace)


class BadList(Exception):
    pass


def read_lists():
    faults = []
    for path in sorted((REPO / "tests/faults").glob("*.toml")):
        try:
            entries = tomllib.loads(path.read_text())["fault"]
            faults += [Fault(area=path.stem, **entry) for entry in entries]
        except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
            raise BadList(f"{path.name}: {error}") from None
    names = [fault.name for fault in faults]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadList("more than one fault is called: " + "; ".join(twice))
    return faults


def chosen(faults, area, name):
    return [fault for fault in faults
            if area in (None, fault.area) and (name is None or re.search(name, fault.name))]


def why_not_applicable(fault, root):
    """What keeps a fault from being planted under `root`, or None."""
    path = root / fault.file
    if not path.is_file():
        return f"there is no {fault.file}"
    times = path.read_text().count(fault.find)
    if times != 1:
        return f"its text occurs {times} times in {fault.file}"
    if fault.find == fault.replace:
        return "it changes nothing"
    return None


# --- the check that builds nothing --------------------------------------------------------------

class DeclaredTests:
    """Which tests and cases there are, by what CMakeLists.txt files and sources say."""

    def __init__(self):
        self.folders = {}
        self.sources = {}
        for top in ("libs", "services", "gateway", "tests"):
            for path in (REPO / top).rglob("CMakeLists.txt"):
                text = path.read_text()
                for name in re.findall(r"add_test\(NAME (\w+)", text):
                    self.folders[name] = path.parent
                for name, more in re.findall(r"shop_test\(([\w/]+)(?:\s+SOURCES\s+((?:[\w/]+\.cpp\s*)+))?", text):
                    self.folders[Path(name).name] = path.parent
                    self.sources[Path(name).name] = [path.parent / word for word in [f"{name}.cpp", *more.split()]]

    def why_not_there(self, fault):
        """What is wrong with the test or the filter of a fault, or None."""
        folder = self.folders.get(fault.test)
        if folder is None:
            return f"there is no test {fault.test}"
        if fault.test in self.sources:
            cases = [case for source in self.sources[fault.test] for case in gtest_cases(source)]
            unmatched = [pattern for pattern in fault.filter.partition("-")[0].split(":")
                         if not fnmatch.filter(cases, pattern)]
        else:
            names = python_names(folder)
            unmatched = [word for word in fault.filter.split() if not names.issuperset(word.split("."))]
        return f"nothing in {fault.test} is called {' or '.join(unmatched)}" if unmatched else None


def gtest_cases(source):
    found = re.findall(r"^(TEST|TEST_F|TEST_P|TYPED_TEST|RC_GTEST_PROP)\((\w+),\s*(\w+)[,)]", source.read_text(), re.M)
    return [{"TEST_P": f"Any/{suite}.{case}/0", "TYPED_TEST": f"{suite}/0.{case}"}.get(macro, f"{suite}.{case}")
            for macro, suite, case in found]


def python_names(folder):
    files = list(folder.glob("*.py"))
    found = {path.stem for path in files}
    for path in files:
        found |= set(re.findall(r"^ *(?:class|def) (\w+)", path.read_text(), re.M))
    return found


def check(faults):
    """Says which faults no longer apply, and why."""
    declared = DeclaredTests()
    problems = [(fault, problem) for fault in faults
                for problem in (why_not_applicable(fault, REPO), declared.why_not_there(fault)) if problem]
    for fault, problem in problems:
        print(f"{fault.area}: {fault.name}: {problem}")
    print(f"{len(faults)} faults, {len(problems)} do not apply")
    return not problems


# --- the copy -----------------------------------------------------------------------------------

class Copy:
    """A copy of the tree for one worker, with a build folder and servers of its own."""

    def __init__(self, number, jobs, folder=FOLDER):
        self.tree = folder / f"tree-{number}"
        self.build = self.tree / "build/dev"
        self.servers = Servers(folder / f"servers-{number}")
        self.compilers = max(1, COMPILERS // jobs)
        self.say = say if jobs == 1 else lambda text: say(f"[{number}] {text}")

    def update(self):
        """Makes the copy equal to the working tree, whatever an earlier run left in it.

        A file is written only where it differs, so that the build has little to do.
        """
        listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=REPO,
                                check=True, capture_output=True, text=True).stdout.split("\0")
        wanted = {name for name in listed if name and (REPO / name).is_file()}
        for name in sorted(wanted):
            source, target = REPO / name, self.tree / name
            if not target.is_file() or target.read_bytes() != source.read_bytes():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read_bytes())
            shutil.copymode(source, target)
        for folder, folders, files in os.walk(self.tree):
            if folder == str(self.tree):
                folders[:] = [name for name in folders if name not in NOT_COPIED]
            for name in files:
                path = Path(folder, name)
                if str(path.relative_to(self.tree)) not in wanted and path.suffix != ".pyc":
                    path.unlink()
        tools = self.tree / ".local/tools"
        if not tools.exists():
            tools.parent.mkdir(exist_ok=True)
            tools.symlink_to(REPO / ".local/tools")

    def built(self, targets, compilers=None):
        """Builds in the copy; answers what the build printed when it fails, or None."""
        if not targets:  # of a script; ninja would build all
            return None
        # Not by cmake --build, which passes on no signal.
        status, text = run(["ninja", "-C", self.build, "-j", str(compilers or self.compilers), *targets])
        return None if status == 0 else text

    @contextlib.contextmanager
    def planted(self, fault):
        """The fault is in the copy while this lasts."""
        path = self.tree / fault.file
        good = path.read_text()
        path.write_text(fault.in_place(good))
        try:
            yield
        finally:
            path.write_text(good)

    def remove_stack(self):
        """Removes what the end-to-end tests left of theirs."""
        stack = self.build / "e2e"
        if (stack / "env").exists():
            subprocess.run(["/usr/bin/python3", self.tree / "deploy/local/stack.py", "down", "--dir", stack,
                            "--env", stack / "env", "--bin", self.build / "bin"], check=False,
                           stdout=subprocess.DEVNULL)


# --- one fault ----------------------------------------------------------------------------------

@dataclasses.dataclass
class Result:
    fault: Fault
    verdict: str
    detail: str
    build_seconds: float = 0
    test_seconds: float = 0

    def __str__(self):
        return f"{self.verdict:<9} {self.fault.area}: {self.fault.name}\n{'':<9} {self.detail}"


class Runner:
    """Runs the tests that faults name, in a copy."""

    def __init__(self, copy):
        self.copy = copy
        self.servers = copy.servers
        self.tests = all_tests(copy.build)
        self.baseline = {}  # (test, filter) -> seconds it took without a fault

    def run(self, fault, limit=None):
        test = self.tests[fault.test]
        environment = self.servers.environment if test.needs_servers else {}
        if test.is_gtest:
            outcome = test.run(environment=environment | {"GTEST_FILTER": fault.filter}, limit=limit)
        else:
            outcome = test.run(*fault.filter.split(), environment=environment, limit=limit)
        if outcome.verdict == "hung" and test.needs_servers:
            self.servers.restart()
        return outcome

    def verify(self, faults):
        """Runs each named test without a fault; answers the faults whose tests do not pass, and how."""
        bad, seen = {}, {}
        for fault in faults:
            key = (fault.test, fault.filter)
            if key not in seen:
                outcome = self.run(fault)
                seen[key] = ("" if outcome.passed and outcome.ran != 0 else "no case matches" if outcome.passed
                             else f"{outcome.how} {' '.join(outcome.failed)}")
                self.baseline.setdefault(key, outcome.seconds)
                if seen[key]:
                    keep_log(fault, "baseline", outcome.output)
                    self.copy.say(f"without a fault: {fault.test} {fault.filter}: {seen[key]}")
            if seen[key]:
                bad[fault] = seen[key]
        return bad

    def try_out(self, fault):
        """Plants a fault, builds, runs its test."""
        with self.copy.planted(fault):
            began = time.monotonic()
            failure = self.copy.built(self.targets(fault))
            build_seconds = time.monotonic() - began
            if failure:
                return Result(fault, BROKEN, f"does not build: {keep_log(fault, 'build', failure)}", build_seconds)
            outcome = self.run(fault, self.limit(fault))
        keep_log(fault, "test", outcome.output)
        if outcome.passed or outcome.verdict == "skipped":
            return Result(fault, SURVIVED, f"{fault.test} {fault.filter} passes all the same",
                          build_seconds, outcome.seconds)
        how = "hangs" if outcome.verdict == "hung" else ", ".join(outcome.failed) or outcome.how
        return Result(fault, CAUGHT, f"by {fault.test}: {how}", build_seconds, outcome.seconds)

    def targets(self, fault):
        return self.tests[fault.test].targets(self.copy.build)

    def limit(self, fault):
        """After how many seconds a test counts as hanging."""
        usual = self.baseline[fault.test, fault.filter]
        return min(self.tests[fault.test].limit, max(60, 5 * usual))


def keep_log(fault, kind, text):
    name = re.sub(r"\W+", "-", f"{fault.area} {fault.name}")[:100]
    path = FOLDER / "log" / f"{name}.{kind}.log"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


# --- the run ------------------------------------------------------------------------------------

def run_all(faults, copy):
    """Yields a result for each fault, and more when a test does not pass at the end."""
    def broken(fault, why):
        copy.say(f"{fault.area}: {fault.name}: {why}")
        return Result(fault, BROKEN, why)

    copy.update()
    subprocess.run(["cmake", "--preset", "dev"], cwd=copy.tree, check=True, stdout=subprocess.DEVNULL)
    runner = Runner(copy)
    good = []
    for fault in faults:
        why = why_not_applicable(fault, copy.tree)
        if why is None and fault.test not in runner.tests:
            why = f"there is no test {fault.test}"
        if why:
            yield broken(fault, why)
        else:
            good.append(fault)
    if not good:
        return
    # Those of one file follow each other, and what needs the whole stack comes last.
    good.sort(key=lambda fault: (fault.test == "e2e", fault.file, fault.test))

    targets = sorted({target for fault in good for target in runner.targets(fault)})
    with first_build:
        copy.say(f"building {len(targets)} executables without a fault")
        failure = copy.built(targets, COMPILERS)
    if failure:
        sys.exit(f"{failure}\nthe tree does not build")
    copy.say("running their tests without a fault")
    bad = runner.verify(good)
    for fault, why in bad.items():
        yield broken(fault, f"its test does not pass without it: {why}")
    good = [fault for fault in good if fault not in bad]

    for number, fault in enumerate(good, 1):
        copy.say(f"{number} of {len(good)}: {fault.area}: {fault.name}")
        result = runner.try_out(fault)
        copy.say(f"  {result.verdict} {result.detail}"
                 f" (build {result.build_seconds:.0f} s, test {result.test_seconds:.0f} s)")
        yield result

    copy.say("running the tests without a fault once more")
    if failure := copy.built(targets):
        sys.exit(f"{failure}\nthe tree does not build after the last fault was taken out")
    for fault, why in runner.verify(fault for fault in good if fault.test != "e2e").items():
        yield broken(fault, f"its test does not pass without it, at the end: {why}")


def report(results, wanted, began):
    counts = {verdict: sum(result.verdict == verdict for result in results) for verdict in (CAUGHT, SURVIVED, BROKEN)}
    tried = [result for result in results if result.build_seconds]
    seconds = sum(result.build_seconds + result.test_seconds for result in tried)
    lines = [str(result) for result in sorted(results, key=lambda result: result.verdict != CAUGHT)]
    not_tried = wanted - len({result.fault for result in results})
    lines.append(f"{time.strftime('%Y-%m-%d')}: of {wanted} faults {counts[CAUGHT]} caught, "
                 f"{counts[SURVIVED]} survived, {counts[BROKEN]} broken, {not_tried} not tried; "
                 f"{(time.monotonic() - began) / 60:.0f} minutes, {seconds / max(1, len(tried)):.0f} s a fault")
    (FOLDER / "report.txt").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return counts[CAUGHT] == wanted == len(results)


def hand_out(faults, jobs):
    """A list of faults for each worker: those of a file together, and each list about as long as the others."""
    files = {}
    for fault in faults:
        files.setdefault(fault.file, []).append(fault)
    parts = [[] for _ in range(jobs)]
    for together in sorted(files.values(), key=len, reverse=True):
        min(parts, key=len).extend(together)
    return [part for part in parts if part]


def plant(faults, jobs):
    """Plants every fault; answers whether each was caught."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    lock = open(FOLDER / "lock", "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit(f"another run uses {FOLDER}")
    began = time.monotonic()
    results = []
    copies = [Copy(number, jobs) for number in range(1, jobs + 1)]
    whole_stack = [fault for fault in faults if fault.test == "e2e" and jobs > 1]

    def work(copy, part):
        with copy.servers:
            for result in run_all(part, copy):
                results.append(result)

    try:
        with threads(jobs) as pool:
            parts = hand_out([fault for fault in faults if fault not in whole_stack], jobs)
            for done in as_completed([pool.submit(work, *pair) for pair in zip(copies, parts)]):
                done.result()
            if whole_stack:
                pool.submit(work, copies[0], whole_stack).result()
    except Stopped as stopped:
        say(f"stopped by {stopped}")
    finally:
        if any(fault.test == "e2e" for fault in faults):
            copies[0].remove_stack()
    return report(results, len(faults), began)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--area", help="the name of a list")
    parser.add_argument("--jobs", type=int, default=1, help="copies in which faults are planted at the same time")
    parser.add_argument("--faults", metavar="REGEX", help="those whose names match")
    args = parser.parse_args()
    try:
        faults = chosen(read_lists(), args.area, args.faults)
    except BadList as bad:
        sys.exit(str(bad))
    if args.check:
        sys.exit(0 if check(faults) else 1)
    if not faults:
        sys.exit("no such faults")
    end_on_signals()
    sys.exit(0 if plant(faults, args.jobs) else 1)


if __name__ == "__main__":
    main()
