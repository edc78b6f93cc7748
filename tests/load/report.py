"""What the benchmark found, as the tables of docs/performance.md."""

import os
import re
import subprocess
import time
from pathlib import Path

import psutil

from shop import REPO

PAGE = REPO / "docs" / "performance.md"
BEGIN, END = "<!-- figures: written by make bench -->", "<!-- end of figures -->"

# A NestJS implementation of the same system, measured in another run on a machine of this kind:
# requests a second (from, to), and MB.
NESTJS = {"GET /products/{id}, kept": (3600, 4200), "GET /products/{id}, cached": (3600, 4200),
          "GET /products, kept": (3500, 3500), "GET /products": (3500, 3500),
          "POST /auth/login": (23, 23), "POST /cart/add": (610, 700), "POST /orders": (180, 190)}
NESTJS_MB = {"idle": 741, "after": 986}
TARGETS_MB = 250


def machine(commit):
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())

    def git(*words):
        return subprocess.run(["git", "-C", str(REPO), *words], capture_output=True, text=True,
                              check=True).stdout.strip()
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":!docs")
    head = git("rev-parse", "--short=12", "HEAD") + (" with changes" if changed else "")
    return {"commit": commit or head,
            "date": time.strftime("%Y-%m-%d"), "cores": os.cpu_count(), "load": os.getloadavg()[0],
            "cpu": model[1] if model else "unknown", "memory": psutil.virtual_memory().total // 2**30}


def table(head, rows):
    lines = [head, ["---"] + ["--:"] * (len(head) - 1)] + rows
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def rate(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def percentile(said, name, least):
    """A percentile, where enough answers lie beyond it to speak of one."""
    return f"{said[name]:.2f}" if said["requests"] >= least else "–"


def throughput(results):
    rows = []
    for case, found in results["rates"].items():
        http, rpc = found["http"]["median"], found["rpc"]["median"]
        limits = [name for name in found if name not in ("http", "rpc")]
        row = [case, rate(http), rate(rpc), f"{http / rpc:.2f}"]
        if limits:
            limit = found[limits[0]]["median"]
            row += [limits[0], rate(limit), f"{http / limit:.2f}"]
        else:
            row += ["–", "–", "–"]
        rows.append(row + [spread(found["http"])])
    return table(["closed loop", "through the gateway, /s", "the rpc itself, /s", "ratio", "limit", "/s",
                  "ratio", "spread"], rows)


def spread(found):
    """How far the rounds lie apart, relative to their median."""
    return f"±{(max(found['rounds']) - min(found['rounds'])) / 2 / found['median'] * 100:.0f} %"


def latencies(results):
    rows = []
    for case, said in results["latencies"].items():
        rows.append([case, rate(said["rate"]), f"{said['p50']:.2f}", percentile(said, "p99", 500),
                     percentile(said, "p999", 5000), f"{said['max']:.1f}"])
        if "decided" in said:
            decided = said["decided"]
            rows.append(["the same orders, from placed to paid and PROCESSING", rate(said["rate"]),
                         f"{decided['p50']:.0f}", f"{decided['p99']:.0f}", "–", "–"])
            rows.append(["their ORDER_CREATED, from the outbox to stock", rate(said["rate"]),
                         f"{decided['delay']['p50']:.0f}", f"{decided['delay']['p99']:.0f}", "–", "–"])
    return table(["open loop", "rate, /s", "p50, ms", "p99, ms", "p99.9, ms", "longest, ms"], rows)


def cpu(results):
    rows = []
    for case, spent in results["cpu"].items():
        most = sorted(spent.items(), key=lambda item: -item[1])
        digits = 1 if sum(spent.values()) < 100 else 0
        rows.append([case, f"{sum(spent.values()):,.{digits}f}",
                     ", ".join(f"{name} {used:,.{digits}f}" for name, used in most
                               if used >= max(1, 0.01 * sum(spent.values())))])
    return table(["CPU a request, µs", "all", "of which"], rows).replace("| --: | --: |", "| --: | --- |")


def decided(results):
    rows = []
    for case, rounds in results["decided"].items():
        middle = sorted(rounds, key=lambda one: one["overall"])[len(rounds) // 2]
        rows.append([case, f"{middle['orders']:,.0f}", rate(middle["overall"]), rate(middle["meanwhile"]),
                     f"{middle['delay']['p50']:.0f}", f"{middle['delay']['p99']:.0f}"])
    return ("Orders to PROCESSING, from the databases: reserved, charged by the payment provider and confirmed, all of them. "
            "The first rate is from the first order placed to the last one confirmed, the second counts those that were "
            "confirmed while more were being placed at full rate; the delay is that of ORDER_CREATED from the outbox to stock.\n\n"
            + table(["orders confirmed", "orders", "/s", "while placing, /s", "delay p50, ms", "p99, ms"], rows))


def memory(results):
    sizes = results["memory"]
    rows = [[name] + [f"{size:.0f}" for when in ("idle", "after") for size in sizes[when][name]]
            for name in sizes["idle"]]
    rows.append(["**all**"] + [f"**{total(sizes[when], kind):.0f}**"
                               for when in ("idle", "after") for kind in (0, 1)])
    return table(["memory, MB", "idle: RSS", "PSS", "after load: RSS", "PSS"], rows)


def total(sizes, kind):
    return sum(size[kind] for size in sizes.values())


def targets(results):
    rates = {case: {what: found["median"] for what, found in all_found.items()}
             for case, all_found in results["rates"].items()}

    def row(what, wanted, found, met):
        return [what, wanted, found, "yes" if met else "no"]

    uncached = rates["GET /products/{id}, uncached"]
    orders, login = rates["POST /orders"], rates["POST /auth/login"]
    rows = [row(what, f"at least {least:.2f}", f"{ratio:.2f}", ratio >= least) for what, least, ratio in (
        ("uncached read, to its rpc", 0.5, uncached["http"] / uncached["rpc"]),
        ("placing an order, to pgbench", 0.7, orders["http"] / orders["pgbench"]),
        ("login, to bcrypt alone", 0.9, login["http"] / login["bcrypt"]),
        ("kept read with limits, to one without", 0.95,
         rates["GET /products/{id}, kept, limited"]["http"] / rates["GET /products/{id}, kept"]["http"]),
        ("kept read with limits and a token, to one without", 0.95,
         rates["GET /products/{id}, kept, limited, signed in"]["http"] / rates["GET /products/{id}, kept"]["http"]))]
    for kind, name in enumerate(("RSS", "PSS")):
        size = total(results["memory"]["after"], kind)
        rows.append(row(f"all own processes after load, {name}", f"under {TARGETS_MB} MB",
                        f"{size:.0f} MB", size < TARGETS_MB))
    return table(["aim", "wanted", "found", "met"], rows)


def nestjs(results):
    rows = []
    for case, (low, high) in NESTJS.items():
        found = results["rates"][case]["http"]["median"]
        ratio = f"{found / high:.1f} to {found / low:.1f}" if low != high else f"{found / low:.1f}"
        rows.append([case, ratio])
    for when, name in (("idle", "memory, idle (RSS)"), ("after", "memory, after load (RSS)")):
        rows.append([name, f"1 / {NESTJS_MB[when] / total(results['memory'][when], 0):.1f}"])
    return table(["", "this to NestJS"], rows)


def part(results):
    """What there is to say of a few cases alone."""
    return "\n\n".join([throughput(results), latencies(results), cpu(results)] +
                       ([decided(results)] if results["decided"] else []))


def text(results):
    machine_ = results["machine"]
    strangers = results["strangers"]
    return f"""Commit {machine_['commit']}, release build, {machine_['date']}; {machine_['cores']} cores of
"{machine_['cpu']}", {machine_['memory']} GB. Medians of {results['rounds']} rounds of {results['seconds']} s a measurement (login twice that),
{results['products']} products, {results['buyers']} buyers, bcrypt cost {results['bcrypt_cost']}. The load, the platform and its servers share these
cores. Others on the machine took {strangers['median'] * 100:.0f} % of it (median; at most {strangers['most'] * 100:.0f} %) meanwhile. `make up`'s start of servers and services
took {results['started']:.1f} s.

### Throughput

{throughput(results)}

{decided(results)}

### Latency

At about half of the throughput (of orders, of those that are finished), counted from when each request was due.

{latencies(results)}

### Where the time goes

CPU of each process divided by the requests of the closed loop, less what it uses when idle. That of orders includes
everything an order sets off: its events, the reservation, the shipment and the mail.

{cpu(results)}

### Memory

RSS counts a library in every process that uses it, PSS shares it out: their sum is what they take together.

{memory(results)}

### Aims

{targets(results)}

### Beside a NestJS implementation

Its figures are from **another run** on a machine of this kind (2 cores, nine Node.js 20 processes, the same kinds of
servers), so these ratios are orders of magnitude. The bcrypt cost of its login is not known; a step of the cost halves the rate.

{nestjs(results)}"""


def write(found):
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{found}\n\n{END}{after}")
