#include "common/kafka/messaging.h"

#include <utility>

namespace shop::kafka {

Messaging::Messaging(const KafkaSettings& kafka, postgres::Pool& db, Process& process)
    : kafka_(kafka), db_(db), process_(process), relay_(kafka, db) {}

Messaging::~Messaging() {
  while (!consumers_.empty()) consumers_.pop_back();
}

void Messaging::Consume(const std::string& group, const std::vector<std::string>& topics,
                        messaging::Handlers handlers, const Options& options) {
  const Consumer& consumer = consumers_.emplace_back(
      kafka_, group, topics, db_, std::move(handlers), ConsumerOptions{.batch = options.batch});
  std::string what = "the consumer of";
  for (const std::string& topic : topics) what += " " + topic;
  if (group != process_.name()) what += " for " + group;
  const auto ready = [&consumer] { return consumer.ready(); };
  if (options.required) {
    process_.AddReadiness(what, ready);
  } else {
    process_.AddDegradation(what, ready);
  }
}

}  // namespace shop::kafka
