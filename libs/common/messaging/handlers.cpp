#include "common/messaging/handlers.h"

#include <utility>

namespace shop::messaging {

using google::protobuf::Message;

Handlers& Handlers::Add(const Message& prototype, Handler handle) {
  handlers_[TypeName(*prototype.GetDescriptor())] = {.prototype = &prototype,
                                                     .handle = std::move(handle)};
  return *this;
}

Result<std::unique_ptr<Message>> Handlers::Read(const Envelope& event) const {
  std::unique_ptr<Message> message(handlers_.at(event.type).prototype->New());
  const Result<void> read = ReadValue(event.value, message.get());
  if (!read) return read.refusal();
  return message;
}

Handlers& Handlers::Asking(const Message& prototype, Asker ask) {
  handlers_.at(TypeName(*prototype.GetDescriptor())).ask = std::move(ask);
  return *this;
}

bool Handlers::Asks(const std::string& type) const {
  const auto found = handlers_.find(type);
  return found != handlers_.end() && found->second.ask;
}

Result<Handlers::AnyAnswer> Handlers::Ask(const AnyReceived& received) const {
  return handlers_.at(received.front().event.type).ask(received);
}

Result<void> Handlers::Handle(postgres::Tx& tx, const AnyReceived& received,
                              const AnyAnswer& answer) const {
  return handlers_.at(received.front().event.type).handle(tx, received, answer);
}

}  // namespace shop::messaging
