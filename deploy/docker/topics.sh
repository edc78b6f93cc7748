#!/bin/sh
# Makes the topics of /topics that are not there yet, and gives those that are the settings that stand there, in
# the Kafka at KAFKA_BOOTSTRAP_SERVERS. Runs in Kafka's own image, once at every start. KAFKA_REPLICATION and
# KAFKA_MIN_INSYNC_REPLICAS are for clusters of several brokers, and KAFKA_COMMAND_CONFIG a file of client
# settings for clusters that ask who comes.
set -eu
kafka() {
  tool=$1
  shift
  "${KAFKA_BIN:-/opt/kafka/bin}/$tool.sh" --bootstrap-server "$KAFKA_BOOTSTRAP_SERVERS" \
    ${KAFKA_COMMAND_CONFIG:+--command-config "$KAFKA_COMMAND_CONFIG"} "$@" </dev/null
}

present=$(kafka kafka-topics --list)
# "Dynamic configs for topic NAME are:", then a line a setting.
configured=$(kafka kafka-configs --describe --entity-type topics)
is_set() {  # is_set TOPIC SETTING
  printf '%s\n' "$configured" | awk -v topic="$1" -v setting="$2" '
    /^Dynamic configs for topic / { here = $5 == topic; next }
    here && $1 == setting { found = 1 }
    END { exit !found }'
}

while read -r name partitions retention replicas in_sync _; do
  case $name in '' | '#'*) continue ;; esac
  replicas=${KAFKA_REPLICATION:-$replicas}
  if [ "$replicas" -ge 3 ] && [ "$in_sync" -lt 2 ]; then in_sync=2; fi
  in_sync=${KAFKA_MIN_INSYNC_REPLICAS:-$in_sync}
  keep="retention.ms=$((${retention%d} * 86400000))"
  if ! printf '%s\n' "$present" | grep -qx "$name"; then
    kafka kafka-topics --create --if-not-exists --topic "$name" --partitions "$partitions" \
      --replication-factor "$replicas" --config "$keep" --config "min.insync.replicas=$in_sync"
  elif ! is_set "$name" "$keep" || ! is_set "$name" "min.insync.replicas=$in_sync"; then
    kafka kafka-configs --alter --entity-type topics --entity-name "$name" \
      --add-config "$keep,min.insync.replicas=$in_sync"
  fi
done <"${TOPICS_FILE:-/topics}"
