"""What a run sees of the stack from outside: databases, topics, the provider's ledger, mails."""

from collections import defaultdict

from harness import wait_for
from settings import GROUPS

TOPICS = ("orders", "stock", "payments", "shipments")
PUBLISHERS = ("orders", "stock", "payments", "shipping")

# What payments says of each order, and what the provider does.
PAYMENTS = """SELECT order_uuid, CASE charge WHEN 'CAPTURED' THEN p.amount ELSE 0 END AS captured,
  coalesce((SELECT sum(r.amount) FROM refunds r WHERE r.order_uuid = p.order_uuid AND r.state = 'DONE'), 0) AS refunded
  FROM payments p"""
CAPTURES = """SELECT order_uuid, min(extract(epoch FROM ended_at)) AS at FROM attempts
  WHERE outcome = 'CAPTURED' GROUP BY order_uuid"""
LEDGER = """SELECT left(key, 36) AS order_uuid, sum(captured) AS captured, sum(refunded) AS refunded,
  coalesce(sum(amount) FILTER (WHERE status IN ('PENDING', 'AUTHORIZED')), 0) AS held FROM payments GROUP BY 1"""
TIMELINE = """SELECT order_id, sequence, what, cause, extract(epoch FROM at) AS at FROM order_timeline
  ORDER BY order_id, sequence"""
RETURNS = """SELECT o.uuid AS order_uuid, o.id AS order_id, r.uuid AS return_uuid, i.product_id, i.quantity
  FROM returns r JOIN return_items i ON i.return_id = r.id JOIN orders o ON o.id = r.order_id
  WHERE r.status = 'ACCEPTED'"""


def look_at_orders(databases, people, seen):
    buyers = ",".join(str(person.id) for person in people)
    seen.orders = {row["id"]: row for row in databases.rows(
        "orders", f"SELECT id, uuid, user_id, status, reason, total_price FROM orders WHERE user_id IN ({buyers})")}
    for row in databases.rows("orders", TIMELINE):
        seen.timeline.setdefault(row["order_id"], []).append(row)
    seen.returns = databases.rows("orders", RETURNS)
    seen.shipments = {row["order_uuid"]: row["status"] for row in databases.rows(
        "shipping", "SELECT order_uuid, state AS status FROM shipments")}


def look_at_money(databases, seen):
    seen.payments = {row["order_uuid"]: row for row in databases.rows("payments", PAYMENTS)}
    seen.refunds = databases.rows("payments", "SELECT uuid, order_uuid, source, cause, amount, state FROM refunds")
    seen.captures = {row["order_uuid"]: row["at"] for row in databases.rows("payments", CAPTURES)}
    seen.ledger = {row["order_uuid"]: row for row in databases.rows("provider", LEDGER)}


def look_at_stock(databases, products, seen):
    seen.reservations = {row["order_uuid"]: row for row in databases.rows(
        "products", "SELECT order_uuid, state, shortages FROM reservations")}
    lines = defaultdict(dict)
    for row in databases.rows("products", "SELECT order_uuid, product_id, quantity, returned FROM reservation_lines"):
        lines[row["order_uuid"]][row["product_id"]] = row
    seen.lines = dict(lines)
    for row in databases.rows("products", "SELECT id, on_hand, reserved FROM products"):
        if row["id"] in products:
            seen.products[row["id"]] = row | {"received": products[row["id"]]}
    seen.movements = {row["product_id"]: row for row in databases.rows(
        "products", "SELECT product_id, sum(on_hand) AS on_hand, sum(reserved) AS reserved FROM stock_movements"
        " GROUP BY product_id")}


def look_at_events(shop, databases, seen):
    for topic in TOPICS:
        seen.events += wait_for(f"the events of {topic}", lambda topic=topic: shop.events(topic), 120)
    for group, service in GROUPS.items():
        seen.inbox[group] = {row["event_id"]: row["at"] for row in databases.rows(
            service, f"SELECT event_id, extract(epoch FROM seen_at) AS at FROM inbox WHERE consumer = '{group}'")}
    seen.written_again = [row["event_id"] for name in PUBLISHERS for row in databases.rows(
        name, "SELECT event_id FROM outbox GROUP BY event_id HAVING count(*) > 1")]
    seen.written = {row["event_id"] for name in PUBLISHERS for row in databases.rows(
        name, "SELECT event_id FROM outbox WHERE topic IN ('" + "', '".join(TOPICS) + "')")}
    seen.mails = [str(mail["Message-ID"]).strip("<>") for mail in shop.mails("", None)]
    seen.drift = shop.drift_reported() + shop.drift()
    # An attempt beyond the first, or one whose sender died, may have sent the mail before.
    seen.mails_in_doubt = databases.number(
        "notification", "SELECT coalesce(sum(attempts - 1), 0) FROM mail_jobs WHERE attempts > 1")


def look(shop, databases, people, products, seen):
    """All of it; `products` says how many pieces there were of each."""
    look_at_orders(databases, people, seen)
    look_at_money(databases, seen)
    look_at_stock(databases, products, seen)
    look_at_events(shop, databases, seen)


def under_way(shop, databases):
    """How much of what is not at rest yet."""
    def count(database, what):
        return databases.number(database, f"SELECT count(*) FROM {what}")
    return {
        "orders": count("orders", "orders WHERE status NOT IN ('DELIVERED', 'CANCELLED')"),
        "payments": count("payments", "payments WHERE next_at IS NOT NULL"),
        "unpublished events": sum(count(name, "outbox WHERE published_at IS NULL") for name in PUBLISHERS),
        "unconsumed events": shop.lag(),
        "events in retry queues": sum(count(name, "retry_queue") for name in {
            GROUPS[group] for group in ("orders", "cart", "payments", "stock", "shipping", "notification")}),
        "mails": count("notification", "mail_jobs WHERE state = 'WAITING'")}
