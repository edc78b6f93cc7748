#!/usr/bin/python3
"""Takes in spans by OTLP over HTTP and keeps them in files, for `make trace`: what Jaeger is in containers.

collector.py HOST PORT FOLDER. Each request is a protobuf ExportTraceServiceRequest, which is appended to FOLDER/spans
with its length before it. A full file becomes FOLDER/spans.1, and what was that is gone.
"""

import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LONGEST_FILE = 64 * 1024 * 1024
LONGEST_REQUEST = 16 * 1024 * 1024
LENGTH = struct.Struct("<I")


class Store:
    def __init__(self, folder):
        self.path = Path(folder) / "spans"
        self.lock = threading.Lock()
        # What a crash has cut off would be taken for a part of what comes after it.
        end = sum(LENGTH.size + len(message) for message in whole(self.path))
        self.file = open(self.path, "ab", buffering=0)
        self.file.truncate(end)

    def append(self, message):
        with self.lock:
            if self.file.tell() > LONGEST_FILE:
                self.file.close()
                self.path.replace(f"{self.path}.1")
                self.file = open(self.path, "ab", buffering=0)
            self.file.write(LENGTH.pack(len(message)) + message)

    def close(self):
        self.file.close()


def whole(path):
    """The messages of one file, without what a crash has cut off."""
    content = path.read_bytes() if path.exists() else b""
    at = 0
    while at + LENGTH.size <= len(content):
        length, = LENGTH.unpack_from(content, at)
        at += LENGTH.size + length
        if at <= len(content):
            yield content[at - length:at]


def messages(folder):
    """What was kept, oldest first."""
    for name in ("spans.1", "spans"):
        yield from whole(Path(folder) / name)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    store = None

    def do_POST(self):  # pylint: disable=invalid-name
        length = int(self.headers.get("Content-Length") or -1)
        if self.path != "/v1/traces" or not 0 <= length <= LONGEST_REQUEST:
            self.close_connection = True
            return self.answer(404 if self.path != "/v1/traces" else 413)
        self.store.append(self.rfile.read(length))
        return self.answer(200)

    def do_GET(self):  # pylint: disable=invalid-name
        self.answer(200 if self.path == "/healthz" else 404)

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def main():
    host, port, folder = sys.argv[1:]
    Handler.store = Store(folder)
    ThreadingHTTPServer((host, int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
