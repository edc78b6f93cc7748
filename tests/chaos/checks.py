"""What has to hold once everything is quiet, whatever went wrong before.

Each check takes what was seen from outside (Seen: databases, topics, the provider's ledger, mails, and what customers
were promised) and answers a list of sentences, one for each thing that does not hold.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field


@dataclass
class Seen:
    requests: list = field(default_factory=list)      # clients.Request
    cancelled: set = field(default_factory=set)       # orders whose cancellation was answered 200
    orders: dict = field(default_factory=dict)        # id -> row
    timeline: dict = field(default_factory=dict)      # order id -> [sequence, …]
    payments: dict = field(default_factory=dict)      # order uuid -> row
    ledger: dict = field(default_factory=dict)        # order uuid -> {"captured", "refunded"}
    reservations: dict = field(default_factory=dict)  # order uuid -> state
    held: dict = field(default_factory=dict)          # order uuid -> {product: quantity}
    products: dict = field(default_factory=dict)      # id -> {"on_hand", "reserved", "received"}
    movements: dict = field(default_factory=dict)     # product -> {"on_hand", "reserved"}
    shipments: dict = field(default_factory=dict)     # order uuid -> status
    events: list = field(default_factory=list)        # harness.Event
    mails: list = field(default_factory=list)         # Message-ID
    mails_in_doubt: int = 0                           # whose attempt had no known outcome


def no_order_is_lost(seen):
    promised = [order for request in seen.requests for order in request.orders]
    return [f"order {order} was answered 201 and is not there" for order in promised if order not in seen.orders]


def a_request_made_one_order(seen):
    wrong = [f"one request was answered with the orders {sorted(request.orders)}"
             for request in seen.requests if len(request.orders) > 1]
    promised = Counter(order for request in seen.requests for order in request.orders)
    return wrong + [f"order {order} is the answer to {times} requests" for order, times in promised.items() if times > 1]


def every_order_was_asked_for(seen):
    """An answer may be lost; an order that nobody sent a request for, or one request's second, is not there."""
    sent = Counter(request.buyer.id for request in seen.requests)
    placed = Counter(order["user_id"] for order in seen.orders.values())
    return [f"user {user} sent {sent[user]} requests and has {count} orders"
            for user, count in placed.items() if count > sent[user]]


def every_order_was_published(seen):
    created = {int(event.key) for event in seen.events if event.type == "ORDER_CREATED"}
    return ([f"order {order} has no ORDER_CREATED" for order in seen.orders if order not in created]
            + [f"ORDER_CREATED of {order}, which is not there" for order in created if order not in seen.orders])


def every_order_has_ended(seen):
    return [f"order {number} is {order['status']}" for number, order in seen.orders.items()
            if order["status"] not in ("DELIVERED", "CANCELLED")]


def what_was_cancelled_stays_cancelled(seen):
    return [f"the cancellation of order {order} was accepted, and it is {seen.orders[order]['status']}"
            for order in seen.cancelled if order in seen.orders and seen.orders[order]["status"] != "CANCELLED"]


def money_follows_the_order(seen):
    """One charge for an order that went on, and none is left of one that did not; the provider and we agree."""
    wrong = []
    for order in seen.orders.values():
        ledger = seen.ledger.get(order["uuid"], {"captured": 0, "refunded": 0})
        kept = ledger["captured"] - ledger["refunded"]
        expected = order["total_price"] if order["status"] == "DELIVERED" else 0
        if ledger["captured"] not in (0, order["total_price"]):
            wrong.append(f"order {order['id']} costs {order['total_price']} and was charged {ledger['captured']}")
        if kept != expected:
            wrong.append(f"order {order['id']} is {order['status']}, costs {order['total_price']}, and the provider"
                         f" captured {ledger['captured']} and refunded {ledger['refunded']}")
        payment = seen.payments.get(order["uuid"])
        if payment and (payment["captured"], payment["refunded"]) != (ledger["captured"], ledger["refunded"]):
            wrong.append(f"order {order['id']}: payments says {payment['captured']} captured and"
                         f" {payment['refunded']} refunded, the provider {ledger['captured']} and {ledger['refunded']}")
    known = {order["uuid"] for order in seen.orders.values()}
    return wrong + [f"the provider has money of {uuid}, which is no order" for uuid, ledger in seen.ledger.items()
                    if uuid not in known and ledger["captured"] != ledger["refunded"]]


