#include "common/messaging/consumer_group.h"

#include <algorithm>

#include "common/messaging/headers.h"
#include "common/messaging/outbox.h"
#include "common/postgres/columns.h"
#include "common/telemetry/log.h"

namespace shop::messaging {
namespace {

using postgres::Array;
using postgres::FirstColumn;
using postgres::Statement;
using postgres::Tx;
using std::chrono::milliseconds;

// In the order of the hashes, so that two transactions never wait for each other.
constexpr Statement kLockKeys{R"(
    SELECT pg_advisory_xact_lock(hash) FROM (
      SELECT DISTINCT hashtextextended(key, 0) AS hash FROM unnest($1::text[]) AS key ORDER BY 1
    ) AS hashes)"};
constexpr Statement kMarkSeen{R"(
    INSERT INTO inbox (consumer, event_id) SELECT $1, unnest($2::text[])
    ON CONFLICT DO NOTHING RETURNING event_id)"};
constexpr Statement kSeen{
    "SELECT event_id FROM inbox WHERE consumer = $1 AND event_id = ANY ($2::text[])"};
constexpr Statement kEnqueue{R"(
    INSERT INTO retry_queue (consumer, topic, key, partition, position, event_id, type, headers,
                             value, attempts, next_at, reason, dead)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8::jsonb,
            $9, $10, now() + $11 * interval '1 millisecond', $12, $13)
    ON CONFLICT DO NOTHING RETURNING id)"};

constexpr size_t kLongestReason = 1'000;

}  // namespace

milliseconds RetryPolicy::PauseAfter(int refusals) const {
  const int doublings = std::min(std::max(refusals - 1, 0), 20);
  return std::min(first_pause * (int64_t{1} << doublings), longest_pause);
}

Key KeyOf(const Record& record) {
  return {record.event.topic, record.event.key};
}

std::string IdentityOf(const Record& record) {
  if (!record.event.id.empty()) return record.event.id;
  return record.event.topic + "/" + std::to_string(record.partition) + "/" +
         std::to_string(record.position);
}

std::string Reason(const Refusal& refusal) {
  std::string reason = std::string(Name(refusal.code)) + ": " + refusal.message;
  for (const FieldViolation& detail : refusal.details) {
    reason += "; " + detail.field + ": " + detail.message;
  }
  return reason;
}

std::string Shortened(std::string reason) {
  if (reason.size() > kLongestReason) {
    size_t end = kLongestReason;
    while (end > 0 && (static_cast<unsigned char>(reason[end]) & 0xc0) == 0x80) --end;
    reason.resize(end);
  }
  return AsText(reason);
}

ConsumerGroup::ConsumerGroup(postgres::Pool& db, std::string name, Handlers handlers,
                             const RetryPolicy& retry)
    : db_(db),
      name_(std::move(name)),
      handlers_(std::move(handlers)),
      retry_(retry),
      events_(CounterFamily("consumer_events_total", "Events by what became of them")),
      handle_seconds_(HistogramFamily("consumer_handle_seconds", "How long handlers take")),
      ask_seconds_(HistogramFamily("consumer_ask_seconds", "How long handlers ask others")) {}

ReadRecord ConsumerGroup::Read(const Record& record) const {
  ReadRecord read{.record = &record};
  const Envelope& event = record.event;
  if (event.type.empty()) {
    read.poison = "has no ce_type";
  } else if (handlers_.Ignores(event.type)) {
    read.ignored = true;
  } else if (!handlers_.Handles(event.type)) {
    read.poison = "is of a type that is neither handled nor ignored: " + event.type;
  } else if (event.id.empty()) {
    read.poison = "has no ce_id";
  } else {
    auto message = handlers_.Read(event);
    if (message) {
      read.message = *std::move(message);
    } else {
      read.poison = "is malformed: " + Reason(message.refusal());
    }
  }
  return read;
}

template <typename Work>
auto ConsumerGroup::Measured(prometheus::Family<prometheus::Histogram>& seconds,
                             const Envelope& event, const Work& work) {
  const log::Scope scope{{"traceId", event.trace.trace_id},
                         {"requestId", event.trace.RequestId()},
                         {"eventId", event.id},
                         {"eventType", event.type},
                         {"eventKey", event.key}};
  const auto begin = std::chrono::steady_clock::now();
  auto outcome = work();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  seconds.Add({{"group", name_}, {"type", event.type}}, DurationBuckets()).Observe(took.count());
  return outcome;
}

