#include "common/testing/deliver.h"

namespace shop::testing {

Result<void> Deliver(postgres::Pool& db, const messaging::Handlers& handlers,
                     const std::string& group, const std::vector<messaging::Envelope>& events) {
  std::vector<messaging::Record> records;
  for (const messaging::Envelope& event : events) {
    if (handlers.Ignores(event.type)) continue;
    if (!handlers.Handles(event.type)) {
      return Refusal{Code::kUnimplemented, "no handler for " + event.type};
    }
    const auto message = handlers.Read(event);
    if (!message) return message.refusal();
    records.push_back({.event = event});
  }
  std::vector<const messaging::Record*> left;
  for (const messaging::Record& record : records) left.push_back(&record);
  TestGroup consumer(db, group, handlers);
  while (!left.empty()) {
    const Result<size_t> taken = consumer.inbox.Take(left);
    if (!taken) return taken.refusal();
    left.erase(left.begin(), left.begin() + static_cast<ptrdiff_t>(*taken));
  }
  return kDone;
}

}  // namespace shop::testing
