// Events: facts in shop.events.v1 that services announce and hear. They are CloudEvents 1.0 in
// Kafka's binary mode, so the attributes are headers and the value is the message's JSON:
// https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
//
// Announcing is writing a row of the outbox in the caller's transaction; an OutboxRelay publishes
// it. Hearing is a Consumer with Handlers. Both need the tables of kMessagingMigrations
// ("messaging_migrations.h") in the service's database.
#pragma once

#include <google/protobuf/message.h>

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "common/core/result.h"
#include "common/postgres/pool.h"
#include "common/telemetry/trace.h"

namespace shop::kafka {

// One event on its way out or in.
struct Event {
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

struct Origin {
  std::string source;  // this service's name
  TraceContext trace;
  std::string cause_id = {};  // ce_id of the event being handled, if any
};

// The event that tells `message`. Topic and key come from its option shop.api.v1.event; a message
// without is a std::logic_error. With a cause the id is derived from the cause's id, the type and
// the key (UUID version 5), so that handling the cause again announces the same event; without one
// it is random.
Event Compose(const google::protobuf::Message& message, const Origin& origin);

// Appends an event to this database's outbox in the caller's transaction; the relay publishes it
// after the commit.
void Announce(postgres::Tx& tx, const google::protobuf::Message& message, const Origin& origin);
void Announce(postgres::Tx& tx, const Event& event);
// Several by one statement; they are published in this order.
void Announce(postgres::Tx& tx, const std::vector<Event>& events);

// Reads the value of an event, also of one that a newer version wrote: fields and enum values that
// this binary does not know are no refusal. An unknown enum value is a number that its enum does
// not declare, so a handler's `switch` needs a default; writing the message again, in this process,
// gives its text back. Refuses what is malformed.
Result<void> ReadValue(std::string_view value, google::protobuf::Message* message);

// An event that was heard, and what it says.
template <typename Message>
struct Heard {
  const Message& message;
  const Event& event;
};

// The handlers of one consumer group, by event type.
//
//   Handlers()
//       .On<OrderCreated>([&](postgres::Tx& tx, const OrderCreated& order, const Event& event)
//                             -> Result<void> { … })
//       .Ignore("ORDER_CANCELLED")
class Handlers {
 public:
  // `handle(tx, message, event)`: the effect, in the transaction that also records the event as
  // seen, so a second delivery never gets here. Several events may share one transaction, and any
  // of it may be rolled back and run again: what a handler does outside of `tx` must stand that.
  // kUnavailable, and a shop::Unavailable thrown, mean that a dependency is away: the consumer
  // waits and tries this event again. Any other refusal, or exception, holds the event's key and
  // tries again from the database, a limited number of times.
  template <typename Message>
  Handlers& On(std::function<Result<void>(postgres::Tx&, const Message&, const Event&)> handle) {
    return Add(Message::default_instance(),
               [handle = std::move(handle)](postgres::Tx& tx, const AnyHeard& heard) {
                 for (const auto& [message, event] : heard) {
                   Result<void> done = handle(tx, static_cast<const Message&>(message), event);
                   if (!done) return done;
                 }
                 return Result<void>(kDone);
               });
  }
  // The same for a handler that does several at once, such as by one call for all of them: events
  // of this type that come one after another, in their order; at least one. What it refuses is
  // tried again one by one.
  template <typename Message>
  Handlers& OnSeveral(
      std::function<Result<void>(postgres::Tx&, const std::vector<Heard<Message>>&)> handle) {
    return Add(Message::default_instance(),
               [handle = std::move(handle)](postgres::Tx& tx, const AnyHeard& heard) {
                 std::vector<Heard<Message>> typed;
                 typed.reserve(heard.size());
                 for (const auto& [message, event] : heard) {
                   typed.push_back({static_cast<const Message&>(message), event});
                 }
                 return handle(tx, typed);
               });
  }
  // A type this group knows of and does not need. What is neither handled nor ignored is held.
  Handlers& Ignore(std::string type);

  bool Handles(const std::string& type) const { return handlers_.contains(type); }
  bool Ignores(const std::string& type) const { return ignored_.contains(type); }

  // Reads the event's value (ReadValue) as the message of its type, which must be handled. Refuses
  // what is malformed.
  Result<std::unique_ptr<google::protobuf::Message>> Read(const Event& event) const;
  // Calls the handler of the events' type: at least one, all of one type.
  using AnyHeard = std::vector<Heard<google::protobuf::Message>>;
  Result<void> Handle(postgres::Tx& tx, const AnyHeard& heard) const;

 private:
  using Handler = std::function<Result<void>(postgres::Tx&, const AnyHeard&)>;
  struct Entry {
    const google::protobuf::Message* prototype;
    Handler handle;
  };

  Handlers& Add(const google::protobuf::Message& prototype, Handler handle);

  std::map<std::string, Entry> handlers_;
  std::set<std::string> ignored_;
};

// Hands events to their handlers exactly as a Consumer of `group` does that heard them together,
// inbox rows included, but answers a refusal in the place of holding an event. For tests of
// handlers that need no broker.
Result<void> Deliver(postgres::Pool& db, const Handlers& handlers, const std::string& group,
                     const std::vector<Event>& events);
inline Result<void> Deliver(postgres::Pool& db, const Handlers& handlers, const std::string& group,
                            const Event& event) {
  return Deliver(db, handlers, group, std::vector<Event>{event});
}

}  // namespace shop::kafka
