"""What chance seldom brings about within a minute: each is done until it has worked once.

None of it is more than a bad day can do: a broker's setting, a table that refuses rows, events in another order (as
after a topic was given more partitions), a process that stands still for long.
"""

import itertools
import signal
import threading
import time
from contextlib import contextmanager, suppress

import topics
from harness import say
from settings import StackError
from trouble import send

# What may go wrong on the way, while everything else goes wrong: then it is done again.
FAILURES = (OSError, StackError, AssertionError, topics.KafkaException)
# How many seconds one attempt may take, and one that undoes what an attempt has done.
PATIENCE = 25
UNDOING = 90

STEAL_TURN = """INSERT INTO relay_lease VALUES ('outbox', 'chaos', clock_timestamp() + interval '30 seconds')
  ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until"""
GIVE_TURN_BACK = "DELETE FROM relay_lease WHERE holder = 'chaos'"
TURN = "SELECT holder, extract(epoch FROM until) AS until FROM relay_lease"
WRITTEN = """SELECT key, event_id, type, source, time, traceparent, value, published_at IS NULL AS waits FROM outbox
  WHERE topic = 'orders' AND key = '{order}'"""
CAPTURED = """SELECT count(*) FROM attempts JOIN payments USING (order_uuid)
  WHERE order_id = {order} AND attempts.outcome = 'CAPTURED' AND ended_at > '{time}'"""
REFUSE_SOME = """CREATE OR REPLACE FUNCTION chaos_refuses() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'chaos: not now'; END $$;
  CREATE OR REPLACE TRIGGER chaos_refuses BEFORE INSERT ON shipments FOR EACH ROW WHEN (NEW.order_id % 4 = 1)
    EXECUTE FUNCTION chaos_refuses()"""
REFUSE_NO_MORE = "DROP TRIGGER IF EXISTS chaos_refuses ON shipments"
TAKEN_IN = "SELECT count(*) FROM inbox WHERE event_id = '{event}'"
TOMBSTONE = """SELECT count(*) FROM reservations WHERE order_id = {order} AND state = 'REJECTED'
  AND shortages = '[]'"""
TAKEN_IN_SINCE = """SELECT count(*) FROM inbox
  WHERE consumer = 'shipping' AND seen_at > (SELECT min(created_at) FROM retry_queue)"""


