"""Server-sent events, as a browser reads them."""

import http.client
import json
import threading

import http_client


class EventStream:
    """The messages of a path, from whatever gateway there is: comes back after the last id that it has seen, however
    often the connection is lost. For one thread."""

    def __init__(self, shop, token, path, silence=30):
        self.shop = shop
        self.token = token
        self.path = path
        self.silence = silence  # seconds without a byte, after which a connection counts as lost
        self.last_id = None
        self.response = None
        self.ends = []  # the events that ended a connection: bye, error

    def next(self, given_up=lambda: False):
        """The next message, over as many connections as it takes; None once `given_up()`."""
        while not given_up():
            try:
                if self.response is None:
                    self.connect()
                fields = self.read_event()
            except (OSError, http.client.HTTPException):
                self.response = None
                threading.Event().wait(0.1)
                continue
            if "event" in fields:
                self.ends.append(fields["event"])
                self.response = None
                continue
            self.last_id = fields["id"]
            return json.loads(fields["data"])
        return None

    def connect(self):
        connection = http_client.connect(f"127.0.0.1:{self.shop.port('gateway')}", self.silence, self.shop.http_ca)
        headers = {"Authorization": f"Bearer {self.token}"}
        if self.last_id is not None:
            headers["Last-Event-ID"] = self.last_id
        connection.request("GET", "/api/v1" + self.path, headers=headers)
        response = connection.getresponse()
        if response.status in (401, 403, 404):
            raise AssertionError(f"{self.path}: {response.status} {response.read()}")
        if response.status != 200:
            raise ConnectionError(f"{response.status}")
        self.response = response

    def read_event(self):
        """The next event's fields; ConnectionError when the connection ends before there is one."""
        fields = {}
        while line := self.response.readline().decode():
            if line == "\n" and "data" in fields:
                return fields
            name, _, value = line.rstrip("\n").partition(": ")
            if name:
                fields[name] = value
        raise ConnectionError("the connection has ended")