def stock_is_conserved(seen):
    """On hand and what was sold is what there was; nothing is held any more; the movements say the same."""
    sold = Counter()
    for uuid, state in seen.reservations.items():
        if state == "COMMITTED":
            sold.update(seen.held.get(uuid, {}))
    wrong = []
    for product, row in seen.products.items():
        if row["reserved"] != 0:
            wrong.append(f"{row['reserved']} of product {product} are still reserved")
        if row["on_hand"] < 0:
            wrong.append(f"{row['on_hand']} of product {product} are on hand")
        if row["on_hand"] + sold[product] != row["received"]:
            wrong.append(f"product {product}: {row['on_hand']} on hand and {sold[product]} sold"
                         f" of {row['received']}")
        moved = seen.movements.get(product, {"on_hand": 0, "reserved": 0})
        if (moved["on_hand"], moved["reserved"]) != (row["on_hand"], row["reserved"]):
            wrong.append(f"product {product}: its movements add up to {moved}, its row says {row}")
    return wrong


def stock_follows_the_order(seen):
    wanted = {"DELIVERED": {"COMMITTED"}, "CANCELLED": {"RELEASED", "RETURNED", "REJECTED"}}
    return [f"order {order['id']} is {order['status']} and its reservation {seen.reservations.get(order['uuid'])}"
            for order in seen.orders.values()
            if seen.reservations.get(order["uuid"]) not in wanted.get(order["status"], set())]


def shipments_follow_the_order(seen):
    return [f"order {order['id']} is {order['status']} and its shipment {seen.shipments.get(order['uuid'])}"
            for order in seen.orders.values() if seen.shipments.get(order["uuid"]) != order["status"]]


def sequences_have_no_gap(seen):
    wrong = []
    numbers = defaultdict(set)
    for event in seen.events:
        if event.topic == "orders":
            numbers[int(event.key)].add((event.json["seq"], event.type))
    for order, found in numbers.items():
        if sorted(number for number, _ in found) != list(range(1, len(found) + 1)):
            wrong.append(f"the events of order {order} are {sorted(found)}")
    for order in seen.orders:
        entries = seen.timeline.get(order, [])
        if entries != list(range(1, len(entries) + 1)) or not entries:
            wrong.append(f"the timeline of order {order} is {entries}")
    return wrong


def an_event_has_one_id(seen):
    """Repeats are the same event: one ce_id for each type of an order, but for refunds."""
    ids = defaultdict(set)
    for event in seen.events:
        if event.type not in ("PAYMENT_REFUNDED", "ORDER_RETURNED"):
            ids[event.topic, event.key, event.type].add(event.headers["ce_id"])
    return [f"{kind} of {key} was published as {len(found)} events" for (_, key, kind), found in ids.items()
            if len(found) > 1]


def one_mail_a_change(seen):
    again = sum(times - 1 for times in Counter(seen.mails).values())
    return [f"{again} mails were sent again, and {seen.mails_in_doubt} attempts had an unknown outcome"] \
        if again > seen.mails_in_doubt else []


ALL = (no_order_is_lost, a_request_made_one_order, every_order_was_asked_for, every_order_was_published,
       every_order_has_ended, what_was_cancelled_stays_cancelled, money_follows_the_order, stock_is_conserved,
       stock_follows_the_order, shipments_follow_the_order, sequences_have_no_gap, an_event_has_one_id,
       one_mail_a_change)


def violations(seen):
    """{check: [what does not hold, …]} of those that found something."""
    return {check.__name__: found for check in ALL if (found := check(seen))}
