#include "common/messaging/retrier.h"

#include "common/messaging/headers.h"

namespace shop::messaging {
namespace {

using postgres::InTransaction;
using postgres::Statement;
using postgres::Tx;

constexpr Statement kDue{R"(
    SELECT id, topic, key, partition, position, headers::text, value, attempts
    FROM retry_queue AS queued
    WHERE consumer = $1 AND NOT dead AND next_at <= now()
      AND NOT EXISTS (SELECT FROM retry_queue AS earlier WHERE earlier.consumer = queued.consumer
        AND earlier.topic = queued.topic AND earlier.key = queued.key AND earlier.id < queued.id)
    ORDER BY next_at LIMIT 50)"};
constexpr Statement kStillDue{
    "SELECT attempts FROM retry_queue WHERE id = $1 AND NOT dead AND next_at <= now() FOR UPDATE"};
constexpr Statement kRemove{"DELETE FROM retry_queue WHERE id = $1"};
constexpr Statement kRefused{R"(
    UPDATE retry_queue SET attempts = attempts + 1, reason = $2, dead = $3,
      next_at = now() + $4 * interval '1 millisecond' WHERE id = $1)"};
constexpr Statement kPostpone{R"(
    UPDATE retry_queue SET reason = $2, next_at = now() + $3 * interval '1 millisecond'
    WHERE id = $1)"};
constexpr Statement kCount{R"(
    SELECT count(*) FILTER (WHERE NOT dead), count(*) FILTER (WHERE dead) FROM retry_queue
    WHERE consumer = $1)"};

}  // namespace

Retrier::Retrier(ConsumerGroup& group)
    : group_(group),
      queued_(GaugeFamily("consumer_retry_queue", "Events that wait to be tried again")
                  .Add({{"group", group.name()}})),
      dead_letters_(GaugeFamily("consumer_dead_letters", "Events that wait for a person")
                        .Add({{"group", group.name()}})) {}

bool Retrier::RetryDue(const std::stop_token& stop) {
  const pqxx::result due =
      postgres::Read(group_.db(), [&](Tx& tx) { return tx.Exec(kDue, group_.name()); });
  for (const auto& row : due) {
    if (stop.stop_requested()) break;
    Record record;
    record.event = FromRecord(row["topic"].as<std::string>(), row["key"].as<std::string>(),
                              HeadersFromJson(row["headers"].as<std::string>()),
                              row["value"].as<std::string>());
    record.partition = row["partition"].as<int>();
    record.position = row["position"].as<int64_t>();
    Retry(row["id"].as<int64_t>(), record, row["attempts"].as<int>());
  }
  return !due.empty();
}

void Retrier::Retry(int64_t id, const Record& record, int attempts) {
  ReadRecord read = group_.Read(record);
  Span span(SpanKind::kConsumer, "process " + record.event.topic, record.event.trace);
  const Span::Scope current(span);
  group_.Trace(read, span);
  span.Set("shop.retry.attempt", attempts + 1);
  if (!read.poison.empty()) {
    span.Fail(read.poison);
    return Refused(id, record, read.poison, true);
  }
  const auto unavailable = [&](const std::string& why) {
    span.Fail(why);
    const auto pause = group_.retry().PauseAfter(attempts + 1);
    InTransaction(group_.db(),
                  [&](Tx& tx) { tx.Exec(kPostpone, id, Shortened(why), pause.count()); });
  };
  try {
    const Result<const char*> outcome = RetryOnce(id, read);
    if (outcome) {
      if (*outcome == nullptr) return span.Discard();
      group_.Count(record.event, *outcome);
      span.Set("shop.event.outcome", *outcome);
    } else if (outcome.refusal().code == Code::kUnavailable) {
      unavailable(Reason(outcome.refusal()));
    } else {
      span.Fail(Reason(outcome.refusal()));
      Refused(id, record, Reason(outcome.refusal()), false);
    }
  } catch (const Unavailable& error) {
    unavailable(error.what());
  } catch (const std::exception& error) {
    span.Fail(error.what());
    Refused(id, record, error.what(), false);
  }
}

// What became of it; null when another replica was here first.
Result<const char*> Retrier::RetryOnce(int64_t id, const ReadRecord& read) {
  const Envelope& event = read.event();
  const bool asks = !read.ignored && group_.handlers().Asks(event.type);
  Handlers::AnyAnswer answer;
  if (asks && postgres::Read(group_.db(),
                             [&](Tx& tx) { return group_.SeenAmong(tx, {event.id}).empty(); })) {
    Result<Handlers::AnyAnswer> answered = group_.Ask({{*read.message, event}});
    if (!answered) return answered.refusal();
    answer = *std::move(answered);
  }
  return InTransaction(group_.db(), [&](Tx& tx) -> Result<const char*> {
    group_.Lock(tx, {KeyOf(*read.record)});
    if (tx.Exec(kStillDue, id).empty()) return nullptr;
    tx.Exec(kRemove, id);
    if (read.ignored) return "ignored";
    if (group_.MarkSeen(tx, {event.id}).empty()) return "repeated";
    if (asks && answer == nullptr) {
      return Refusal{Code::kUnavailable, "was forgotten meanwhile"};
    }
    const Result<void> handled = group_.Handle(tx, {{*read.message, event}}, answer);
    if (!handled) return handled.refusal();
    return "handled";
  });
}

void Retrier::Refused(int64_t id, const Record& record, const std::string& reason, bool at_once) {
  bool dead = false;
  InTransaction(group_.db(), [&](Tx& tx) {
    group_.Lock(tx, {KeyOf(record)});
    const pqxx::result current = tx.Exec(kStillDue, id);
    dead = false;
    if (current.empty()) return;
    const int made = current[0][0].as<int>() + 1;
    dead = at_once || made >= group_.retry().attempts;
    tx.Exec(kRefused, id, Shortened(reason), dead, group_.retry().PauseAfter(made).count());
    if (dead) group_.PublishDeadLetter(tx, record, id, made, reason);
  });
  group_.Count(record.event, dead ? "dead_letter" : "refused");
}

void Retrier::CountQueue() {
  const pqxx::result counts =
      postgres::Read(group_.db(), [&](Tx& tx) { return tx.Exec(kCount, group_.name()); });
  queued_.Set(counts[0][0].as<double>());
  dead_letters_.Set(counts[0][1].as<double>());
}

}  // namespace shop::messaging
