"""A WebSocket (RFC 6455), as far as a client needs one that listens and says nothing."""

import base64
import hashlib
import http.client
import json
import os
import socket
import ssl
import struct

TEXT, CLOSE, PING = 1, 8, 9
EMPTY_PONG = b"\x8a\x80" + b"\0" * 4  # a client masks, be it with zeros
OF_THE_PROTOCOL = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class WebSocket:
    """The messages of a path over one connection. The token goes as a subprotocol, as a page has to send it."""

    def __init__(self, shop, token, path, silence=30):
        port = shop.port("gateway")
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=silence)
        if shop.http_ca:
            context = ssl.create_default_context(cafile=shop.http_ca)
            self.socket = context.wrap_socket(self.socket, server_hostname="127.0.0.1")
        self.socket.sendall("\r\n".join((
            f"GET /api/v1{path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: Upgrade", "Upgrade: websocket",
            "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}",
            f"Sec-WebSocket-Protocol: shop.v1, bearer.{token}", "", "")).encode())
        self.stream = self.socket.makefile("rb")
        status = self.stream.readline().decode()
        headers = http.client.parse_headers(self.stream)
        assert status.split()[1] == "101", f"{path}: {status}{headers}"
        accepted = hashlib.sha1((key + OF_THE_PROTOCOL).encode()).digest()
        assert headers["Sec-WebSocket-Accept"] == base64.b64encode(accepted).decode(), headers
        assert headers["Sec-WebSocket-Protocol"] == "shop.v1", headers

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()
        self.socket.close()

    def next(self):
        """The data of the next message; ConnectionError once the server has closed."""
        while True:
            kind, payload = self.read_frame()
            if kind == TEXT:
                return json.loads(payload)["data"]
            if kind == PING:
                self.socket.sendall(EMPTY_PONG)
            if kind == CLOSE:
                raise ConnectionError(f"closed: {payload}")

    def read_frame(self):
        """Kind and payload of a frame; a server's are not masked, and ours come whole."""
        first, length = self.read(2)
        if length == 126:
            length, = struct.unpack(">H", self.read(2))
        elif length == 127:
            length, = struct.unpack(">Q", self.read(8))
        return first & 0x0f, self.read(length)

    def read(self, count):
        data = self.stream.read(count)
        if len(data) < count:
            raise ConnectionError("the connection has ended")
        return data
