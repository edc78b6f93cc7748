"""What else runs on this machine while something is measured: how much of it that took, and what it was."""

import os
import re
import time
from collections import Counter

import psutil

ALLOWED = 0.05  # of the machine; figures that were found beside more are not written


def busy():
    """Seconds of CPU that anybody has used so far, and those that other virtual machines have taken."""
    used = psutil.cpu_times()
    return used.user + used.nice + used.system + used.irq + used.softirq, used.steal


class Others:
    def __init__(self):
        self.taken = Counter()  # name: seconds
        self.seconds = 0        # of all processors, that were looked at
        self.shares = []        # of the machine, in each measurement

    def look(self, ours):
        """What all others have used until now, and the time; `ours` are process ids."""
        parent = psutil.Process()
        ours = set(ours) | {parent.pid} | {child.pid for child in parent.children(recursive=True)}
        used = {}
        for one in psutil.process_iter(["pid", "name", "create_time", "cpu_times"]):
            info = one.info
            if info["pid"] not in ours and info["cpu_times"]:
                used[info["pid"], info["create_time"]] = (info["name"], info["cpu_times"].user + info["cpu_times"].system)
        return used, busy(), time.monotonic()

    def note(self, before, after, ours):
        """What others took between two looks, in which we used so many seconds."""
        (used, (all_used, stolen), begun), (used_after, (all_after, stolen_after), ended) = before, after
        named = Counter()
        for who, (name, seconds) in used_after.items():
            # Kernel threads by their kind: kworker/0:1 and kworker/1:2 are one.
            named[re.split(r"[/:]", name)[0]] += max(0.0, seconds - used.get(who, (name, 0))[1])
        total = max(0.0, all_after - all_used - ours)
        named["ended meanwhile"] = max(0.0, total - sum(named.values()))
        named["other virtual machines"] = stolen_after - stolen
        self.taken += named
        seconds = (ended - begun) * os.cpu_count()
        self.seconds += seconds
        self.shares.append((total + named["other virtual machines"]) / seconds)

    def share(self):
        """Of the machine, over everything that was measured."""
        return sum(self.taken.values()) / self.seconds if self.seconds else 0

    def found(self):
        return {"share": self.share(), "most": max(self.shares, default=0),
                "names": {name: seconds / self.seconds for name, seconds in self.taken.most_common(6)
                          if seconds / self.seconds >= 0.001}}


def too_much(found):
    """Whether figures that were found beside them say little."""
    return found["share"] > ALLOWED


def told(found):
    """What was found as a sentence."""
    names = ", ".join(f"{name} {share * 100:.1f} %" for name, share in found["names"].items())
    return (f"Others took {found['share'] * 100:.1f} % of the machine meanwhile (at most {found['most'] * 100:.0f} % during one "
            f"measurement)" + (f": {names}." if names else "."))
