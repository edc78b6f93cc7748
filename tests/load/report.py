"""What the benchmark found, as the tables of docs/performance.md."""

import os
import re
import statistics
import subprocess
import time
from pathlib import Path

import psutil

import others
from cases import CART, HOT, ORDERS, UNCACHED
from page import table
from shop import REPO

PAGE = REPO / "docs" / "performance.md"
BEGIN, END = "<!-- figures: written by make bench -->", "<!-- end of figures -->"

# A NestJS implementation of the same system, measured in another run on a machine of this kind:
# requests a second (from, to), and MB.
NESTJS = {"GET /products/{id}, kept": (3600, 4200), "GET /products/{id}, cached": (3600, 4200),
          "GET /products, kept": (3500, 3500), "GET /products": (3500, 3500),
          "POST /auth/login": (23, 23), "POST /cart/add": (610, 700), "POST /orders": (180, 190)}
NESTJS_MB = {"idle": 741, "after": 986}
PLATFORM_NOT = ("wrk", "mail", "collector")  # of an order's CPU: the load, the mail server, and who takes spans


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


def rate(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def percentile(said, name, least):
    """A percentile, where enough answers lie beyond it to speak of one."""
    return f"{said[name]:.2f}" if said["requests"] >= least else "–"


def median(values):
    return statistics.median(list(values))


def in_pairs(results):
    """The cases that were measured for what stands beside them alone."""
    return {case for _, *pair in results["beside"] for case in pair} - {ORDERS, HOT}


def throughput(results):
    rows = []
    for case, found in results["rates"].items():
        if case in in_pairs(results):
            continue
        http = found["http"]["median"]
        limits = [name for name in found if name not in ("http", "rpc")]
        row = [case, rate(http)]
        row += [rate(found["rpc"]["median"]), f"{http / found['rpc']['median']:.2f}"] if "rpc" in found else ["–", "–"]
        if limits:
            limit = found[limits[0]]["median"]
            row += [limits[0], rate(limit), f"{http / limit:.2f}"]
        else:
            row += ["–", "–", "–"]
        rows.append(row + [spread(found["http"])])
    return table(["closed loop", "through the gateway, /s", "the rpc itself, /s", "ratio", "limit", "/s",
                  "ratio", "spread"], rows)


def half_range(rounds):
    return (max(rounds) - min(rounds)) / 2


def spread(found):
    """How far the rounds lie apart, relative to their median."""
    return f"±{half_range(found['rounds']) / found['median'] * 100:.0f} %"


def ratio(ours, theirs):
    """The median of the rounds' ratios, and half of how far these lie apart."""
    rounds = [one / other for one, other in zip(ours, theirs) if other]
    return (median(rounds), half_range(rounds)) if rounds else (float("nan"), 0.0)


def gateway_cpu(results, case):
    """What the gateway in it took a request, in each round; that of Go where there is one."""
    return [spent.get("grpc-gateway" if case.endswith("grpc-gateway") else "gateway", 0) for spent in results["cpu_rounds"][case]]


def beside(results):
    """What was measured in turn."""
    rows = []
    for what, case, other in results["beside"]:
        pair = [results["rates"].get(name, {}).get("http") for name in (case, other)]
        if not all(pair):
            continue
        found, apart = ratio(*(one["rounds"] for one in pair))
        rows.append([what, *(rate(one["median"]) for one in pair), f"{found:.2f}", f"±{apart:.2f}"])
        if case in results["decided"] and other in results["decided"]:
            pair = [[one["overall"] for one in results["decided"][name]] for name in (case, other)]
            found, apart = ratio(*pair)
            rows.append(["those finished", *(rate(median(one)) for one in pair), f"{found:.2f}", f"±{apart:.2f}"])
            pair = [[cost_of_an_order(spent)["platform"] for spent in results["cpu_rounds"][name]] for name in (case, other)]
            found, apart = ratio(*pair)
            rows.append(["the platform's CPU of one, µs", *(f"{median(one):,.0f}" for one in pair), f"{found:.2f}", f"±{apart:.2f}"])
        if other.endswith("grpc-gateway"):
            pair = [gateway_cpu(results, name) for name in (case, other)]
            found, apart = ratio(*pair)
            rows.append(["its gateway's CPU a request, µs", *(f"{median(one):.0f}" for one in pair), f"{found:.2f}", f"±{apart:.2f}"])
    return table(["side by side, in turn", "this, /s", "that, /s", "ratio", "spread"], rows)


def cost_of_an_order(spent):
    """µs of CPU, by who pays: the platform, a mail server, the payment provider, the load."""
    provider = sum(used for name, used in spent.items() if name.split("/")[-1] == "provider")
    return {"platform": sum(used for name, used in spent.items() if name not in PLATFORM_NOT) - provider,
            "provider": provider, "mail": spent.get("mail", 0), "load": spent.get("wrk", 0)}


def sustained(results):
    found, cost = results["found"].get("sustained"), results["cpu"].get(ORDERS)
    said = []
    if cost:
        parts = cost_of_an_order(cost)
        said.append(f"An order, answered and finished, costs the platform and its databases {parts['platform'] / 1000:.2f} ms of CPU, "
                    f"the payment provider with its database {parts['provider'] / 1000:.2f}, the mail server {parts['mail'] / 1000:.2f} and the "
                    f"load {parts['load'] / 1000:.2f}.")
    if found:
        said.append(f"For {found['seconds']} s orders were placed at {rate(found['offered'])}/s. From the first one placed to the last one "
                    f"finished, none left over, that was {rate(found['finished'])}/s; {found['left']:,} of {found['orders']:,} were not "
                    f"finished yet when the last one was placed. At 60 % of it, {rate(found['rate'])}/s, an order took {found['p50']:.0f} ms from "
                    f"placed to PROCESSING, and {found['p99']:.0f} at most (p99).")
    pinned = results["found"].get("pinned")
    if pinned:
        said.append(f"With the load on a processor of its own and everything else on the rest, kept reads came to {rate(pinned['closed'])}/s; at "
                    f"half of that p50 was {pinned['p50']:.2f} ms and p99.9 {percentile(pinned, 'p999', 5000)} ms (of the bare Beast at the same rate "
                    f"{pinned['bare']:.2f} ms), for which the load used {pinned['load'] * 100:.0f} % of its processor.")
    aged = results["found"].get("aged")
    if aged:
        said.append(f"The aged databases have {aged['orders']:,} old orders and {aged['rows']:,} rows each of inboxes and outboxes.")
    return "\n".join(said)


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


def cpu(results, left_out=()):
    rows = []
    for case, spent in results["cpu"].items():
        if case in left_out:
            continue
        most = sorted(spent.items(), key=lambda item: -item[1])
        digits = 1 if sum(spent.values()) < 100 else 0
        rows.append([case, f"{sum(spent.values()):,.{digits}f}",
                     ", ".join(f"{name} {used:,.{digits}f}" for name, used in most
                               if used >= max(1, 0.01 * sum(spent.values())))])
    return table(["CPU a request, µs", "all", "of which"], rows).replace("| --: | --: |", "| --: | --- |")


def decided(results):
    rows = []
    for case in (ORDERS, HOT):
        rounds = results["decided"].get(case)
        if not rounds:
            continue
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


def aims(results):
    """The table of what is to be reached, with what was found. What this run did not measure says so."""
    rates = {case: {what: one["median"] for what, one in found.items()} for case, found in results["rates"].items()}
    pairs = {what: (case, other) for what, case, other in results["beside"]}
    single, decided, cpu = results["found"], results["decided"], results["cpu"]
    rows = []

    def aim(what, wanted, find):
        """`find` answers the text of what was found, and whether that will do."""
        try:
            found, met = find()
        except KeyError:
            found, met = "not measured", None
        rows.append([what, wanted, found, "–" if met is None else "yes" if met else "no"])

    def least(wanted, value, text="{:.2f}"):
        return text.format(value), value >= wanted

    def most(wanted, value, text="{:.2f}"):
        return text.format(value), value <= wanted

    def of_rounds(what, measured="http"):
        case, other = pairs[what]
        if measured == "finished":
            return ratio(*([one["overall"] for one in decided[name]] for name in (case, other)))[0]
        return ratio(*(results["rates"][name][measured]["rounds"] for name in (case, other)))[0]

    def both(wanted, what, others_=()):
        """The rates of what was answered and, of orders, finished."""
        ratios = [of_rounds(what)] + ([of_rounds(what, "finished")] if pairs[what][0] in decided and pairs[what][1] in decided else [])
        ratios += [of_rounds(other) for other in others_]
        return " and ".join(f"{one:.2f}" for one in ratios), min(ratios) >= wanted

    def order():
        parts = cost_of_an_order(cpu[ORDERS])
        all_of_it = (parts["platform"] + parts["provider"]) / 1000
        return f"{all_of_it:.2f} ms, of which the payment provider {parts['provider'] / 1000:.2f}", all_of_it <= 1.5

    def cart():
        own = sum(cpu[CART].get(name, 0) for name in results["memory"]["after"]) / 1000
        sql = sum(used for name, used in cpu[CART].items() if name.startswith("postgres")) / 1000
        return f"{own:.2f} ms, PostgreSQL {sql:.2f}", own + sql <= 0.25

    def levels():
        reads, answered, finished = (of_rounds(f"{what}, LOG_LEVEL=info, to warning", measured)
                                     for what, measured in (("kept reads", "http"), ("orders", "http"), ("orders", "finished")))
        return f"reads {reads:.2f}, orders {answered:.2f}, finished {finished:.2f}", min(reads, answered, finished) >= 0.9

    def mixed():
        kept = of_rounds("reads in the mixed load, to reads alone")
        asked = of_rounds("reads in the mixed load, no answer kept, to reads alone")
        return f"{kept:.2f}; where no answer is kept {asked:.2f}", kept >= 0.7

    def month():
        if "aged" not in single:
            return "[measured apart](performance-tried.md#a-months-data)", None
        ratios = [of_rounds(f"{name} with a month's data, to without", measured)
                  for name in (ORDERS, HOT) for measured in ("http", "finished")]
        return ", ".join(f"{one:.2f}" for one in ratios), min(ratios) >= 0.9

    def gateways():
        return ratio(*(gateway_cpu(results, name) for name in pairs["uncached product, to grpc-gateway"]))[0]

    aim("CPU of an order, answered and finished, mail server apart", "at most 1.5 ms", order)
    aim("orders answered, to pgbench of the bare transaction", "at least 0.35", lambda: least(0.35, rates[ORDERS]["http"] / rates[ORDERS]["pgbench"]))
    aim("orders finished /s for a minute, none left over", "at least 1,200", lambda: least(1200, single["sustained"]["finished"], "{:,.0f}"))
    aim("orders of one product, to those of many: answered and finished", "at least 0.8", lambda: both(0.8, "orders of one product, to those of many"))
    aim("placed to PROCESSING at 60 % of that rate, p99", "at most 100 ms", lambda: most(100, single["sustained"]["p99"], "{:.0f} ms"))
    aim("default settings, to LOG_LEVEL=warning", "at least 0.9", levels)
    aim("uncached product, CPU of gateway and products", "at most 60 µs",
        lambda: most(60, cpu[UNCACHED]["gateway"] + cpu[UNCACHED]["products"], "{:.0f} µs"))
    aim("uncached product, gateway's CPU to grpc-gateway's", "at most 0.4", lambda: most(0.4, gateways()))
    aim("the same, rate", "at least 2", lambda: least(2, of_rounds("uncached product, to grpc-gateway")))
    aim("list of 20, uncached, rate to grpc-gateway", "at least 3", lambda: least(3, of_rounds("uncached list of 20, to grpc-gateway")))
    aim("kept read with a token and limits, to one with a token", "at least 0.95",
        lambda: least(0.95, of_rounds("kept reads with a token and limits, to those with a token")))
    aim("reads in the mixed load, to reads alone", "at least 0.7", mixed)
    aim("kept read at half its rate, the load on a core of its own, p99.9", "at most 5 ms", lambda: most(5, single["pinned"]["p999"], "{:.1f} ms"))
    aim("cart add, CPU of own processes and PostgreSQL", "at most 0.25 ms", cart)
    aim("search for a common word of a million products", "at most 20 ms", lambda: ("[measured apart](performance-tried.md#a-million-products)", None))
    aim("own processes after load, PSS", "at most 150 MB", lambda: most(150, total(results["memory"]["after"], 1), "{:.0f} MB"))
    aim("start of servers and services, warm, to ready", "at most 6 s", lambda: most(6, results["started"], "{:.1f} s"))
    aim("orders after a month's data, to without: answered and finished, of many and of one product", "at least 0.9", month)
    return table(["what", "wanted", "found", "met"], rows)


def comparison(base, found):
    """What a commit and this tree have in `found`, a row each, and what differs in every round, and by more than its spread."""
    rows, differs = [], []
    for one in found:
        middle, apart = ratio(one["head"], one["base"])
        rows.append([one["case"], one["what"], rate(median(one["base"])), rate(median(one["head"])), f"{middle:.2f}", f"±{apart:.2f}"])
        sides = {one_head > one_base for one_base, one_head in zip(one["base"], one["head"])}
        if len(sides) == 1 and abs(middle - 1) > apart:
            differs.append(f"- {one['case']}: {one['what']} {(middle - 1) * 100:+.0f} %")
    head = f"This tree to {base[:12]}, medians of {len(found[0]['head'])} rounds; the spread is half of how far the rounds' ratios lie apart."
    return "\n\n".join([head, table(["case", "what", "base", "this", "ratio", "spread"], rows).replace("| --- | --: |", "| --- | --- |", 1),
                        "Beyond the spread:\n\n" + "\n".join(differs) if differs else "Nothing differs by more than its spread."])


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
    parts = [throughput(results), beside(results), latencies(results), cpu(results), sustained(results)]
    return "\n\n".join(parts + ([decided(results)] if results["decided"] else []))


def text(results):
    machine_ = results["machine"]
    return f"""Commit {machine_['commit']}, release build, {machine_['date']}; {machine_['cores']} cores of
"{machine_['cpu']}", {machine_['memory']} GB. Medians of {results['rounds']} rounds of {results['seconds']} s a measurement (login twice that),
{results['products']} products, {results['buyers']} buyers, bcrypt cost {results['bcrypt_cost']}. The load, the platform and its servers share these
cores. {others.told(results['others'])}

### Aims

{aims(results)}

{sustained(results)}

### Throughput

{throughput(results)}

{beside(results)}

{decided(results)}

### Latency

At about half of the throughput (of orders, of those that are finished), counted from when each request was due.

{latencies(results)}

### Where the time goes

CPU of each process divided by the requests of the closed loop, less what it uses when idle. That of orders includes
everything an order sets off: its events, the reservation, the shipment and the mail.

{cpu(results, in_pairs(results))}

### Memory

RSS counts a library in every process that uses it, PSS shares it out: their sum is what they take together.

{memory(results)}

### Beside a NestJS implementation

Its figures are from **another run** on a machine of this kind (2 cores, nine Node.js 20 processes, the same kinds of
servers), so these ratios are orders of magnitude. The bcrypt cost of its login is not known; a step of the cost halves the rate.

{nestjs(results)}"""
