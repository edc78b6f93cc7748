#!/usr/bin/python3
"""What idle streams cost in memory, of the gateway and of the service behind it, and how long one event takes to all.

  gateway/streams_memory_test.py build/dev/bin/stream_server [streams]
"""

import resource
import selectors
import socket
import subprocess
import sys
import time

STREAMS = 10_000
# What one stream may cost the gateway, and the service.
MOST = 48 << 10


def start(*command):
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return process, int(process.stderr.readline())


def memory(process):
    with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS"))


def threads(process):
    with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Threads"))


class Streams:
    def __init__(self, port, count):
        self.selector = selectors.DefaultSelector()
        self.texts = {}
        for number in range(count):
            client = socket.create_connection(("127.0.0.1", port), 60)
            client.sendall(f"GET /api/v1/books/{number + 1}/watch HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            client.setblocking(False)
            self.selector.register(client, selectors.EVENT_READ)
            self.texts[client] = b""

    def wait_for(self, text, limit=300):
        """Until every stream has sent `text`."""
        missing = set(self.texts)
        deadline = time.monotonic() + limit
        while missing:
            if time.monotonic() > deadline:
                raise AssertionError(f"{len(missing)} streams wait in vain for {text}")
            for key, _ in self.selector.select(1):
                got = key.fileobj.recv(65536)
                if not got:
                    raise AssertionError(f"a stream ended: {self.texts[key.fileobj]}")
                self.texts[key.fileobj] += got
                if text in self.texts[key.fileobj]:
                    missing.discard(key.fileobj)


def main():
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    binary, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else STREAMS
    service, service_port = start(binary, "service")
    gateway, port = start(binary, "gateway", str(service_port))
    try:
        Streams(port, 10).wait_for(b"retry:")
        before = memory(gateway), memory(service)
        streams = Streams(port, count)
        streams.wait_for(b"retry:")
        for name, process, was in (("gateway", gateway, before[0]), ("service", service, before[1])):
            each = (memory(process) - was) / count
            print(f"{name}: {memory(process) >> 20} MB, {each / 1024:.1f} KB a stream, {threads(process)} threads")
            if each > MOST:
                raise AssertionError(f"a stream costs the {name} more than {MOST >> 10} KB")
        begun = time.monotonic()
        service.stdin.write("\n")
        service.stdin.flush()
        streams.wait_for(b"id: 1\n")
        print(f"one event to each of {count}: {time.monotonic() - begun:.1f} s")
    finally:
        for process in (gateway, service):
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
