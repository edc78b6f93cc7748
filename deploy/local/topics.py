"""Kafka from the host, by python3-confluent-kafka: topics, events, how far groups have come.

Each function is told which Kafka, and as whom, by the settings of its clients (Settings.kafka_login), of which
KAFKA_BOOTSTRAP_SERVERS alone is needed where nobody logs in.
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

# librdkafka's names of our settings.
LOGIN = {"bootstrap.servers": "KAFKA_BOOTSTRAP_SERVERS", "security.protocol": "KAFKA_SECURITY_PROTOCOL",
         "sasl.mechanism": "KAFKA_SASL_MECHANISM", "sasl.username": "KAFKA_SASL_USERNAME",
         "sasl.password": "KAFKA_SASL_PASSWORD"}


def client(kind, kafka, **settings):
    """An AdminClient, Consumer or Producer, which says what is wrong by exceptions and not on stderr."""
    if kind is None:
        raise StackError("python3-confluent-kafka is not installed: run ./install-all.sh")
    return kind({option: kafka[name] for option, name in LOGIN.items() if kafka.get(name)}
                | {"broker.address.family": "v4", "log_level": 0}
                | {name.replace("_", "."): value for name, value in settings.items()})


def consumer(kafka, group="none", **settings):
    return client(Consumer, kafka, group_id=group, enable_auto_commit=False, **settings)


def partitions_of(some_client):
    """Topic -> the numbers of its partitions, without Kafka's own topics."""
    try:
        listed = some_client.list_topics(timeout=PATIENCE).topics
    except KafkaException as error:
        raise StackError(f"Kafka does not answer; is the stack up (make status)?\n{error}") from None
    return {name: list(topic.partitions) for name, topic in listed.items() if not name.startswith("__")}


def answers(kafka):
    try:
        client(AdminClient, kafka).list_topics(timeout=2)
        return True
    except KafkaException:
        return False


def make(kafka, topic):
    admin = client(AdminClient, kafka)  # which has to live until it was answered
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)


def own_settings(described):
    """Those that are set on the topic itself (source 1), and are no defaults."""
    return {name: entry.value for name, entry in described.items() if entry.source == 1}


def set_option(kafka, topic, name, value):
    """Sets an option of a topic; None removes it."""
    admin = client(AdminClient, kafka)
    resource = ConfigResource("topic", topic)
    settings = own_settings(admin.describe_configs([resource])[resource].result(PATIENCE)) | {name: value}
    changed = ConfigResource("topic", topic, set_config={
        key: str(chosen) for key, chosen in settings.items() if chosen is not None})
    admin.alter_configs([changed])[changed].result(30)


def counts(kafka):
    """Topic -> (its partitions, how many events they have)."""
    reader = consumer(kafka)
    found = {}
    for topic, partitions in partitions_of(reader).items():
        marks = [reader.get_watermark_offsets(TopicPartition(topic, number), timeout=PATIENCE) for number in partitions]
        found[topic] = len(partitions), sum(after - first for first, after in marks)
    reader.close()
    return found


def read(kafka, topic, follow=False):
    """The events of a topic up to its end, or as they come."""
    # Asked for the end of a topic, a broker waits as long as it may for more.
    reader = consumer(kafka, enable_partition_eof=True, fetch_wait_max_ms=100 if follow else 10)
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


def publish(kafka, topic, key, value, headers, partition=-1):
    producer = client(Producer, kafka)
    producer.produce(topic, value, key, partition=partition, headers=headers)
    if producer.flush(30):
        raise StackError(f"{topic} does not take the event")


def lag(kafka, groups):
    """How many events of their topics have not been committed by groups ({group: [topic, …]})."""
    total = 0
    for group, names in groups.items():
        reader = consumer(kafka, group)
        known = partitions_of(reader)
        asked = [TopicPartition(topic, number) for topic in names for number in known[topic]]
        for place in reader.committed(asked, timeout=PATIENCE):
            _, after = reader.get_watermark_offsets(TopicPartition(place.topic, place.partition), timeout=PATIENCE)
            total += after - max(0, place.offset)
        reader.close()
    return total
