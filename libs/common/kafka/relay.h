// Publishes what Publish wrote: the outbox of one database to Kafka, in a thread of its own.
//
// Every committed row is published at least once, whatever dies when: a row is marked only after
// the brokers have acknowledged it. Rows of one key arrive in the order of their ids. Of several
// relays on one database one publishes at a time, by a lease on the database's clock; should two
// overlap they only repeat. While Kafka or PostgreSQL is away the relay waits and comes back by
// itself.
//
// It works in rounds: one reads what is there, publishes it and marks it. A commit begins a round at
// once, unless the last one that published something began less than `interval` ago: then what
// gathers until that is over leaves in one round. So a lone event leaves at once, and under load
// the rounds are few and large.
//
// What cannot be published holds up nothing else, and is tried again after a pause:
//   an event that the brokers refuse for what it is (too large, say) holds back the later ones of
//   its key; its reason stands in its row, and a person may discard it (refused.h)
//   a partition without a leader holds back its keys
//   a topic that refuses its events (it does not exist, say) holds back all events of that topic
//
// Metrics: outbox_unpublished, outbox_refused, outbox_published_total, outbox_rounds_total,
// outbox_errors_total.
#pragma once

#include <chrono>
#include <memory>

#include "common/kafka/settings.h"
#include "common/messaging/retention.h"
#include "common/postgres/pool.h"

namespace shop::kafka {

struct RelayOptions {
  // How long a row may lie that was committed through another pool, such as by another process. A
  // commit through the relay's own pool wakes it at once.
  std::chrono::milliseconds poll{200};
  // How far apart rounds that publish something begin at least, unless the round before was full.
  std::chrono::milliseconds interval{10};
  // How long the other relays wait after their holder has died.
  std::chrono::milliseconds lease{6'000};
  // How long published rows are kept, to be looked at and to be published again.
  std::chrono::hours retention = messaging::kOutboxRetention;
  // How long what cannot be published is left alone.
  std::chrono::milliseconds pause{10'000};
  // How long a stop may go on publishing what was committed before.
  std::chrono::milliseconds grace{1'000};
  int batch = 1'000;
};

class OutboxRelay {
 public:
  // Starts at once. The pool must outlive the relay.
  OutboxRelay(const KafkaSettings& kafka, postgres::Pool& db, const RelayOptions& options = {});
  // Publishes what was committed before, and stops within about a second more than options.grace: what
  // the brokers have not taken by then is published by the next relay.
  ~OutboxRelay();
  OutboxRelay(const OutboxRelay&) = delete;
  OutboxRelay& operator=(const OutboxRelay&) = delete;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::kafka
