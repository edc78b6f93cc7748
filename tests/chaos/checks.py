"""What has to hold once everything is quiet, whatever went wrong before.

Each check takes what was seen from outside (Seen: databases, topics, the provider's ledger, mails, and what customers
were promised) and answers a list of sentences, one for each thing that does not hold.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field


DECLINING = ("tok_decline", "tok_insufficient_funds")  # the tokens that the provider declines
BY_PEOPLE = ("BY_HAND", "RETURN")                      # why money goes back of an order that is not cancelled
MAILS = {"ORDER_CREATED": "created", "ORDER_CONFIRMED": "confirmed", "ORDER_CANCELLED": "cancelled",
         "ORDER_SHIPPED": "shipped", "ORDER_DELIVERED": "delivered"}


@dataclass
class Seen:
    requests: list = field(default_factory=list)      # clients.Request
    cancelled: set = field(default_factory=set)       # orders whose cancellation was answered 200
    refunds_wanted: list = field(default_factory=list)    # clients.Refund
    returns_accepted: list = field(default_factory=list)  # orders, one for each acceptance that was answered 200
    repeats_that_waited: int = 0                      # requests sent twice at once, of which one was the repeat
    watched: dict = field(default_factory=dict)       # order id -> the entries of its timeline as they were shown live
    relays_taken_over: int = 0                        # paused relays that went on after another one
    shuffled: set = field(default_factory=set)        # orders whose events the run itself has put out of order
    left: dict = field(default_factory=dict)          # what is still under way, by kind
    orders: dict = field(default_factory=dict)        # id -> row
    timeline: dict = field(default_factory=dict)      # order id -> [row, …]
    payments: dict = field(default_factory=dict)      # order uuid -> row
    refunds: list = field(default_factory=list)       # rows of payments
    returns: list = field(default_factory=list)       # rows of orders: those that were accepted, a row a line
    ledger: dict = field(default_factory=dict)        # order uuid -> {"captured", "refunded", "held"}
    captures: dict = field(default_factory=dict)      # order uuid -> when payments heard of the capture
    reservations: dict = field(default_factory=dict)  # order uuid -> {"state", "shortages"}
    lines: dict = field(default_factory=dict)         # order uuid -> {product: {"quantity", "returned"}}
    products: dict = field(default_factory=dict)      # id -> {"on_hand", "reserved", "received"}
    movements: dict = field(default_factory=dict)     # product -> {"on_hand", "reserved"}
    shipments: dict = field(default_factory=dict)     # order uuid -> status
    events: list = field(default_factory=list)        # harness.Event
    inbox: dict = field(default_factory=dict)         # consumer -> {event id: when}
    written: set = field(default_factory=set)         # ids of all events in outboxes
    written_again: list = field(default_factory=list)  # ids that an outbox has more than once
    drift: list = field(default_factory=list)         # what the reconciler has reported meanwhile, and finds now
    mails: list = field(default_factory=list)         # Message-ID
    mails_in_doubt: int = 0                           # whose attempt had no known outcome

    def first_events(self, topic):
        """The events of a topic, each where it came first: what comes later is a repeat."""
        seen = set()
        for event in sorted((event for event in self.events if event.topic == topic),
                            key=lambda event: (event.partition, event.offset)):
            if event.headers["ce_id"] not in seen:
                seen.add(event.headers["ce_id"])
                yield event


def everything_came_to_rest(seen):
    return [f"{count} of {kind} are still under way" for kind, count in seen.left.items() if count]


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


def every_event_is_on_its_topic(seen):
    published = {event.headers["ce_id"] for event in seen.events}
    return [f"event {event} is in an outbox and on no topic" for event in sorted(seen.written - published)]


def every_order_has_ended(seen):
    return [f"order {number} is {order['status']}" for number, order in seen.orders.items()
            if order["status"] not in ("DELIVERED", "CANCELLED")]


def what_was_cancelled_stays_cancelled(seen):
    return [f"the cancellation of order {order} was accepted, and it is {seen.orders[order]['status']}"
            for order in seen.cancelled if order in seen.orders and seen.orders[order]["status"] != "CANCELLED"]


def who_can_pay_is_not_refused(seen):
    """A charge in doubt is no failed one: an order ends for want of money only where the provider declines."""
    tokens = {order: request.body["paymentToken"] for request in seen.requests for order in request.orders}
    return [f"order {number} was cancelled as its payment failed, and {tokens[number]} pays: {order['reason']}"
            for number, order in seen.orders.items()
            if number in tokens and tokens[number] not in DECLINING
            and (order["reason"] or "").startswith("the payment failed")]


def money_follows_the_order(seen):
    """One charge for an order that went on, and none is left of one that did not; the provider and we agree."""
    wrong = []
    nothing = {"captured": 0, "refunded": 0, "held": 0}
    given = Counter()
    for refund in seen.refunds:
        if refund["state"] == "DONE" and refund["cause"] in BY_PEOPLE:
            given[refund["order_uuid"]] += refund["amount"]
    for order in seen.orders.values():
        ledger = seen.ledger.get(order["uuid"], nothing)
        kept = ledger["captured"] - ledger["refunded"]
        expected = order["total_price"] - given[order["uuid"]] if order["status"] == "DELIVERED" else 0
        if ledger["captured"] not in (0, order["total_price"]):
            wrong.append(f"order {order['id']} costs {order['total_price']} and was charged {ledger['captured']}")
        if kept != expected:
            wrong.append(f"order {order['id']} is {order['status']}, costs {order['total_price']},"
                         f" {given[order['uuid']]} of it was given back, and the provider"
                         f" captured {ledger['captured']} and refunded {ledger['refunded']}")
        if ledger["held"]:
            wrong.append(f"order {order['id']} is {order['status']} and the provider still holds {ledger['held']}")
        payment = seen.payments.get(order["uuid"])
        if payment and (payment["captured"], payment["refunded"]) != (ledger["captured"], ledger["refunded"]):
            wrong.append(f"order {order['id']}: payments says {payment['captured']} captured and"
                         f" {payment['refunded']} refunded, the provider {ledger['captured']} and {ledger['refunded']}")
    known = {order["uuid"] for order in seen.orders.values()}
    return wrong + [f"the provider has money of {uuid}, which is no order" for uuid, ledger in seen.ledger.items()
                    if uuid not in known and (ledger["captured"] != ledger["refunded"] or ledger["held"])]


def refunds_are_as_promised(seen):
    """Each that was answered 201 is made, once and in full; none is made that was not asked for, or that the provider
    had to refuse."""
    wrong = []
    rows = {row["uuid"]: row for row in seen.refunds}
    promised = set()
    for wanted in seen.refunds_wanted:
        if len(wanted.given) > 1:
            wrong.append(f"one request for money of order {wanted.order} was answered with {len(wanted.given)} refunds")
        for uuid, amount in wanted.given.items():
            promised.add(uuid)
            row = rows.get(uuid, {"state": "not there", "amount": 0})
            if (row["state"], row["amount"]) != ("DONE", amount):
                wrong.append(f"a refund of {amount} of order {wanted.order} was promised and is {row['state']},"
                             f" of {row['amount']}")
    wrong += [f"refund {row['uuid']} was made and nobody was told" for row in seen.refunds
              if row["cause"] == "BY_HAND" and row["uuid"] not in promised]
    return wrong + [f"the provider had to refuse refund {row['uuid']}" for row in seen.refunds
                    if row["state"] == "FAILED"]


def returns_come_back_once(seen):
    """In goods as many as were accepted, and in money unless that was given back before."""
    wrong = []
    accepted = defaultdict(Counter)
    for row in seen.returns:
        accepted[row["order_uuid"]][row["product_id"]] += row["quantity"]
    for order in seen.orders.values():
        if order["status"] != "DELIVERED":
            continue
        back = {product: line["returned"] for product, line in seen.lines.get(order["uuid"], {}).items()
                if line["returned"]}
        if back != dict(accepted[order["uuid"]]):
            wrong.append(f"order {order['id']}: returns of {dict(accepted[order['uuid']])} were accepted,"
                         f" {back} came back")
    paid = {(row["order_uuid"], row["source"]) for row in seen.refunds}
    by_hand = {row["order_uuid"] for row in seen.refunds if row["cause"] == "BY_HAND"}
    wrong += [f"return {row['return_uuid']} was accepted and not refunded" for row in seen.returns
              if (row["order_uuid"], f"return:{row['return_uuid']}") not in paid and row["order_uuid"] not in by_hand]
    known = {row["order_id"] for row in seen.returns}
    return wrong + [f"a return of order {order} was accepted and is not there" for order in seen.returns_accepted
                    if order not in known]


def stock_is_conserved(seen):
    """On hand and what was sold is what there was; nothing is held any more; the movements say the same."""
    sold = Counter()
    for uuid, reservation in seen.reservations.items():
        if reservation["state"] == "COMMITTED":
            sold.update({product: line["quantity"] - line["returned"] for product, line in seen.lines[uuid].items()})
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
    wrong = []
    for order in seen.orders.values():
        state = seen.reservations.get(order["uuid"], {}).get("state")
        lines = seen.lines.get(order["uuid"], {}).values()
        if order["status"] == "DELIVERED":
            all_back = all(line["returned"] == line["quantity"] for line in lines)
            fits = state == ("RETURNED" if all_back else "COMMITTED")
        else:
            fits = order["status"] != "CANCELLED" or state in ("RELEASED", "RETURNED", "REJECTED")
        if not fits:
            wrong.append(f"order {order['id']} is {order['status']} and its reservation {state}")
    return wrong


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
        entries = [entry["sequence"] for entry in seen.timeline.get(order, [])]
        if entries != list(range(1, len(entries) + 1)) or not entries:
            wrong.append(f"the timeline of order {order} is {entries}")
    return wrong


def who_watches_an_order_sees_all_of_it(seen):
    """To its end, without a gap and without a repeat, over however many connections."""
    wrong = []
    for order, shown in seen.watched.items():
        numbers = [entry["sequence"] for entry in shown]
        kept = [row["what"] for row in seen.timeline.get(order, [])]
        if numbers != list(range(1, len(shown) + 1)) or [entry["what"] for entry in shown] != kept[:len(shown)]:
            wrong.append(f"of order {order} the entries {numbers} were shown")
        elif not shown or shown[-1]["what"] not in ("ORDER_DELIVERED", "ORDER_CANCELLED"):
            wrong.append(f"of order {order} {len(shown)} entries were shown, of {len(kept)}, and not its end")
    return wrong


def an_event_has_one_id(seen):
    """Repeats are the same event: one ce_id for each type of an order, but for refunds."""
    ids = defaultdict(set)
    for event in seen.events:
        if event.type not in ("PAYMENT_REFUNDED", "ORDER_RETURNED"):
            ids[event.topic, event.key, event.type].add(event.headers["ce_id"])
    return [f"{kind} of {key} was published as {len(found)} events" for (_, key, kind), found in ids.items()
            if len(found) > 1]


def an_event_takes_effect_once(seen):
    """However often it is delivered: what it says of an order, and what is published because of it."""
    wrong = [f"an outbox has event {event} more than once" for event in seen.written_again]
    for order, entries in seen.timeline.items():
        told = Counter((entry["what"], entry["cause"]) for entry in entries
                       if entry["cause"] not in ("CUSTOMER", "SHOP", "DEADLINE"))
        wrong += [f"the timeline of order {order} has {what} {times} times because of one event"
                  for (what, _), times in told.items() if times > 1]
    return wrong


def events_come_in_their_order(seen):
    numbers = defaultdict(list)
    for event in seen.first_events("orders"):
        numbers[int(event.key)].append(event.json["seq"])
    return [f"the events of order {order} came as {found}" for order, found in numbers.items()
            if found != sorted(found) and order not in seen.shuffled]


def every_change_has_its_mail(seen):
    sent = set(seen.mails)
    wanted = {f"order-{event.key}-{MAILS[event.type]}@shop" for event in seen.events if event.type in MAILS}
    wanted |= {f"refund-{event.json['refundUuid']}@shop" for event in seen.events if event.type == "PAYMENT_REFUNDED"}
    return [f"there is no mail {mail}" for mail in sorted(wanted - sent)]


def nothing_has_drifted(seen):
    """Neither now nor while processes died: services that follow each other are no drift."""
    return seen.drift


def one_mail_a_change(seen):
    again = sum(times - 1 for times in Counter(seen.mails).values())
    return [f"{again} mails were sent again, and {seen.mails_in_doubt} attempts had an unknown outcome"] \
        if again > seen.mails_in_doubt else []


ALL = (everything_came_to_rest, no_order_is_lost, a_request_made_one_order, every_order_was_asked_for,
       every_order_was_published, every_event_is_on_its_topic, every_order_has_ended,
       what_was_cancelled_stays_cancelled, who_can_pay_is_not_refused, money_follows_the_order,
       refunds_are_as_promised, returns_come_back_once, stock_is_conserved, stock_follows_the_order,
       shipments_follow_the_order, sequences_have_no_gap, events_come_in_their_order,
       who_watches_an_order_sees_all_of_it, an_event_has_one_id, an_event_takes_effect_once, nothing_has_drifted,
       every_change_has_its_mail, one_mail_a_change)


def violations(seen):
    """{check: [what does not hold, …]} of those that found something."""
    return {check.__name__: found for check in ALL if (found := check(seen))}
