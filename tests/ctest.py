"""The tests as ctest knows them, for scripts that run them in another way than ctest does:
which there are, how one is run and what came of it, and the servers they need.
"""

import contextlib
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO / "deploy/local"))

from settings import PROCESSES  # pylint: disable=wrong-import-position

# How long a test may take to end by itself when asked to: the end-to-end tests stop a whole stack.
END_PATIENCE = 60


def say(text):
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


class Stopped(KeyboardInterrupt):
    """Somebody wants this to end: `finally` gets to clear up."""


def end_on_signals():
    def stop(number, _):
        raise Stopped(signal.Signals(number).name)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)


@dataclasses.dataclass
class Outcome:
    verdict: str  # "passed", "failed", "hung" or "skipped"
    seconds: float
    how: str = ""  # of a failure: "signal SIGSEGV", "exit status 1", "ended after 60 s"
    ran: int | None = None  # test cases, where the test says so
    failed: tuple[str, ...] = ()  # the names of the cases that failed, where it says so
    output: str = ""

    @property
    def passed(self):
        return self.verdict == "passed"


@dataclasses.dataclass
class Test:
    name: str
    command: list[str]
    folder: str | None
    environment: dict[str, str]
    labels: tuple[str, ...]
    limit: float
    needs_servers: bool
    runs_alone: bool  # beside no other test
    skip_status: int | None
    is_gtest: bool

    def targets(self, build):
        """The executables of the build folder that it runs, as the build calls them."""
        if self.name == "e2e":
            return [f"bin/{program}" for program in (*PROCESSES, "messages", "audit", "topics", "place_order")]
        inside = [os.path.relpath(word, build) for word in self.command if word.startswith(f"{build}/")]
        return [word for word in inside if re.fullmatch(r"(bin|tests)/\w+", word)]

    def run(self, *arguments, environment=None, limit=None):
        """Runs it; after `limit` seconds it is ended, with what it started in its process group."""
        limit = limit or self.limit
        began = time.monotonic()
        status, text = run(
            [*self.command, *arguments], limit, cwd=self.folder if self.folder and os.path.isdir(self.folder) else None,
            env={**os.environ, **self.environment, **(environment or {})})
        seconds = time.monotonic() - began
        if status is None:
            verdict, how = "hung", f"ended after {limit:.0f} s"
        elif self.skip_status is not None and status == self.skip_status:
            verdict, how = "skipped", ""
        elif status == 0:
            verdict, how = "passed", ""
        elif status < 0:
            verdict, how = "failed", f"signal {signal.Signals(-status).name}"
        else:
            verdict, how = "failed", f"exit status {status}"
        return Outcome(verdict, seconds, how, cases_run(text), failed_cases(text), text)


# What several threads run; no more is started once it is to end.
running = set()
ending = threading.Event()


def run(command, limit=None, **options):
    """Runs a program; answers its exit status, or None when it was ended after `limit` seconds, and its output."""
    status = None
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                   start_new_session=True, **options)
        running.add(process)
        try:
            if not ending.is_set():
                status = process.wait(limit)
        except subprocess.TimeoutExpired:
            pass
        finally:
            running.discard(process)
            if process.poll() is None:
                end(process)
        if ending.is_set():
            raise Stopped("the end of all others")
        output.seek(0)
        return status, output.read().decode(errors="replace")


@contextlib.contextmanager
def threads(count):
    """A pool of threads. When one of them fails, or somebody wants this to end, what all of them run is ended."""
    with ThreadPoolExecutor(count) as pool:
        try:
            yield pool
        except BaseException:
            ending.set()
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(running):
                end(process)
            raise


def end(process):
    """Ends a process that leads a group of its own, and the group with it."""
    process.terminate()
    try:
        process.wait(END_PATIENCE)
    except subprocess.TimeoutExpired:
        pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def cases_run(output):
    """By GoogleTest's or unittest's own account, or None."""
    found = re.findall(r"^\[=+\] Running (\d+) tests?", output, re.M) or re.findall(r"^Ran (\d+) tests?", output, re.M)
    return sum(map(int, found)) if found else None


def failed_cases(output):
    ended = re.findall(r"^\[ +(OK|FAILED|SKIPPED) +\] ([\w/]+\.[\w/]+)", output, re.M)
    names = [name for how, name in ended if how == "FAILED"]
    names += re.findall(r"^(?:ERROR|FAIL): \w+ \(([\w.]+)\)", output, re.M)
    # One that took the process with it has begun and not ended.
    begun = re.findall(r"^\[ RUN      \] (\S+)", output, re.M)
    names += [name for name in begun[-1:] if name not in (name for _, name in ended)]
    return tuple(dict.fromkeys(names))


def all_tests(build):
    """Every test of a configured build folder by name; they need not be built."""
    text = subprocess.run(["ctest", "--test-dir", build, "--show-only=json-v1"], check=True,
                          capture_output=True, text=True).stdout
    tests = {}
    for entry in json.loads(text)["tests"]:
        properties = {one["name"]: one["value"] for one in entry.get("properties", ())}
        if "FIXTURES_SETUP" in properties or "FIXTURES_CLEANUP" in properties:
            continue
        # An executable that is not built is not named.
        command = entry.get("command", [f"{build}/tests/{entry['name']}"])
        skip_status = properties.get("SKIP_RETURN_CODE")
        tests[entry["name"]] = Test(
            name=entry["name"], command=command, folder=properties.get("WORKING_DIRECTORY"),
            environment=dict(word.split("=", 1) for word in properties.get("ENVIRONMENT", ())),
            labels=tuple(properties.get("LABELS", ())), limit=float(properties.get("TIMEOUT", 1500)),
            needs_servers="servers" in properties.get("FIXTURES_REQUIRED", ()),
            runs_alone=properties.get("RUN_SERIAL", False),
            skip_status=None if skip_status is None else int(skip_status),
            is_gtest=command[0].startswith(f"{build}/tests/"))
    return tests


class Servers:
    """The servers that tests with a need share: started when first asked for, stopped at the end."""

    def __init__(self, folder):
        self.folder = folder
        self.running = False
        self.lock = threading.Lock()

    @property
    def environment(self):
        self.start()
        return {"TEST_SERVERS_ENV": f"{self.folder}/env"}

    def start(self):
        with self.lock:
            if not self.running:
                self.running = True  # though it may fail half-way: stop() is for then, too
                self._script("servers-up", "--write-env", f"{self.folder}/env")

    def stop(self):
        if self.running:
            self._script("servers-down")
            self.running = False

    def restart(self):
        """Once a test that used them was ended by force: it may have left one of them stopped."""
        self.stop()
        self.start()

    def _script(self, command, *arguments):
        done = subprocess.run(["/usr/bin/python3", REPO / "deploy/local/stack.py", command, "--dir", self.folder,
                               *arguments], check=False, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            sys.exit(f"stack.py {command} failed")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