Result<void> ConsumerGroup::Handle(Tx& tx, const Handlers::AnyReceived& received,
                                   const Handlers::AnyAnswer& answer) {
  return Measured(handle_seconds_, received.front().event,
                  [&] { return handlers_.Handle(tx, received, answer); });
}

Result<Handlers::AnyAnswer> ConsumerGroup::Ask(const Handlers::AnyReceived& received) {
  return Measured(ask_seconds_, received.front().event, [&] { return handlers_.Ask(received); });
}

void ConsumerGroup::Lock(Tx& tx, const std::set<Key>& keys) {
  tx.Exec(kLockKeys,
          Array(keys, [&](const Key& key) { return name_ + "/" + key.first + "/" + key.second; }));
}

std::set<std::string> ConsumerGroup::MarkSeen(Tx& tx, const std::vector<std::string>& ids) {
  if (ids.empty()) return {};
  return FirstColumn<std::set<std::string>>(tx.Exec(kMarkSeen, name_, Array(ids)));
}

std::set<std::string> ConsumerGroup::SeenAmong(Tx& tx, const std::vector<std::string>& ids) {
  if (ids.empty()) return {};
  return FirstColumn<std::set<std::string>>(tx.Exec(kSeen, name_, Array(ids)));
}

void ConsumerGroup::Enqueue(Tx& tx, const Record& record, int attempts, const std::string& reason,
                            bool dead) {
  const Envelope& event = record.event;
  const milliseconds pause = attempts > 0 ? retry_.PauseAfter(attempts) : milliseconds(0);
  const pqxx::result added =
      tx.Exec(kEnqueue, name_, event.topic, event.key, record.partition, record.position,
              IdentityOf(record), event.type, ToJson(ToHeaders(event)), event.value, attempts,
              pause.count(), Shortened(reason), dead);
  if (dead && !added.empty()) {
    PublishDeadLetter(tx, record, added[0][0].as<int64_t>(), attempts, reason);
  }
}

void ConsumerGroup::PublishDeadLetter(Tx& tx, const Record& record, int64_t id, int attempts,
                                      const std::string& reason) {
  Envelope copy = record.event;
  copy.topic = name_ + ".dead";
  copy.headers["dead_reason"] = Shortened(reason);
  copy.headers["dead_topic"] = record.event.topic;
  copy.headers["dead_partition"] = std::to_string(record.partition);
  copy.headers["dead_position"] = std::to_string(record.position);
  copy.headers["dead_attempts"] = std::to_string(attempts);
  copy.headers["dead_letter_id"] = std::to_string(id);
  Publish(tx, copy);
  log::Error("event became a dead letter: its key waits for a person",
             {{"group", name_},
              {"topic", record.event.topic},
              {"key", record.event.key},
              {"eventId", record.event.id},
              {"eventType", record.event.type},
              {"deadLetterId", id},
              {"traceId", record.event.trace.trace_id},
              {"requestId", record.event.trace.RequestId()},
              {"reason", Shortened(reason)}});
}

// https://opentelemetry.io/docs/specs/semconv/messaging/kafka/
void ConsumerGroup::Trace(ReadRecord& read, Span& span) const {
  if (!span) return;
  const Envelope& event = read.record->event;
  span.Set("messaging.system", "kafka");
  span.Set("messaging.operation.name", "process");
  span.Set("messaging.operation.type", "process");
  span.Set("messaging.destination.name", event.topic);
  span.Set("messaging.consumer.group.name", name_);
  span.Set("messaging.message.id", event.id);
  span.Set("messaging.kafka.message.key", event.key);
  span.Set("messaging.destination.partition.id", std::to_string(read.record->partition));
  span.Set("messaging.kafka.offset", read.record->position);
  span.Set("shop.event.type", event.type);
  read.traced = event;
  read.traced->trace = span.ContextOr(event.trace);
}

void ConsumerGroup::Count(const Envelope& event, const char* outcome) {
  const bool known = handlers_.Handles(event.type) || handlers_.Ignores(event.type);
  events_
      .Add({{"group", name_},
            {"topic", event.topic},
            {"type", known ? event.type : "unknown"},
            {"outcome", outcome}})
      .Increment();
}

}  // namespace shop::messaging
