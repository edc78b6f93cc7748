#include "common/messaging/outbox.h"

#include <string>

#include "common/messaging/headers.h"
#include "common/postgres/columns.h"

namespace shop::messaging {
namespace {

using postgres::Array;

constexpr postgres::Statement kAppend{
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

std::string HeadersText(const Envelope& event) {
  Headers headers = event.headers;
  if (!event.trace.request_id.empty()) headers["x-request-id"] = event.trace.request_id;
  return headers.empty() ? std::string() : ToJson(headers);
}

}  // namespace

void Publish(postgres::Tx& tx, const google::protobuf::Message& message,
             const EventContext& context) {
  Publish(tx, MakeEvent(message, context));
}

void Publish(postgres::Tx& tx, const Envelope& event) {
  Publish(tx, std::vector{event});
}

void Publish(postgres::Tx& tx, const std::vector<Envelope>& events) {
  if (events.empty()) return;
  tx.Exec(kAppend, Array(events, &Envelope::topic), Array(events, &Envelope::key),
          Array(events, &Envelope::id), Array(events, &Envelope::type),
          Array(events, &Envelope::source), Array(events, &Envelope::time),
          Array(events, Traceparent), Array(events, HeadersText), Array(events, &Envelope::value));
  tx.SignalCommit(kOutboxSignal);
}

}  // namespace shop::messaging
