"""What goes wrong, at random and again in the same way from the same seed: processes die, stand still, and events
are delivered twice."""

import os
import random
import signal
import threading
import time

from harness import say
from settings import StackError

# Longest time that a process stands still. The lease of a relay, a sender or a worker expires meanwhile.
LONGEST_PAUSE = 6.0


class Trouble:
    """Kills and pauses, one after another."""

    def __init__(self, shop, programs, seed):
        self.shop = shop
        self.programs = programs
        self.random = random.Random(seed)
        self.stop = threading.Event()
        self.done = []  # (seconds since the start, what, program)
        self.paused = None

    def run(self):
        start = time.monotonic()
        turn = []
        while not self.stop.wait(self.random.uniform(0.3, 2.5)):
            if not turn:  # every program in turn, each time in another order
                turn = self.random.sample(self.programs, len(self.programs))
            program = turn.pop()
            what = self.random.choice(("kill", "kill", "pause"))
            pid = self.shop.pid(program)
            if pid is None:  # not up again yet
                continue
            self.done.append((time.monotonic() - start, what, program))
            say(f"{what} {program}")
            if what == "kill":
                self.send(pid, signal.SIGKILL)
            else:
                self.pause(pid)

    def pause(self, pid):
        if not self.send(pid, signal.SIGSTOP):
            return
        self.paused = pid
        self.stop.wait(self.random.uniform(0.5, LONGEST_PAUSE))
        self.send(pid, signal.SIGCONT)
        self.paused = None

    def end(self):
        self.stop.set()
        if self.paused:
            self.send(self.paused, signal.SIGCONT)

    @staticmethod
    def send(pid, what):
        try:
            os.kill(pid, what)
            return True
        except ProcessLookupError:
            return False


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
