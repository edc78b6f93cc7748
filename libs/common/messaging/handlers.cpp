#include "common/messaging/handlers.h"

#include <utility>

namespace shop::messaging {

using google::protobuf::Message;

Handlers& Handlers::Add(const Message& prototype, Handler handle, Asker ask) {
  handlers_[TypeName(*prototype.GetDescriptor())] = {&prototype, std::move(handle), std::move(ask)};
  return *this;
}

Result<std::unique_ptr<Message>> Handlers::Read(const Envelope& event) const {
  std::unique_ptr<Message> message(handlers_.at(event.type).prototype->New());
  const Result<void> read = ReadValue(event.value, message.get());
  if (!read) return read.refusal();
  return message;
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
