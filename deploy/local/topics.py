"""Kafka from the host, by python3-confluent-kafka: topics and their settings, events, how far groups have come.

A stack in containers uses Kafka's own tools in their containers instead (containers.py), and needs no package here.
"""

import time

from settings import StackError

try:
    from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition
    from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic
except ImportError:
    AdminClient = Consumer = Producer = None

# Seconds that a broker may take to answer, and may be silent before the end of what is read.
PATIENCE = 5
SILENCE = 30


def client(kind, bootstrap, **settings):
    """An AdminClient, Consumer or Producer, which says what is wrong by exceptions and not on stderr."""
    if kind is None:
        raise StackError("python3-confluent-kafka is not installed: run ./install-all.sh")
    return kind({"bootstrap.servers": bootstrap, "broker.address.family": "v4", "log_level": 0,
                 **{name.replace("_", "."): value for name, value in settings.items()}})


def consumer(bootstrap, group="none", **settings):
    return client(Consumer, bootstrap, group_id=group, enable_auto_commit=False, **settings)


def partitions_of(some_client):
    """Topic -> the numbers of its partitions, without Kafka's own topics."""
    try:
        listed = some_client.list_topics(timeout=PATIENCE).topics
    except KafkaException as error:
        raise StackError(f"Kafka does not answer; is the stack up (make status)?\n{error}") from None
    return {name: list(topic.partitions) for name, topic in listed.items() if not name.startswith("__")}


def answers(bootstrap):
    try:
        client(AdminClient, bootstrap).list_topics(timeout=2)
        return True
    except KafkaException:
        return False


def apply(bootstrap, wanted):
    """Makes the topics that are missing and gives the others the settings of deploy/topics; says and answers what
    it changed. Partitions and replicas of a topic stay as it was made."""
    admin = client(AdminClient, bootstrap)
    present = partitions_of(admin)
    settings = {name: {"retention.ms": str(topic.retention_ms), "min.insync.replicas": str(topic.in_sync)}
                for name, topic in wanted.items()}
    missing = [NewTopic(name, topic.partitions, topic.replicas, config=settings[name])
               for name, topic in wanted.items() if name not in present]
    waiting, changes = [], [f"topic {topic.topic} is new" for topic in missing]
    if missing:
        waiting += admin.create_topics(missing).values()
    known = [ConfigResource("topic", name) for name in wanted if name in present]
    for resource, told in (admin.describe_configs(known) if known else {}).items():
        # What is set besides has to be sent along, or it is lost.
        before = own_settings(told.result(PATIENCE))
        after = before | settings[resource.name]
        if after != before:
            waiting += admin.alter_configs([ConfigResource("topic", resource.name, set_config=after)]).values()
            changes += [f"topic {resource.name}: {name} is now {value}, was {before.get(name, 'the default')}"
                        for name, value in after.items() if before.get(name) != value]
    for done in waiting:
        done.result(30)
    return changes


def own_settings(described):
    """Those that are set on the topic itself (source 1), and are no defaults."""
    return {name: entry.value for name, entry in described.items() if entry.source == 1}


def set_option(bootstrap, topic, name, value):
    """Sets an option of a topic; None removes it."""
    admin = client(AdminClient, bootstrap)
    resource = ConfigResource("topic", topic)
    settings = own_settings(admin.describe_configs([resource])[resource].result(PATIENCE)) | {name: value}
    changed = ConfigResource("topic", topic, set_config={
        key: str(chosen) for key, chosen in settings.items() if chosen is not None})
    admin.alter_configs([changed])[changed].result(30)


def counts(bootstrap):
    """Topic -> (its partitions, how many events they have)."""
    reader = consumer(bootstrap)
    found = {}
    for topic, partitions in partitions_of(reader).items():
        marks = [reader.get_watermark_offsets(TopicPartition(topic, number), timeout=PATIENCE) for number in partitions]
        found[topic] = len(partitions), sum(after - first for first, after in marks)
    reader.close()
    return found


def read(bootstrap, topic, follow=False):
    """The events of a topic up to its end, or as they come."""
    # Asked for the end of a topic, a broker waits as long as it may for more.
    reader = consumer(bootstrap, enable_partition_eof=True, fetch_wait_max_ms=100 if follow else 10)
    known = partitions_of(reader)
    if topic not in known:
        raise StackError(f"no topic {topic}; there are: {', '.join(sorted(known))}")
    reader.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in known[topic]])
    unread = set(known[topic])
    told = time.monotonic()
    while unread or follow:
        record = reader.poll(1.0)
        if record is None:
            if not follow and time.monotonic() - told > SILENCE:
                raise StackError(f"{topic} cannot be read: Kafka has been silent for {SILENCE} s")
            continue
        told = time.monotonic()
        if record.error() is None:
            yield {"topic": topic, "partition": record.partition(), "offset": record.offset(),
                   "ts": record.timestamp()[1], "key": text(record.key()), "payload": text(record.value()),
                   "headers": {name: text(value) for name, value in record.headers() or ()}}
        elif record.error().code() == KafkaError._PARTITION_EOF:  # pylint: disable=protected-access
            unread.discard(record.partition())
        elif not follow:
            raise StackError(f"{topic} cannot be read: {record.error()}")
    reader.close()


def text(value):
    return None if value is None else value.decode(errors="replace")


def publish(bootstrap, topic, key, value, headers, partition=-1):
    producer = client(Producer, bootstrap)
    producer.produce(topic, value, key, partition=partition, headers=headers)
    if producer.flush(30):
        raise StackError(f"{topic} does not take the event")


def lag(bootstrap, groups):
    """How many events of their topics have not been committed by groups ({group: [topic, …]})."""
    total = 0
    for group, names in groups.items():
        reader = consumer(bootstrap, group)
        known = partitions_of(reader)
        asked = [TopicPartition(topic, number) for topic in names for number in known[topic]]
        for place in reader.committed(asked, timeout=PATIENCE):
            _, after = reader.get_watermark_offsets(TopicPartition(place.topic, place.partition), timeout=PATIENCE)
            total += after - max(0, place.offset)
        reader.close()
    return total
