// Publishes what Announce wrote: the outbox of one database to Kafka, in a thread of its own.
//
// Every committed row is published at least once, whatever dies when: a row is marked only after
// the brokers have acknowledged it. Rows of one key arrive in the order of their ids. Of several
// relays on one database one publishes at a time, by a lease on the database's clock; should two
// overlap they only repeat. While Kafka or PostgreSQL is away the relay waits and comes back by
// itself.
//
// A topic that refuses its events (it does not exist, say) is put aside for some seconds and holds
// up no other topic.
//
// Metrics: outbox_unpublished, outbox_published_total, outbox_errors_total.
#pragma once

#include <chrono>
#include <memory>

#include "common/kafka/retention.h"
#include "common/kafka/settings.h"
#include "common/postgres/pool.h"

namespace shop::kafka {

struct RelayOptions {
  // How long a committed row may lie when nobody calls Wake.
  std::chrono::milliseconds poll{200};
  // How long the other relays wait after their holder has died.
  std::chrono::milliseconds lease{6'000};
  // How long published rows are kept, to be looked at and to be published again.
  std::chrono::hours retention = kOutboxRetention;
  int batch = 1'000;
};

class OutboxRelay {
 public:
  // Starts at once. The pool must outlive the relay.
  OutboxRelay(const KafkaSettings& kafka, postgres::Pool& db, const RelayOptions& options = {});
  // Stops within about a second; what is not marked by then is published by the next relay.
  ~OutboxRelay();
  OutboxRelay(const OutboxRelay&) = delete;
  OutboxRelay& operator=(const OutboxRelay&) = delete;

  // Says that an event was committed, so that it leaves now. From any thread; never waits.
  void Wake();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::kafka