class Provoked:
    """The pieces, one after another, in a thread of its own."""

    def __init__(self, shop, databases, customers, pids, names):
        self.shop = shop
        self.databases = databases
        self.customers = customers
        self.pids = pids  # program -> a function that answers its process id
        self.names = names
        self.stop = threading.Event()
        self.relays_taken_over = 0
        self.shuffled = set()

    def run(self):
        for name in self.names:
            for attempt in itertools.count(1):
                if self.stop.is_set():
                    return
                say(f"provoking {name}{f', attempt {attempt}' if attempt > 1 else ''}")
                with suppress(*FAILURES):
                    if PIECES[name](self):
                        break
                self.stop.wait(0.5)

    def until(self, condition, limit=PATIENCE):
        """Whether it came true in time. A failure counts as "not yet"."""
        end = time.monotonic() + limit
        while time.monotonic() < end and not self.stop.is_set():
            with suppress(*FAILURES):
                if condition():
                    return True
            self.stop.wait(0.05)
        return False

    # --- a cancellation that arrives before its order -------------------------------------------

    def overtake(self):
        """Takes the turn of the orders' relay, and publishes a cancellation before the order that it is about."""
        with self.undone(lambda: self.databases.run("orders", GIVE_TURN_BACK)):
            self.databases.run("orders", STEAL_TURN)
            cancelled = None
            # The relay finds out within some seconds that it has lost its turn; until then it publishes.
            while cancelled is None and not self.stop.is_set():
                cancelled = self.unpublished_cancellation()
            if cancelled is None:
                return False
            self.shuffled.add(int(cancelled["key"]))
            headers = {"ce_specversion": "1.0", "ce_id": cancelled["event_id"], "ce_type": cancelled["type"],
                       "ce_source": cancelled["source"], "ce_subject": cancelled["key"], "ce_time": cancelled["time"],
                       "content-type": "application/json", "traceparent": cancelled["traceparent"]}
            self.shop.publish("orders", cancelled["key"], cancelled["value"], headers)
            self.until(lambda: self.databases.number("stock", TAKEN_IN.format(event=cancelled["event_id"])))
            # Not so when the relay had the order on its way already.
            return self.databases.number("products", TOMBSTONE.format(order=cancelled["key"]))

    def unpublished_cancellation(self):
        request = self.customers.wish(self.customers.chance(), "tok_approve")
        self.customers.order(request)
        if not self.customers.cancel(request):
            return None
        rows = self.databases.rows("orders", WRITTEN.format(order=next(iter(request.orders))))
        if not all(row["waits"] for row in rows):
            return None
        return next((row for row in rows if row["type"] == "ORDER_CANCELLED"), None)

    # --- a cancellation while the money is taken ------------------------------------------------

    def cancel_during_a_capture(self):
        """The provider stands still with a charge under way, until its order is cancelled."""
        products = self.customers.products[-2:]  # of which there are many
        request = self.customers.wish(self.customers.chance(), "tok_approve", products)
        self.customers.order(request)
        pid = self.pids["provider"]()
        if pid is None or not self.customers.is_charged(request) or not send(pid, signal.SIGSTOP):
            return False
        try:
            self.customers.cancel(request)
        finally:
            send(pid, signal.SIGCONT)
        order = next(iter(request.orders))
        return self.until(lambda: self.captured_after(order, self.cancelled_at(order)), 8)

    def cancelled_at(self, order):
        return self.databases.run(
            "orders", f"SELECT at FROM order_timeline WHERE order_id = {order} AND what = 'ORDER_CANCELLED'").strip()

    def captured_after(self, order, moment):
        return moment and self.databases.number("payments", CAPTURED.format(order=order, time=moment))

    # --- a table that refuses some rows ---------------------------------------------------------

    def refuse_rows(self):
        """Shipping cannot take in every fourth order for a while: those wait in its retry queue, the others go on."""
        with self.undone(lambda: self.databases.run("shipping", REFUSE_NO_MORE)):
            self.databases.run("shipping", REFUSE_SOME)
            return self.until(lambda: self.databases.number("shipping", TAKEN_IN_SINCE) > 40)

    # --- brokers that refuse events -------------------------------------------------------------

    def refuse_events(self):
        """Kafka takes no event of the orders for a while, as far as it has room for it: their keys wait."""
        with self.undone(lambda: self.limit_events(None)):
            self.limit_events(100)
            return self.until(lambda: self.databases.number(
                "orders", "SELECT count(*) FROM outbox WHERE refusal IS NOT NULL"))

    def limit_events(self, size):
        topics.set_option(self.shop.kafka, "orders", "max.message.bytes", size)

    # --- a relay that stands still --------------------------------------------------------------

    def pause_the_relay(self):
        """Stops the process of orders that publishes until another one has taken its turn, then lets it go on."""
        for name in ("orders", "orders-2"):
            if self.outlast(name):
                self.relays_taken_over += 1
                return True
        return False

    def outlast(self, name):
        """Whether the process published, and another has taken its turn while it stood still."""
        pid = self.pids[name]()
        if pid is None or not send(pid, signal.SIGSTOP):
            return False
        try:
            before = self.turn()
            # Somebody else's turn is prolonged; that of one who stands still runs out, and changes hands.
            self.until(lambda: self.turn() != before)
            taken_over = self.turn()["holder"] != before["holder"]
        finally:
            send(pid, signal.SIGCONT)
        return taken_over and self.pids[name]() == pid

    def turn(self):
        rows = self.databases.rows("orders", TURN)
        if not rows:
            raise OSError("nobody has the turn")
        return rows[0]

    @contextmanager
    def undone(self, undo):
        """Undoes what was done, whatever else goes wrong meanwhile."""
        try:
            yield
        finally:
            end = time.monotonic() + UNDOING
            while True:
                try:
                    undo()
                    break
                except FAILURES:
                    if time.monotonic() > end:
                        raise
                    threading.Event().wait(0.2)


PIECES = {"overtake": Provoked.overtake, "cancel-during-a-capture": Provoked.cancel_during_a_capture,
          "refuse-rows": Provoked.refuse_rows, "refuse-events": Provoked.refuse_events,
          "pause-the-relay": Provoked.pause_the_relay}
