"""The programs that make load, each bounded in time, and what they say of it as numbers."""

import ctypes
import json
import os
import re
import subprocess
import threading
import time
from pathlib import Path

from shop import REPO, Folder, servers

HERE = Path(__file__).resolve().parent
TOOLS = REPO / ".local" / "tools" / "bin"


def run(command, seconds, environment=None, core=None):
    pinned = [] if core is None else ["taskset", "-c", core]
    done = subprocess.run([str(word) for word in [*pinned, *command]], capture_output=True, text=True, check=False,
                          timeout=seconds + 60, env=os.environ | (environment or {}))
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]}: {done.stderr or done.stdout}")
    return done.stdout


def wrk(port, requests, seconds, connections, core=None):
    """Closed loop over HTTP; requests a second, and how many were made."""
    out = run(["wrk", "-t2", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s",
               "-s", HERE / "requests.lua", f"http://127.0.0.1:{port}", "--", requests], seconds,
              core=core)
    said = json.loads(out[out.index('{"requests"'):])
    if said["refused"] or said["broken"]:
        raise RuntimeError(f"{requests}: not every request was answered well: {said}")
    return said["requests"] / said["seconds"], said["requests"]


def openloop(port, requests, seconds, rate, core=None, warm_up=0):
    """Open loop over HTTP; latencies in ms from when each request was due, without those of the first seconds."""
    # On one processor the thread that waits for the next request must not keep the others from running.
    return json.loads(run([TOOLS / "openloop", "-address", f"127.0.0.1:{port}", "-requests", requests,
                           "-rate", rate, "-seconds", seconds, "-warm-up", warm_up], seconds + warm_up,
                          {"GOMAXPROCS": "4"} if core is not None else None, core))


def ghz(address, method, data, seconds, connections, tokens=()):
    """Closed loop, the rpc itself; calls a second. `data` is a file with a list of messages."""
    command = [TOOLS / "ghz", "--insecure", "--call", method, "--data-file", data, "-O", "json",
               "-c", connections, "--connections", min(connections, 8), "-z", f"{seconds}s",
               "--duration-stop", "wait"]
    if tokens:
        # A call's token by its number, so that as many people call as have tokens.
        names = " ".join(f"`{token}`" for token in tokens)
        chosen = "{{ index (list " + names + ") (int (mod .RequestNumber " + str(len(tokens)) + ")) }}"
        command += ["--metadata", json.dumps({"authorization": "Bearer " + chosen})]
    said = json.loads(run(command + [address], seconds))
    answers = said["statusCodeDistribution"]
    if set(answers) != {"OK"}:
        raise RuntimeError(f"{method}: not every call was answered well: {answers}")
    return said["rps"]


def pgbench(shop, database, script, seconds, connections, products):
    """Closed loop, the SQL itself, prepared; transactions a second."""
    user, password = shop.superuser()
    host = servers.sockets(Folder(shop.folder)).get("POSTGRES_HOST", shop.settings["POSTGRES_HOST"])
    out = run([servers.postgres_bin("pgbench"), "-n", "-M", "prepared", "-c", connections, "-j", 2,
               "-T", seconds, "-D", f"products={products}", "-D", "q=wireless mouse",
               "-f", HERE / "sql" / script, database], seconds,
              {"PGHOST": host, "PGPORT": shop.settings["POSTGRES_PORT"], "PGUSER": user, "PGPASSWORD": password})
    return float(re.search(r"tps = ([\d.]+)", out)[1])


def bcrypt(cost, seconds):
    """Hashes a second on as many threads as there are processors, and nothing else."""
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt_r.restype = ctypes.c_char_p
    setting = f"$2b${cost:02}$".encode() + b"abcdefghijklmnopqrstuu"
    counts = []
    begun = time.monotonic()

    def loop():
        room = ctypes.create_string_buffer(65536)  # no less than struct crypt_data
        count = 0
        while time.monotonic() < begun + seconds:
            # 64 characters, as the service makes of any password.
            assert library.crypt_r(b"x" * 64, setting, room).startswith(setting[:7])
            count += 1
        counts.append((count, time.monotonic() - begun))

    threads = [threading.Thread(target=loop) for _ in range(os.cpu_count())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(count / took for count, took in counts)
