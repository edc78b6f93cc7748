// A topic, a database, and a consumer group that writes down what it was told: for tests of consumers.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/kafka/producer.h"
#include "common/kafka/settings.h"
#include "common/messaging/event.h"
#include "common/postgres/pool.h"
#include "common/testing/database.h"
#include "common/testing/servers.h"
#include "common/testing/topics.h"
#include "messaging_migrations.h"
#include "shop/events/v1/orders.pb.h"

namespace shop::testing {

class KafkaTest : public ::testing::Test {
 protected:
  explicit KafkaTest(int partitions) {
    postgres::Migrate(db_, {kMessagingMigrations});
    InTransaction(db_, [](postgres::Tx& tx) {
      tx.Run("CREATE TABLE told (id bigserial PRIMARY KEY, key text, reason text)");
    });
    MakeTopic(topic_, partitions);
  }

  // An event of the test's topic.
  messaging::Envelope Cancelled(int64_t key, const std::string& reason) const {
    events::v1::OrderCancelled message;
    message.set_order_id(key);
    message.set_reason(reason);
    messaging::Envelope event =
        messaging::MakeEvent(message, {.source = "orders", .trace = TraceContext::New()});
    event.topic = topic_;
    return event;
  }
  void Publish(const std::vector<messaging::Envelope>& events) {
    for (const kafka::Outcome& outcome : producer_.Publish(events, [] { return true; })) {
      ASSERT_TRUE(outcome.acknowledged) << outcome.refusal;
    }
  }

  // A handler whose effect is that Told has it.
  static Result<void> Tell(postgres::Tx& tx, const events::v1::OrderCancelled& order,
                           const messaging::Envelope& event) {
    constexpr postgres::Statement kTell{"INSERT INTO told (key, reason) VALUES ($1, $2)"};
    tx.Exec(kTell, event.key, order.reason());
    return kDone;
  }
  // The reasons that were told, in order; of one key, or of all.
  std::vector<std::string> Told(const std::string& key = "") {
    std::vector<std::string> told;
    for (const auto& row : Read(db_, [](postgres::Tx& tx) {
           return tx.Run("SELECT key, reason FROM told ORDER BY id");
         })) {
      if (key.empty() || row[0].as<std::string>() == key) told.push_back(row[1].as<std::string>());
    }
    return told;
  }

  const kafka::KafkaSettings brokers_{.brokers = Server("KAFKA_BOOTSTRAP_SERVERS")};
  const std::string topic_ = UniqueName();
  std::string group_ = UniqueName();
  TestDatabase database_;
  postgres::Pool db_{database_.settings()};
  kafka::Producer producer_{brokers_, "test"};
};

}  // namespace shop::testing
