"""What became of one order: `make trace` and `make logs ORDER=`, from the files of a stack without containers."""

import json
from dataclasses import dataclass, field

from collector import messages
from settings import StackError

# Topics whose key is an order's id.
ORDER_TOPICS = ("orders", "stock", "payments", "shipments")
# What the log says of each line before its own fields.
LOG_HEAD = ("time", "level", "process", "message")


# --- spans --------------------------------------------------------------------------------------

@dataclass
class Span:
    process: str
    name: str
    trace: str
    id: str
    parent: str
    start: int          # in nanoseconds, as the end
    end: int
    kind: int
    attributes: dict
    error: str | None   # "" where it failed without a reason
    links: list
    children: list = field(default_factory=list)


def value_of(value):
    return getattr(value, value.WhichOneof("value") or "string_value")


def attributes_of(pairs):
    return {pair.key: value_of(pair.value) for pair in pairs}


def read_spans(folder):
    """Every span that was kept. One that was sent twice is there once."""
    # Not at the top: logs need no package.
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2  # pylint: disable=import-outside-toplevel
    spans = {}
    for message in messages(folder):
        request = trace_service_pb2.ExportTraceServiceRequest.FromString(message)
        for resource in request.resource_spans:
            process = attributes_of(resource.resource.attributes).get("service.name", "?")
            for scope in resource.scope_spans:
                for one in scope.spans:
                    spans[one.span_id] = Span(
                        process, one.name, one.trace_id.hex(), one.span_id.hex(), one.parent_span_id.hex(),
                        one.start_time_unix_nano, one.end_time_unix_nano, one.kind, attributes_of(one.attributes),
                        one.status.message if one.status.code == 2 else None, [link.span_id.hex() for link in one.links])
    return list(spans.values())


def concerns(span, order):
    """Whether it says by itself that it is about the order."""
    attributes = span.attributes
    return str(attributes.get("shop.order.id", "")) == order or (
        attributes.get("messaging.destination.name") in ORDER_TOPICS
        and attributes.get("messaging.kafka.message.key") == order)


def trees(spans):
    """The spans that have no parent among them, each with its children, in the order of their beginnings."""
    by_id = {span.id: span for span in spans}
    roots = []
    for span in sorted(spans, key=lambda span: (span.start, span.end)):
        parent = by_id.get(span.parent)
        (parent.children if parent else roots).append(span)
    return roots


def traces_of(folder, order):
    """The traces that an order occurs in, oldest first, each as a list of its trees."""
    spans = read_spans(folder)
    wanted = {span.trace for span in spans if concerns(span, order)}
    found = [[span for span in spans if span.trace == trace] for trace in wanted]
    return [trees(trace) for trace in sorted(found, key=lambda trace: min(span.start for span in trace))]


def milliseconds(nanoseconds):
    return f"{nanoseconds / 1e6:.1f}"


def remarks(span):
    """What a line tells of a span beside its name."""
    attributes = span.attributes
    said = [str(attributes[name]) for name in ("http.response.status_code", "shop.event.type", "shop.mail.kind",
                                               "shop.payment.outcome") if name in attributes]
    if attributes.get("shop.event.outcome", "handled") != "handled":
        said.append(attributes["shop.event.outcome"])
    if "shop.retry.attempt" in attributes:
        said.append(f"attempt {attributes['shop.retry.attempt']}")
    if attributes.get("messaging.batch.message_count", 1) > 1:
        said.append(f"in a batch of {attributes['messaging.batch.message_count']}")
    if span.error is not None:
        said.append(("FAILED: " + span.error).removesuffix(": "))
    return "  ".join(said)


def print_tree(span, begin, indent=""):
    name = indent + span.name.removeprefix("shop.")
    line = f"{milliseconds(span.start - begin):>10}{milliseconds(span.end - span.start):>10}  {span.process:<13}{name:<58}{remarks(span)}"
    print(line.rstrip())
    for child in span.children:
        print_tree(child, begin, indent + "  ")


def print_traces(folder, order):
    found = traces_of(folder, order)
    if not found:
        raise StackError(f"no trace of order {order} is kept. Spans are kept from make up PROFILE=observability on, of as many "
                         "requests as OTEL_TRACES_SAMPLER_ARG says, and arrive after a second")
    for roots in found:
        begin = min(root.start for root in roots)
        print(f"trace {roots[0].trace}\n{'begins':>10}{'took':>10}  ms")
        for root in roots:
            print_tree(root, begin)
        print()


# --- logs ---------------------------------------------------------------------------------------

def read_lines(texts):
    """The lines that are JSON objects, in the order of their times."""
    lines = []
    for text in texts:
        for line in text.splitlines():
            try:
                fields = json.loads(line)
            except ValueError:
                continue
            if isinstance(fields, dict) and "time" in fields:
                lines.append(fields)
    return sorted(lines, key=lambda fields: fields["time"])


def names_order(fields, order):
    """Whether a line says by itself that it is about the order."""
    about_order = str(fields.get("eventType", "")).startswith(("ORDER_", "STOCK_", "PAYMENT_", "SHIPMENT_"))
    return str(fields.get("orderId", "")) == order or (about_order and fields.get("eventKey") == order)


def lines_of(texts, order):
    """The lines about an order, and those of the traces in which it occurs."""
    lines = read_lines(texts)
    wanted = {fields["traceId"] for fields in lines if fields.get("traceId") and names_order(fields, order)}
    return [fields for fields in lines if names_order(fields, order) or fields.get("traceId") in wanted]


def print_lines(texts, order):
    found = lines_of(texts, order)
    if not found:
        raise StackError(f"no line in the logs names order {order}; what each process logs of a request is of the level info (LOG_LEVEL)")
    for fields in found:
        rest = "  ".join(f"{name}={value}" for name, value in fields.items() if name not in (*LOG_HEAD, "traceId", "requestId"))
        print(f"{fields['time']}  {fields['process']:<13}{fields['level']:<8} {fields['message']:<34} {rest}".rstrip())
