#include "common/messaging/outbox.h"

#include <optional>
#include <string>

#include "common/messaging/headers.h"

namespace shop::messaging {
namespace {

constexpr postgres::Statement kAppend{
    "INSERT INTO outbox (topic, key, event_id, type, source, time, traceparent, headers, value) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8::jsonb, $9)"};

constexpr postgres::Statement kAppendSeveral{
    "INSERT INTO outbox (topic, key, event_id, type, source, time, traceparent, headers, value) "
    "SELECT topic, key, event_id, type, source, time, traceparent, nullif(headers, '')::jsonb, "
    "value"
    " FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],"
    "             $7::text[], $8::text[], $9::text[]) WITH ORDINALITY"
    " AS e (topic, key, event_id, type, source, time, traceparent, headers, value, position)"
    " ORDER BY position"};

std::string Traceparent(const Envelope& event) {
  return event.trace.trace_id.empty() ? std::string() : event.trace.Header();
}

}  // namespace

void Publish(postgres::Tx& tx, const google::protobuf::Message& message,
             const EventContext& context) {
  Publish(tx, MakeEvent(message, context));
}

void Publish(postgres::Tx& tx, const Envelope& event) {
  std::optional<std::string> headers;
  if (!event.headers.empty()) headers = ToJson(event.headers);
  tx.Exec(kAppend, event.topic, event.key, event.id, event.type, event.source, event.time,
          Traceparent(event), headers, event.value);
  tx.SignalCommit(kOutboxSignal);
}

void Publish(postgres::Tx& tx, const std::vector<Envelope>& events) {
  if (events.empty()) return;
  const auto column = [&events](auto value) {
    std::vector<std::string> values;
    values.reserve(events.size());
    for (const Envelope& event : events) values.push_back(value(event));
    return postgres::Array(values);
  };
  tx.Exec(kAppendSeveral, column([](const Envelope& event) { return event.topic; }),
          column([](const Envelope& event) { return event.key; }),
          column([](const Envelope& event) { return event.id; }),
          column([](const Envelope& event) { return event.type; }),
          column([](const Envelope& event) { return event.source; }),
          column([](const Envelope& event) { return event.time; }),
          column([](const Envelope& event) { return Traceparent(event); }),
          column([](const Envelope& event) {
            return event.headers.empty() ? std::string() : ToJson(event.headers);
          }),
          column([](const Envelope& event) { return event.value; }));
  tx.SignalCommit(kOutboxSignal);
}

}  // namespace shop::messaging
