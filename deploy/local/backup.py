"""A copy of a running stack's data, and how it is put into an empty one. docs/runbook.md says what such a copy is worth."""

import os
import subprocess
from pathlib import Path

import messages
import servers
from settings import GROUPS, OUTBOXES, PROCESSES, TOPICS, Settings, StackError

# Databases are copied one after another while orders go on, and what one of them has missed comes to it again with the
# events of the others. So who consumes is copied before who publishes, and who calls before who is called. Orders is in a
# circle with stock, payments and shipping, and newer than these: what they make of its events they make again.
ORDER = ("notification", "auth", "payments", "stock", "products", "shipping", "provider", "orders", "users", "cart")
CARTS = "carts"  # the collection


def file_of(folder, name):
    return Path(folder) / (f"{name}.bson" if PROCESSES[name].database == "mongo" else f"{name}.dump")


def tool(name, folder, settings, database, arguments, **options):
    """A program of PostgreSQL, as its superuser: roles may not read each other's databases."""
    user, password = servers.postgres_superuser(folder, settings, for_tests=False)
    environment = os.environ | {
        "PGHOST": settings.require("POSTGRES_HOST"), "PGPORT": settings.require("POSTGRES_PORT"),
        "PGUSER": user, "PGPASSWORD": password}
    done = subprocess.run([servers.postgres_bin(name), *arguments, "--dbname", database], env=environment, check=False,
                          stderr=subprocess.PIPE, text=True, **options)
    if done.returncode != 0:
        raise StackError(f"{name} failed for {database}:\n{done.stderr}")


def carts(settings):
    # Not at the top: stack.py runs before install-all.sh has brought it, and for containers without it.
    import pymongo  # pylint: disable=import-outside-toplevel
    client = pymongo.MongoClient(settings.mongodb_uri)
    return client, client.get_default_database()[CARTS]


def save(folder, settings, to):
    """Copies each database into a file that its owner alone can read: there are people's names in it, and hashes."""
    to = Path(to)
    if to.exists() and any(to.iterdir()):
        raise StackError(f"{to} is not empty")
    to.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in ORDER:
        with open(os.open(file_of(to, name), os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "wb") as file:
            if PROCESSES[name].database == "mongo":
                save_carts(settings, file)
            else:
                tool("pg_dump", folder, settings, name, ["--format=custom"], stdout=file)
        print(f"  {name:<14}{file_of(to, name).stat().st_size:>12} bytes")


def save_carts(settings, file):
    """One document after another, as mongodump writes them and mongorestore reads them."""
    import bson  # pylint: disable=import-outside-toplevel
    client, collection = carts(settings)
    with client:
        for cart in collection.find():
            file.write(bson.encode(cart))


def check(source):
    missing = [str(file_of(source, name)) for name in ORDER if not file_of(source, name).exists()]
    if missing:
        raise StackError("the copy is not whole, it lacks " + ", ".join(missing))


def load(args, folder, settings):
    """Puts a copy into the empty databases of a stack whose processes do not run yet."""
    for name in ORDER:
        if PROCESSES[name].database == "mongo":
            load_carts(settings, file_of(args.source, name))
        else:
            tool("pg_restore", folder, settings, name,
                 ["--exit-on-error", "--single-transaction", file_of(args.source, name)])
    # A copy of an earlier release does not say who may read its tables.
    servers.make_databases(folder, settings)
    forget_positions(folder, settings)
    # Before the relays publish anything newer.
    for topic, one in TOPICS.items():
        if one.publisher in OUTBOXES:
            messages.ask(args, [one.publisher], ["republish", topic, "--apply"])


def load_carts(settings, file):
    import bson  # pylint: disable=import-outside-toplevel
    client, collection = carts(settings)
    with client:
        found = bson.decode_all(file.read_bytes())
        if found:
            collection.insert_many(found)


def forget_positions(folder, settings):
    """Topics begin anew: what was the next record of a group is none of theirs."""
    for name in set(GROUPS.values()):
        user, password = servers.postgres_superuser(folder, settings, for_tests=False)
        done = servers.psql(settings, user, password, name,
                            ["-Xqc", "DELETE FROM consumer_positions; DELETE FROM consumer_gaps"],
                            capture_output=True, text=True)
        if done.returncode != 0:
            raise StackError(done.stderr)
