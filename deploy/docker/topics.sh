#!/bin/sh
# Makes the topics of /topics that are not there yet, in the Kafka at KAFKA_BOOTSTRAP_SERVERS. Runs in Kafka's
# own image, once at every start. KAFKA_REPLICATION (1) is for clusters of several brokers, and
# KAFKA_COMMAND_CONFIG a file of client settings for clusters that ask who comes.
set -eu
kafka_topics() {
  /opt/kafka/bin/kafka-topics.sh --bootstrap-server "$KAFKA_BOOTSTRAP_SERVERS" \
    ${KAFKA_COMMAND_CONFIG:+--command-config "$KAFKA_COMMAND_CONFIG"} "$@"
}

present=$(kafka_topics --list)
while read -r name partitions; do
  case $name in '' | '#'*) continue ;; esac
  printf '%s\n' "$present" | grep -qx "$name" && continue
  kafka_topics --create --if-not-exists --topic "$name" --partitions "$partitions" \
    --replication-factor "${KAFKA_REPLICATION:-1}" </dev/null
done </topics
