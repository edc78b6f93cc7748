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
  // of it may be rolled back and run again. It has a connection and the locks of its keys, so it
  // calls nobody else: a handler that has to is given to OnAsked.
  // kUnavailable, and a shop::Unavailable thrown, mean that a dependency is away: the consumer
  // waits and tries this event again. Any other refusal, or exception, holds the event's key and
  // tries again from the database, a limited number of times.
  // It runs within the scope of the consumer's stop (DeadlineScope): SQL, and calls of rpc::Remote,
  // end soon after it. A handler that waits for anything else looks at DeadlineScope::Stop().
  template <typename Message>
  Handlers& On(std::function<Result<void>(postgres::Tx&, const Message&, const Event&)> handle) {
    return Add(
        Message::default_instance(),
        [handle = std::move(handle)](postgres::Tx& tx, const AnyHeard& heard, const AnyAnswer&) {
          for (const auto& [message, event] : heard) {
            Result<void> done = handle(tx, static_cast<const Message&>(message), event);
            if (!done) return done;
          }
          return Result<void>(kDone);
        });
  }
  // The same for a handler that does several at once, such as by one statement for all of them:
  // events of this type that come one after another, in their order; at least one. What it refuses
  // is tried again one by one.
  template <typename Message>
  Handlers& OnSeveral(
      std::function<Result<void>(postgres::Tx&, const std::vector<Heard<Message>>&)> handle) {
    return Add(
        Message::default_instance(),
        [handle = std::move(handle)](postgres::Tx& tx, const AnyHeard& heard, const AnyAnswer&) {
          return handle(tx, Typed<Message>(heard));
        });
  }
  // For a handler that needs another service's answer, or its effect, for its own: first
  //   ask(events) -> Result<Answer>
  // outside of any transaction, with no connection and no lock held, then, in the transaction that
  // also records the events as seen,
  //   apply(tx, events, answer) -> Result<void>
  // Both get the same events: of this type, one after another, in their order, at least one.
  //
  // Events that were handled before, or whose key waits in the retry queue, are not asked for; what
  // came before them in the topic is committed by then. Events of one key are asked for, and
  // applied, in their order.
  //
  // What repeats: `apply` alone, with the same answer, when its transaction has to be repeated (a
  // conflict, a broken connection). `ask`, and then `apply`, after a refusal or an exception of
  // either, after a crash between them, and when another consumer of the group was at the same
  // events meanwhile. So asking twice must do no harm, nor may a question of a consumer that has
  // lost its partition and that arrives late undo what a later event of the key has done: `stock`
  // reserves by the order's UUID, and products answers a repeat with what it decided first.
  //
  // Refusals and exceptions of both mean what they mean in On. What is refused in company is tried
  // again one by one. Done is the answer of an `ask` that has nothing to tell.
  template <typename Message, typename Answer>
  Handlers& OnAsked(
      std::function<Result<Answer>(const std::vector<Heard<Message>>&)> ask,
      std::function<Result<void>(postgres::Tx&, const std::vector<Heard<Message>>&, const Answer&)>
          apply) {
    Add(Message::default_instance(),
        [apply = std::move(apply)](postgres::Tx& tx, const AnyHeard& heard,
                                   const AnyAnswer& answer) {
          return apply(tx, Typed<Message>(heard), *static_cast<const Answer*>(answer.get()));
        });
    return Asking(Message::default_instance(),
                  [ask = std::move(ask)](const AnyHeard& heard) -> Result<AnyAnswer> {
                    Result<Answer> answer = ask(Typed<Message>(heard));
                    if (!answer) return answer.refusal();
                    return AnyAnswer(std::make_shared<const Answer>(*std::move(answer)));
                  });
  }
  // A type this group knows of and does not need. What is neither handled nor ignored is held.
  Handlers& Ignore(std::string type);

  bool Handles(const std::string& type) const { return handlers_.contains(type); }
  bool Ignores(const std::string& type) const { return ignored_.contains(type); }

  // Reads the event's value (ReadValue) as the message of its type, which must be handled. Refuses
  // what is malformed.
  Result<std::unique_ptr<google::protobuf::Message>> Read(const Event& event) const;
  // Whether the type was given to OnAsked.
  bool Asks(const std::string& type) const;

  // What a consumer calls, with events of one type, at least one: Ask for a type that Asks, and
  // Handle with its answer; Handle without one for the others.
  using AnyHeard = std::vector<Heard<google::protobuf::Message>>;
  using AnyAnswer = std::shared_ptr<const void>;
  Result<AnyAnswer> Ask(const AnyHeard& heard) const;
  Result<void> Handle(postgres::Tx& tx, const AnyHeard& heard,
                      const AnyAnswer& answer = nullptr) const;

 private:
  using Asker = std::function<Result<AnyAnswer>(const AnyHeard&)>;
  using Handler = std::function<Result<void>(postgres::Tx&, const AnyHeard&, const AnyAnswer&)>;
  struct Entry {
    const google::protobuf::Message* prototype;
    Handler handle;
    Asker ask = {};
  };

  Handlers& Add(const google::protobuf::Message& prototype, Handler handle);
  Handlers& Asking(const google::protobuf::Message& prototype, Asker ask);

  template <typename Message>
  static std::vector<Heard<Message>> Typed(const AnyHeard& heard) {
    std::vector<Heard<Message>> typed;
    typed.reserve(heard.size());
    for (const auto& [message, event] : heard) {
      typed.push_back({static_cast<const Message&>(message), event});
    }
    return typed;
  }

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
