#!/usr/bin/python3
"""The collector of spans, and what is told of an order from them and from logs."""

import contextlib
import io
import json
import sys
import tempfile
import threading
import unittest
from http.server import ThreadingHTTPServer
from pathlib import Path

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "deploy/local"))

import collector  # pylint: disable=wrong-import-position
import order_trail  # pylint: disable=wrong-import-position
from http_client import connect  # pylint: disable=wrong-import-position
from settings import StackError  # pylint: disable=wrong-import-position


def request(process, *spans):
    """Of spans (id, parent, name, begin, end, attributes)."""
    made = trace_service_pb2.ExportTraceServiceRequest()
    of_process = made.resource_spans.add()
    of_process.resource.attributes.add(key="service.name").value.string_value = process
    scope = of_process.scope_spans.add()
    for number, parent, name, begin, end, attributes in spans:
        span = scope.spans.add(trace_id=b"t" * 16, span_id=bytes([number]) * 8, name=name, start_time_unix_nano=begin, end_time_unix_nano=end)
        if parent:
            span.parent_span_id = bytes([parent]) * 8
        for key, value in attributes.items():
            span.attributes.add(key=key).value.string_value = value
    return made.SerializeToString()


OF_GATEWAY = request("gateway", (1, None, "POST /api/v1/orders", 1_000_000, 9_000_000, {"http.response.status_code": "201"}))
OF_ORDERS = request("orders", (2, 1, "shop.orders.v1.OrdersService/CreateOrder", 2_000_000, 8_000_000, {}),
                    (3, 2, "publish orders", 8_500_000, 12_000_000,
                     {"messaging.destination.name": "orders", "messaging.kafka.message.key": "7", "shop.event.type": "ORDER_CREATED"}))


class Collector(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def store(self):
        store = collector.Store(self.folder)
        self.addCleanup(store.close)
        return store

    def test_keeps_what_it_is_sent_and_refuses_what_is_none(self):
        collector.Handler.store = self.store()
        server = ThreadingHTTPServer(("127.0.0.1", 0), collector.Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            connection = connect(f"127.0.0.1:{server.server_port}")
            statuses = []
            for path, body in (("/v1/traces", OF_GATEWAY), ("/v1/traces", OF_ORDERS), ("/v1/metrics", b"x")):
                connection.request("POST", path, body)
                answer = connection.getresponse()
                answer.read()
                statuses.append(answer.status)
            connection.close()
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
        self.assertEqual([200, 200, 404], statuses)
        self.assertEqual([OF_GATEWAY, OF_ORDERS], list(collector.messages(self.folder)))

    def test_goes_on_in_another_file_and_keeps_the_one_before(self):
        collector.LONGEST_FILE, longest = 100, collector.LONGEST_FILE
        self.addCleanup(setattr, collector, "LONGEST_FILE", longest)
        store = self.store()
        for number in range(4):
            store.append(bytes([number]) * 80)
        self.assertEqual([bytes([number]) * 80 for number in range(4)], list(collector.messages(self.folder)))
        store.append(b"5" * 80)
        store.append(b"6" * 80)
        self.assertEqual(4, len(list(collector.messages(self.folder))))

    def test_is_read_up_to_where_a_crash_has_cut_it_off(self):
        for cut in range(1, len(OF_ORDERS) + collector.LENGTH.size):
            store = self.store()
            store.append(OF_GATEWAY)
            store.append(OF_ORDERS)
            store.file.truncate(store.file.tell() - cut)
            self.assertEqual([OF_GATEWAY], list(collector.messages(self.folder)), f"without the last {cut} bytes")
            self.store().append(OF_ORDERS)
            self.assertEqual([OF_GATEWAY, OF_ORDERS], list(collector.messages(self.folder)), f"after the last {cut} bytes were lost")
            store.file.truncate(0)


class OrderTrail(unittest.TestCase):
    def test_is_a_tree_of_each_trace_in_which_the_order_occurs(self):
        with tempfile.TemporaryDirectory() as folder:
            store = collector.Store(folder)
            self.addCleanup(store.close)
            for message in (OF_ORDERS, OF_GATEWAY, OF_ORDERS):
                store.append(message)
            shown = io.StringIO()
            with contextlib.redirect_stdout(shown):
                order_trail.print_traces(folder, "7")
            self.assertEqual([
                "trace " + (b"t" * 16).hex(),
                "    begins      took  ms",
                "       0.0       8.0  gateway      POST /api/v1/orders                                       201",
                "       1.0       6.0  orders         orders.v1.OrdersService/CreateOrder",
                "       7.5       3.5  orders           publish orders                                        ORDER_CREATED",
                ""], shown.getvalue().splitlines())
            with self.assertRaises(StackError):
                order_trail.print_traces(folder, "8")

    def test_has_the_lines_that_name_the_order_and_those_of_its_traces(self):
        def line(second, process, **fields):
            return json.dumps({"time": f"2026-11-30T10:00:0{second}.000Z", "process": process, "level": "info", "message": "m", **fields})
        logs = ["\n".join([line(3, "stock", eventKey="7", eventType="ORDER_CREATED", traceId="a"), "no json", line(5, "stock", traceId="b"),
                           line(6, "stock", eventKey="7", eventType="USER_DELETED", traceId="c")]),
                "\n".join([line(1, "gateway", traceId="a"), line(4, "payments", orderId=7), line(2, "gateway", orderId=77)])]
        self.assertEqual([("gateway", "1"), ("stock", "3"), ("payments", "4")],
                         [(fields["process"], fields["time"][18]) for fields in order_trail.lines_of(logs, "7")])


if __name__ == "__main__":
    unittest.main(verbosity=2)
