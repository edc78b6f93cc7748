// Events: facts in shop.events.v1 that services publish and consume. They are CloudEvents 1.0 in
// Kafka's binary mode, so the attributes are headers and the value is the message's JSON:
// https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
//
// An event is published by writing it to the outbox (outbox.h), from where a relay takes it to
// Kafka, and consumed by Handlers (handlers.h) under an Inbox (inbox.h).
#pragma once

#include <google/protobuf/message.h>

#include <map>
#include <string>
#include <string_view>

#include "common/core/result.h"
#include "common/telemetry/trace.h"

namespace shop::messaging {

// One event on its way out or in.
struct Envelope {
  std::string topic;
  std::string key;
  std::string id;      // ce_id: the same event has the same id however often it is delivered
  std::string type;    // ce_type: ORDER_CREATED
  std::string source;  // ce_source: /orders
  std::string time;    // ce_time, RFC 3339
  TraceContext trace;  // traceparent
  std::string value;   // JSON
  std::map<std::string, std::string> headers = {};  // any others
};

// "ORDER_CREATED" for shop.events.v1.OrderCreated.
std::string TypeName(const google::protobuf::Descriptor& event);

struct EventContext {
  std::string source;  // this service's name
  TraceContext trace;
  std::string cause_id = {};  // ce_id of the event being handled, if any
};

// The event that says `message`. Topic and key come from its option shop.api.v1.event; a message
// without it is a std::logic_error.
//
// With a cause the id is derived from the cause's id, the type and the key, so that handling the
// cause again publishes the same event; without one it is new. Both begin with a time (versions 8
// and 7, RFC 9562), the derived one with that of its cause, so that new ids stand together at the
// end of an inbox's index. Where the cause's id has no time the derived one has none either
// (version 5).
Envelope MakeEvent(const google::protobuf::Message& message, const EventContext& context);

// Reads the value of an event, also of one that a newer version wrote: fields and enum values that
// this binary does not know are no refusal. An unknown enum value is a number that its enum does
// not declare, so a handler's `switch` needs a default; writing the message again, in this process,
// gives its text back. Refuses what is malformed.
Result<void> ReadValue(std::string_view value, google::protobuf::Message* message);

}  // namespace shop::messaging
