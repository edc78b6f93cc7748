// What a service has for its events: the relay of its outbox, and a consumer for each of its groups.
//
//   kafka::Messaging messaging(config.kafka, db, process);
//   messaging.Consume("orders", {"stock"}, orders::EventHandlers());
//   const rpc::Server server(…);  // declared later, so it ends first
//
// The destructor stops the consumers, the latest first, and then the relay, which still publishes
// what they and the rpcs have committed.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "common/core/process.h"
#include "common/kafka/consumer.h"
#include "common/kafka/relay.h"
#include "common/kafka/settings.h"
#include "common/messaging/handlers.h"
#include "common/postgres/pool.h"

namespace shop::kafka {

class Messaging {
 public:
  // Starts the relay. `db` and `process` must outlive this.
  Messaging(const KafkaSettings& kafka, postgres::Pool& db, Process& process);
  ~Messaging();
  Messaging(const Messaging&) = delete;
  Messaging& operator=(const Messaging&) = delete;

  struct Options {
    // How many events at most share a transaction.
    int batch = ConsumerOptions().batch;
    // Whether consuming these topics is what the process is for: it is not ready without them.
    // Else it is degraded (Process::AddReadiness).
    bool required = false;
  };
  // Starts a consumer, in threads of its own. What the handlers refer to must outlive this. Call it
  // before Process::RunUntilStopped.
  void Consume(const std::string& group, const std::vector<std::string>& topics,
               messaging::Handlers handlers, const Options& options);
  void Consume(const std::string& group, const std::vector<std::string>& topics,
               messaging::Handlers handlers) {
    Consume(group, topics, std::move(handlers), Options());
  }

 private:
  const KafkaSettings kafka_;
  postgres::Pool& db_;
  Process& process_;
  const OutboxRelay relay_;
  std::deque<Consumer> consumers_;
};

}  // namespace shop::kafka
