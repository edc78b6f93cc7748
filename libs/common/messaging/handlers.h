// What a consumer group does with each type of event.
#pragma once

#include <google/protobuf/message.h>

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "common/core/result.h"
#include "common/messaging/event.h"
#include "common/postgres/pool.h"

namespace shop::events::v1 {
// Is found for the messages of this namespace alone: which of them are events.
void IsEvent(const google::protobuf::Message&);
}  // namespace shop::events::v1

namespace shop::messaging {

// A message of package shop.events.v1.
template <typename T>
concept EventMessage = requires(const T& message) {
  IsEvent(message);
};

// An event that was consumed, and what it says.
template <typename Message>
struct Received {
  const Message& message;
  const Envelope& event;
};

// The handlers of one consumer group, by event type.
//
//   Handlers()
//       .On<OrderCreated>([&](postgres::Tx& tx, const OrderCreated& order, const Envelope& event)
//                             -> Result<void> { … })
//       .Ignore<OrderShipped, OrderDelivered>()
class Handlers {
 public:
  // `handle(tx, message, event)`: the effect, in the transaction that also records the event as
  // seen, so a second delivery never gets here. Several events may share one transaction, and any
  // of it may be rolled back and run again. It has a connection and the locks of its keys, so it
  // calls nobody else: a handler that has to is given to OnAsked.
  // kUnavailable, and a shop::Unavailable thrown, mean that a dependency is away: the consumer
  // waits and tries this event again. Any other refusal, or exception, sends the event to the retry
  // queue, from where it is tried again a limited number of times; later ones of its key follow it.
  // It runs within the scope of the consumer's stop (DeadlineScope): SQL, and calls of rpc::ClientMethod,
  // end soon after it. A handler that waits for anything else looks at DeadlineScope::Stop().
  template <EventMessage Message>
  Handlers& On(std::function<Result<void>(postgres::Tx&, const Message&, const Envelope&)> handle) {
    return OnBatch<Message>([handle = std::move(handle)](
                                postgres::Tx& tx, const std::vector<Received<Message>>& received) {
      for (const auto& [message, event] : received) {
        Result<void> done = handle(tx, message, event);
        if (!done) return done;
      }
      return Result<void>(kDone);
    });
  }
  // The same for a handler that does several at once, such as by one statement for all of them: the
  // events of this type among those that arrived together, in their order; at least one, and several
  // of one key where no other type came between them. What it refuses is tried again one by one.
  template <EventMessage Message>
  Handlers& OnBatch(
      std::function<Result<void>(postgres::Tx&, const std::vector<Received<Message>>&)> handle) {
    return Add(Message::default_instance(),
               [handle = std::move(handle)](postgres::Tx& tx, const AnyReceived& received,
                                            const AnyAnswer&) {
                 return handle(tx, Typed<Message>(received));
               });
  }
  // For a handler that needs another service's answer, or its effect, for its own: first
  //   ask(events) -> Result<Answer>
  // outside of any transaction, without a connection or a lock, then, in the transaction that
  // also records the events as seen,
  //   apply(tx, events, answer) -> Result<void>
  // Both get the same events, which are chosen as in OnBatch.
  //
  // Events that were handled before, or whose key waits in the retry queue, are not asked for; what
  // came before them of another type and of their key is committed by then. Events of one key are
  // asked for, and applied, in their order.
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
  template <EventMessage Message, typename Answer>
  Handlers& OnAsked(std::function<Result<Answer>(const std::vector<Received<Message>>&)> ask,
                    std::function<Result<void>(postgres::Tx&, const std::vector<Received<Message>>&,
                                               const Answer&)>
                        apply) {
    return Add(
        Message::default_instance(),
        [apply = std::move(apply)](postgres::Tx& tx, const AnyReceived& received,
                                   const AnyAnswer& answer) {
          return apply(tx, Typed<Message>(received), *static_cast<const Answer*>(answer.get()));
        },
        [ask = std::move(ask)](const AnyReceived& received) -> Result<AnyAnswer> {
          Result<Answer> answer = ask(Typed<Message>(received));
          if (!answer) return answer.refusal();
          return AnyAnswer(std::make_shared<const Answer>(*std::move(answer)));
        });
  }
  // Types that this group knows of and does not need. What is neither handled nor ignored becomes a
  // dead letter.
  template <EventMessage... Messages>
  Handlers& Ignore() {
    (ignored_.insert(TypeName(*Messages::descriptor())), ...);
    return *this;
  }

  bool Handles(const std::string& type) const { return handlers_.contains(type); }
  bool Ignores(const std::string& type) const { return ignored_.contains(type); }

  // Reads the event's value (ReadValue) as the message of its type, which must be handled. Refuses
  // what is malformed.
  Result<std::unique_ptr<google::protobuf::Message>> Read(const Envelope& event) const;
  // Whether the type was given to OnAsked.
  bool Asks(const std::string& type) const;

  // What a consumer calls, with events of one type, at least one: Ask for a type that Asks, and
  // Handle with its answer; Handle without one for the others.
  using AnyReceived = std::vector<Received<google::protobuf::Message>>;
  using AnyAnswer = std::shared_ptr<const void>;
  Result<AnyAnswer> Ask(const AnyReceived& received) const;
  Result<void> Handle(postgres::Tx& tx, const AnyReceived& received,
                      const AnyAnswer& answer = nullptr) const;

 private:
  using Asker = std::function<Result<AnyAnswer>(const AnyReceived&)>;
  using Handler = std::function<Result<void>(postgres::Tx&, const AnyReceived&, const AnyAnswer&)>;
  struct Entry {
    const google::protobuf::Message* prototype;
    Handler handle;
    Asker ask;
  };

  Handlers& Add(const google::protobuf::Message& prototype, Handler handle, Asker ask = {});

  template <typename Message>
  static std::vector<Received<Message>> Typed(const AnyReceived& received) {
    std::vector<Received<Message>> typed;
    typed.reserve(received.size());
    for (const auto& [message, event] : received) {
      typed.push_back({static_cast<const Message&>(message), event});
    }
    return typed;
  }

  std::map<std::string, Entry> handlers_;
  std::set<std::string> ignored_;
};

}  // namespace shop::messaging
