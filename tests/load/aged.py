"""What a month of orders leaves in the databases, made by SQL out of what the last orders have left.

Old orders with their lines and timelines, in the database of orders; in every database rows of inbox and outbox, as many of
all that are wanted as this database has of all that there are. Ages are spread over what is kept: 30 days of inboxes,
14 of outboxes, a little less so that nothing is due to be deleted.
"""

import os
import time
from concurrent.futures import ThreadPoolExecutor

from shop import DATABASES, say

QUICKLY = """
SET session_replication_role = replica;  -- no triggers: neither foreign keys nor what holds the timeline as it is
SET synchronous_commit = off;
"""
KEPT_DAYS = {"inbox": 29, "outbox": 13}
AT_ONCE = 1_000_000


def columns(shop, database, table):
    """Those that a row is inserted with."""
    return [name for name, in shop.sql(database, f"""
        SELECT attname FROM pg_attribute
        WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped AND attidentity = '' AND attgenerated = ''
        ORDER BY attnum;""")]


def copy(shop, database, table, source, values):
    """Inserts rows of a query, with some columns of their own values."""
    names = columns(shop, database, table)
    chosen = ", ".join(values.get(name, f"sample.{name}") for name in names)
    shop.sql(database, f"{QUICKLY} INSERT INTO {table} ({', '.join(names)}) SELECT {chosen} FROM {source};")


def spread(days, part):
    """A time of these days, the later the greater `part` is, which goes from 0 to 1."""
    return f"now() - interval '1 hour' - (1 - {part}) * interval '{days} days'"


def uuid_of(at):
    """One of version 7, as orders and events have: it begins with the time."""
    time = f"lpad(to_hex(floor(extract(epoch FROM {at}) * 1000)::bigint), 12, '0')"
    return f"substr({time}, 1, 8) || '-' || substr({time}, 9) || '-7' || substr(gen_random_uuid()::text, 16)"


def fill_messages(shop, database, table, count, orders):
    """Rows like the latest thousand, in pieces that PostgreSQL writes out in between."""
    say(f"{count} old rows of {database}'s {table}")
    order = {"inbox": "seen_at", "outbox": "id"}[table]
    shop.sql(database, f"""
        DROP TABLE IF EXISTS bench_sample;
        CREATE UNLOGGED TABLE bench_sample AS
          SELECT row_number() OVER () - 1 AS number, * FROM (SELECT * FROM {table} ORDER BY {order} DESC LIMIT 1000) AS latest;
        CREATE INDEX ON bench_sample (number);
        ANALYZE bench_sample;""")
    samples = int(shop.sql(database, "SELECT count(*) FROM bench_sample;")[0][0])
    for made in range(0, count if samples else 0, AT_ONCE):
        piece = min(AT_ONCE, count - made)
        part = f"((n + {made})::float8 / {count})"
        at = spread(KEPT_DAYS[table], part)
        source = f"generate_series(0, {piece - 1}) AS n JOIN bench_sample AS sample ON number = n % {samples}"
        copy(shop, database, table, source, {
            "event_id": uuid_of(at), "key": f"(1 + floor({part} * {max(orders, 1)}))::bigint::text",
            "seen_at": at, "created_at": at, "published_at": at})
    shop.sql(database, "DROP TABLE bench_sample;")


def fill_orders(shop, count):
    """Delivered orders of many customers, each like one of the latest that has come furthest."""
    sample = shop.sql("orders", """
        SELECT order_id FROM order_timeline WHERE order_id > (SELECT max(id) - 10000 FROM orders)
        ORDER BY sequence DESC LIMIT 1;""")[0][0]
    at = spread(30, f"(n::float8 / {count})")
    first = int(shop.sql("orders", "SELECT max(id) FROM orders;")[0][0])
    copy(shop, "orders", "orders", f"generate_series(1, {count}) AS n, (SELECT * FROM orders WHERE id = {sample}) AS sample", {
        "id": f"{first} + n", "uuid": f"({uuid_of(at)})::uuid", "user_id": "1000000 + n % 100000", "status": "'DELIVERED'",
        "stock": "'RESERVED'", "payment": "'COMPLETED'", "shipment": "'DELIVERED'", "cart_version": "NULL", "waiting": "NULL",
        "waiting_since": "NULL", "deadline_at": "NULL", "created_at": at, "updated_at": at})
    shop.sql("orders", f"SELECT setval(pg_get_serial_sequence('orders', 'id'), {first + count});")
    for table in ("order_items", "order_timeline"):
        copy(shop, "orders", table,
             f"generate_series(1, {count}) AS n, (SELECT * FROM {table} WHERE order_id = {sample}) AS sample",
             {"order_id": f"{first} + n", "at": at})


def fill(shop, orders, rows):
    """So many old orders, and rows of all inboxes and of all outboxes; seconds that it took."""
    begun = time.monotonic()
    shop.settle()
    for table in ("inbox", "outbox"):
        found = {}
        for database in DATABASES:
            if shop.sql(database, f"SELECT to_regclass('{table}') IS NOT NULL;")[0][0] == "t":
                found[database] = int(shop.sql(database, f"SELECT count(*) FROM {table};")[0][0])
        everything = sum(found.values())
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda one: fill_messages(shop, *one, orders),
                          [(database, table, round(rows * count / everything)) for database, count in found.items()]))
    say(f"{orders} old orders")
    fill_orders(shop, orders)
    shop.sql("postgres", "CHECKPOINT;")
    shop.analyse()
    return time.monotonic() - begun
