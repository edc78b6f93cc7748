"""What goes wrong, at random and again in the same way from the same seed: processes die, stand still, and events
are delivered twice."""

import os
import random
import signal
import threading
import time

from harness import say
from settings import StackError

# Longest time that a process stands still by chance.
LONGEST_PAUSE = 6.0
# Between one trouble and the next.
SHORTEST_PEACE, LONGEST_PEACE = 0.3, 2.5


def send(pid, what):
    try:
        os.kill(pid, what)
        return True
    except ProcessLookupError:
        return False


class Trouble:
    """Kills and pauses, one after another."""

    def __init__(self, pids, seed):
        self.pids = pids  # program -> a function that answers its process id
        self.random = random.Random(seed)
        self.stop = threading.Event()
        self.done = []  # (seconds since the start, what, program)

    def run(self):
        start = time.monotonic()
        turn = []
        while not self.stop.wait(self.random.uniform(SHORTEST_PEACE, LONGEST_PEACE)):
            if not turn:  # every program in turn, each time in another order
                turn = self.random.sample(list(self.pids), len(self.pids))
            program = turn.pop()
            what = self.random.choice(("kill", "kill", "pause"))
            pid = self.pids[program]()
            if pid is None:  # not up again yet
                continue
            self.done.append((time.monotonic() - start, what, program))
            say(f"{what} {program}")
            if what == "kill":
                send(pid, signal.SIGKILL)
            else:
                self.pause(pid)

    def pause(self, pid):
        if not send(pid, signal.SIGSTOP):
            return
        self.stop.wait(self.random.uniform(0.5, LONGEST_PAUSE))
        send(pid, signal.SIGCONT)


class Repeats:
    """Puts a share of what is on the topics on them once more."""

    def __init__(self, shop, topics, share, seed):
        self.shop = shop
        self.topics = topics
        self.share = share
        self.random = random.Random(seed)
        self.stop = threading.Event()
        self.seen = set()
        self.count = 0

    def run(self):
        while not self.stop.wait(1.0):
            for topic in self.topics:
                try:
                    self.repeat(topic)
                except (StackError, OSError):  # Kafka is away
                    pass

    def repeat(self, topic):
        for event in self.shop.events(topic):
            place = (event.topic, event.partition, event.offset)
            if place in self.seen:
                continue
            self.seen.add(place)
            if self.random.random() < self.share:
                self.shop.publish_again(event)
                self.count += 1
