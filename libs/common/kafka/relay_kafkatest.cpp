#include "common/kafka/relay.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "common/messaging/event.h"
#include "common/messaging/outbox.h"
#include "common/messaging/refused.h"
#include "common/telemetry/metrics.h"
#include "common/testing/database.h"
#include "common/testing/mock_kafka.h"
#include "common/testing/servers.h"
#include "common/testing/topics.h"
#include "messaging_migrations.h"
#include "shop/events/v1/orders.pb.h"

namespace shop::kafka {
namespace {

using postgres::Tx;
using testing::Eventually;
using testing::MakeTopic;
using testing::ReadEvents;
using testing::ReadTopic;
using testing::TopicRecord;
using testing::UniqueName;

KafkaSettings Brokers() {
  return {.brokers = testing::Server("KAFKA_BOOTSTRAP_SERVERS")};
}

// A port on which nothing listens until Open is called; from then on it leads to the broker.
class Door {
 public:
  Door() : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in any = Loopback(0);
    socklen_t size = sizeof any;
    if (::bind(socket_, reinterpret_cast<sockaddr*>(&any), size) != 0) std::abort();
    ::getsockname(socket_, reinterpret_cast<sockaddr*>(&any), &size);
    port_ = ntohs(any.sin_port);
  }
  ~Door() {
    ::shutdown(socket_, SHUT_RDWR);
    if (opened_.joinable()) opened_.join();
    ::close(socket_);
  }
  KafkaSettings settings() const { return {.brokers = "127.0.0.1:" + std::to_string(port_)}; }
  void Open() {
    ::listen(socket_, 16);
    opened_ = std::thread([this] {
      std::vector<std::thread> pumps;
      std::vector<int> ends;
      for (int client; (client = ::accept(socket_, nullptr, nullptr)) >= 0;) {
        const int server = ::socket(AF_INET, SOCK_STREAM, 0);
        const std::string address = Brokers().brokers;
        sockaddr_in to =
            Loopback(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
        if (::connect(server, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) std::abort();
        pumps.emplace_back(Pump, client, server);
        pumps.emplace_back(Pump, server, client);
        ends.insert(ends.end(), {client, server});
      }
      for (const int end : ends) ::shutdown(end, SHUT_RDWR);
      for (std::thread& pump : pumps) pump.join();
      for (const int end : ends) ::close(end);
    });
  }

 private:
  static sockaddr_in Loopback(uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    return address;
  }
  static void Pump(int from, int to) {
    char bytes[16'384];
    for (ssize_t size; (size = ::recv(from, bytes, sizeof bytes, 0)) > 0;) {
      if (::send(to, bytes, static_cast<size_t>(size), MSG_NOSIGNAL) != size) break;
    }
    ::shutdown(to, SHUT_RDWR);
  }

  int socket_;
  uint16_t port_ = 0;
  std::thread opened_;
};

class RelayTest : public ::testing::Test {
 protected:
  RelayTest() {
    postgres::Migrate(db_, {kMessagingMigrations});
    MakeTopic(topic_, 3);
  }

  static messaging::Envelope Cancelled(const std::string& topic, int64_t key, int number) {
    events::v1::OrderCancelled message;
    message.set_order_id(key);
    message.set_reason(std::to_string(number));
    messaging::Envelope event =
        messaging::MakeEvent(message, {.source = "orders", .trace = TraceContext::New()});
    event.topic = topic;
    return event;
  }
  // Events 0 to `count` - 1, spread over five keys, each in a transaction of its own.
  void PublishMany(int count) {
    for (int i = 0; i < count; ++i) {
      InTransaction(db_, [&](Tx& tx) { messaging::Publish(tx, Cancelled(topic_, i % 5, i)); });
    }
  }
  int Unpublished() {
    return Read(db_, [](Tx& tx) {
      return tx.Run("SELECT count(*) FROM outbox WHERE published_at IS NULL")[0][0].as<int>();
    });
  }
  // The transactions that have marked what is there: one a round.
  int Rounds() {
    return Read(db_, [](Tx& tx) {
      return tx.Run("SELECT count(DISTINCT xmin::text) FROM outbox")[0][0].as<int>();
    });
  }
  // The numbers told for each key, in the topic's order, each where it came first.
  static std::map<std::string, std::vector<int>> FirstTold(
      const std::vector<TopicRecord>& records) {
    std::map<std::string, std::vector<int>> told;
    std::set<std::string> seen;
    for (const TopicRecord& record : records) {
      if (!seen.insert(record.headers.at("ce_id")).second) continue;
      const std::string marker = "\"reason\":\"";
      told[record.key].push_back(
          std::stoi(record.value.substr(record.value.find(marker) + marker.size())));
    }
    return told;
  }
  static std::map<std::string, std::vector<int>> AllInOrder(int count) {
    std::map<std::string, std::vector<int>> all;
    for (int i = 0; i < count; ++i) all[std::to_string(i % 5)].push_back(i);
    return all;
  }

  const std::string topic_ = UniqueName();
  testing::TestDatabase database_;
  postgres::Pool db_{database_.settings()};
};

TEST_F(RelayTest, AnEventArrivesAsACloudEvent) {
  const OutboxRelay relay(Brokers(), db_);
  const messaging::Envelope event = Cancelled(topic_, 42, 7);
  InTransaction(db_, [&](Tx& tx) { messaging::Publish(tx, event); });
  const std::vector<TopicRecord> records = ReadTopic(topic_, 1);
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].key, "42");
  EXPECT_EQ(records[0].value, event.value);
  const std::map<std::string, std::string> headers{{"ce_specversion", "1.0"},
                                                   {"ce_id", event.id},
                                                   {"ce_type", event.type},
                                                   {"ce_source", "/orders"},
                                                   {"ce_subject", "42"},
                                                   {"ce_time", event.time},
                                                   {"traceparent", event.trace.Header()},
                                                   {"content-type", "application/json"}};
  EXPECT_EQ(records[0].headers, headers);
}

TEST_F(RelayTest, WhatIsRolledBackIsNeverPublished) {
  const OutboxRelay relay(Brokers(), db_);
  const Result<void> refused = InTransaction(db_, [&](Tx& tx) -> Result<void> {
    messaging::Publish(tx, Cancelled(topic_, 1, 1));
    return Refusal{Code::kAborted, "no"};
  });
  EXPECT_FALSE(refused);
  InTransaction(db_, [&](Tx& tx) { messaging::Publish(tx, Cancelled(topic_, 1, 2)); });
  EXPECT_EQ(FirstTold(ReadEvents(topic_, 1))["1"], std::vector<int>{2});
}

// What a process leaves behind that is killed between commit and publish.
TEST_F(RelayTest, WhatWasCommittedBeforeTheRelayLivedIsPublished) {
  PublishMany(20);
  const OutboxRelay relay(Brokers(), db_);
  EXPECT_EQ(FirstTold(ReadEvents(topic_, 20)), AllInOrder(20));
  EXPECT_TRUE(Eventually([&] { return Unpublished() == 0; }));
}

TEST_F(RelayTest, EventsOfAKeyKeepTheirOrder) {
  RelayOptions small;
  small.batch = 7;
  const OutboxRelay relay(Brokers(), db_, small);
  PublishMany(300);
  const std::vector<TopicRecord> records = ReadEvents(topic_, 300);
  EXPECT_EQ(records.size(), 300u);
  EXPECT_EQ(FirstTold(records), AllInOrder(300));
}

TEST_F(RelayTest, ACommitWakesTheRelayBeforeItsPoll) {
  RelayOptions sleepy;
  sleepy.poll = std::chrono::minutes(10);
  const OutboxRelay relay(Brokers(), db_, sleepy);
  for (int i = 0; i < 3; ++i) {
    PublishMany(1);
    EXPECT_TRUE(Eventually([&] { return Unpublished() == 0; }));
  }
}

TEST_F(RelayTest, ALoneEventLeavesAtOnceAndWhatComesSoonAfterItLeavesTogether) {
  RelayOptions patient;
  patient.interval = std::chrono::minutes(10);
  {
    const OutboxRelay relay(Brokers(), db_, patient);
    ASSERT_TRUE(Eventually([&] {
      return !Read(db_, [](Tx& tx) { return tx.Run("SELECT FROM relay_lease"); }).empty();
    }));
    std::this_thread::sleep_for(patient.poll * 3);  // it looks, and finds nothing
    PublishMany(1);
    ASSERT_TRUE(Eventually([&] { return Unpublished() == 0; }))
        << "it waits after a round that had nothing";
    PublishMany(50);
    std::this_thread::sleep_for(patient.poll * 2);
    EXPECT_EQ(Unpublished(), 50);
  }
  EXPECT_EQ(Unpublished(), 0) << "a stop does not wait for the interval";
  EXPECT_EQ(Rounds(), 2);
}

TEST_F(RelayTest, EverythingArrivesOnceTheBrokersAreBack) {
  Door door;
  const OutboxRelay relay(door.settings(), db_);
  PublishMany(50);
  EXPECT_EQ(Unpublished(), 50);
  door.Open();
  EXPECT_EQ(FirstTold(ReadEvents(topic_, 50, std::chrono::seconds(30))), AllInOrder(50));
  EXPECT_TRUE(Eventually([&] { return Unpublished() == 0; }));
}

TEST_F(RelayTest, StopsPromptlyWhileTheBrokersAreAway) {
  Door door;
  PublishMany(5);
  auto relay = std::make_unique<OutboxRelay>(door.settings(), db_);
  ASSERT_TRUE(Eventually([&] {
    return !Read(db_, [](Tx& tx) { return tx.Run("SELECT FROM relay_lease"); }).empty();
  }));
  const auto begin = std::chrono::steady_clock::now();
  relay.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(3));
  EXPECT_EQ(Unpublished(), 5);
}

TEST_F(RelayTest, EverythingArrivesOnceTheDatabaseIsBack) {
  PublishMany(1);
  const OutboxRelay relay(Brokers(), db_);
  ASSERT_EQ(ReadTopic(topic_, 1).size(), 1u);
  postgres::Settings elsewhere = database_.settings();
  elsewhere.database = "postgres";
  postgres::Pool server(elsewhere);
  const auto allow = [&](const std::string& answer) {
    Read(server, [&](Tx& tx) {
      return tx.Run("ALTER DATABASE " + database_.settings().database + " ALLOW_CONNECTIONS " +
                    answer);
    });
  };
  allow("false");
  Read(server, [&](Tx& tx) {
    return tx.Run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '" +
                  database_.settings().database + "'");
  });
  EXPECT_THROW(PublishMany(1), Unavailable);
  allow("true");
  PublishMany(1);
  EXPECT_EQ(ReadTopic(topic_, 2).size(), 2u);
}

// The lease is taken from whoever holds it all the time, so that both publish what both have read.
TEST_F(RelayTest, TwoRelaysOnlyRepeat) {
  RelayOptions small;
  small.batch = 10;
  small.lease = std::chrono::milliseconds(30);
  std::atomic<bool> stop = false;
  std::thread thief([&] {
    postgres::Pool own(database_.settings());
    while (!stop) {
      InTransaction(own, [](Tx& tx) { tx.Run("DELETE FROM relay_lease"); });
    }
  });
  {
    const OutboxRelay one(Brokers(), db_, small);
    const OutboxRelay other(Brokers(), db_, small);
    PublishMany(300);
    EXPECT_TRUE(Eventually([&] { return Unpublished() == 0; }));
  }
  stop = true;
  thief.join();
  const std::vector<TopicRecord> records = ReadTopic(topic_, 1'000'000, std::chrono::seconds(3));
  EXPECT_EQ(FirstTold(records), AllInOrder(300));
}

// A process may stand still between the acknowledgement and the mark for longer than its lease.
TEST_F(RelayTest, ARelayThatStoodStillWhileAnotherTookOverOnlyRepeats) {
  PublishMany(10);
  RelayOptions brief;
  brief.lease = std::chrono::milliseconds(200);
  RelayOptions lasting;
  lasting.lease = std::chrono::seconds(60);
  std::unique_ptr<OutboxRelay> still;
  std::unique_ptr<OutboxRelay> other;
  InTransaction(db_, [&](Tx& tx) {
    tx.Run("SELECT FROM outbox FOR UPDATE");
    still = std::make_unique<OutboxRelay>(Brokers(), db_, brief);
    EXPECT_TRUE(Eventually([&] { return testing::CountLockWaits(db_) == 1; }));
    other = std::make_unique<OutboxRelay>(Brokers(), db_, lasting);
    EXPECT_TRUE(Eventually([&] { return testing::CountLockWaits(db_) == 2; }));
  });
  ASSERT_TRUE(Eventually([&] { return Unpublished() == 0; }));
  PublishMany(5);
  ASSERT_TRUE(Eventually([&] { return Unpublished() == 0; }));

  const std::vector<TopicRecord> records = ReadTopic(topic_, 26, std::chrono::seconds(1));
  std::map<std::string, int> times;
  for (const TopicRecord& record : records) ++times[record.headers.at("ce_id")];
  EXPECT_EQ(times.size(), 15u);
  EXPECT_EQ(records.size(), 25u)
      << "the first ten twice, and what came after the other took over once";
  auto expected = AllInOrder(10);
  for (auto& [key, numbers] : expected) numbers.push_back(std::stoi(key));
  EXPECT_EQ(FirstTold(records), expected);
}

TEST_F(RelayTest, AnotherRelayGoesOnOnceTheHolderHasEnded) {
  RelayOptions quick;
  quick.lease = std::chrono::milliseconds(500);
  auto one = std::make_unique<OutboxRelay>(Brokers(), db_, quick);
  PublishMany(5);
  ASSERT_TRUE(Eventually([&] { return Unpublished() == 0; }));
  const OutboxRelay other(Brokers(), db_, quick);
  one.reset();
  PublishMany(5);
  EXPECT_TRUE(Eventually([&] { return Unpublished() == 0; }));
}

TEST_F(RelayTest, ATopicThatIsMissingHoldsUpNoOther) {
  const std::string missing = UniqueName();
  InTransaction(db_, [&](Tx& tx) { messaging::Publish(tx, Cancelled(missing, 1, 1)); });
  const OutboxRelay relay(Brokers(), db_);
  PublishMany(10);
  EXPECT_TRUE(Eventually([&] { return Unpublished() == 1; }));
  const prometheus::Counter& errors = CounterFamily("outbox_errors_total", "").Add({});
  const double before = errors.Value();
  PublishMany(10);
  EXPECT_TRUE(Eventually([&] { return Unpublished() == 1; }));
  EXPECT_EQ(errors.Value(), before) << "was tried again in the way of the others";
  MakeTopic(missing, 1);
  EXPECT_EQ(ReadTopic(missing, 1, std::chrono::seconds(40)).size(), 1u);
}

TEST_F(RelayTest, PublishedRowsAreKeptOnlyForAWhile) {
  PublishMany(3);
  InTransaction(db_, [](Tx& tx) {
    tx.Run(
        "UPDATE outbox SET published_at = now() - interval '25 hours' WHERE id = 1;"
        "UPDATE outbox SET published_at = now() - interval '23 hours' WHERE id = 2");
  });
  const OutboxRelay relay(Brokers(), db_, {.retention = std::chrono::hours(24)});
  EXPECT_TRUE(Eventually([&] {
    return Read(db_, [](Tx& tx) {
      return tx
          .Run("SELECT count(*) = 2 AND min(id) = 2 FROM outbox WHERE published_at IS NOT NULL")[0]
                                                                                                [0]
          .as<bool>();
    });
  }));
}

// The outbox is in the order of the ids, which is the order of the order's locks, whoever began
// first.
TEST_F(RelayTest, ATransactionThatBeganEarlierAndWroteLaterIsPublishedLater) {
  InTransaction(db_, [&](Tx& early) {
    early.Run("SELECT now()");
    InTransaction(db_, [&](Tx& late) { messaging::Publish(late, Cancelled(topic_, 1, 1)); });
    Publish(early, Cancelled(topic_, 1, 2));
  });
  const bool set = Read(db_, [](Tx& tx) {
    return tx
        .Run(
            "SELECT (array_agg(created_at ORDER BY id))[1] >"
            " (array_agg(created_at ORDER BY id))[2] FROM outbox")[0][0]
        .as<bool>();
  });
  ASSERT_TRUE(set) << "the times are in the order of the ids";
  const OutboxRelay relay(Brokers(), db_);
  EXPECT_EQ(FirstTold(ReadEvents(topic_, 2))["1"], (std::vector{1, 2}));
}

TEST_F(RelayTest, ALeaseOfAnotherIsNotTakenBeforeItHasRunOut) {
  InTransaction(db_, [](Tx& tx) {
    tx.Run(
        "INSERT INTO relay_lease VALUES ('outbox', 'another', clock_timestamp() + interval '2 s')");
  });
  PublishMany(1);
  RelayOptions quick;
  quick.poll = std::chrono::milliseconds(5);
  const OutboxRelay relay(Brokers(), db_, quick);
  const std::string until = Read(db_, [](Tx& tx) {
    return tx.Run("SELECT until FROM relay_lease WHERE holder = 'another'")[0][0].as<std::string>();
  });
  ASSERT_TRUE(Eventually([&] { return Unpublished() == 0; }));
  EXPECT_TRUE(Read(db_, [&](Tx& tx) {
    return tx.ExecOnce("SELECT published_at >= $1::timestamptz FROM outbox", until)[0][0]
        .as<bool>();
  }));
}

TEST_F(RelayTest, TheSweepKeepsWhatIsNotPublished) {
  InTransaction(db_, [&](Tx& tx) {
    messaging::Publish(tx, Cancelled(UniqueName(), 1, 1));
  });  // no such topic
  PublishMany(2);
  InTransaction(db_, [](Tx& tx) {
    tx.Run(
        "UPDATE outbox SET created_at = now() - interval '60 days';"
        "UPDATE outbox SET published_at = now() - interval '60 days' WHERE id > 1");
  });
  const OutboxRelay relay(Brokers(), db_);
  EXPECT_TRUE(Eventually([&] {
    return Read(db_, [](Tx& tx) {
      return tx.Run("SELECT count(*) = 1 AND min(id) = 1 FROM outbox")[0][0].as<bool>();
    });
  }));
}

// More than one sweep takes at once, and published before them: what is old does not stand first.
TEST_F(RelayTest, WhatIsNotPublishedAtTheHeadDoesNotEndTheSweep) {
  const std::string missing = UniqueName();
  InTransaction(db_, [&](Tx& tx) {
    tx.ExecOnce(
        "INSERT INTO outbox (topic, key, event_id, type, source, time, traceparent, value)"
        " SELECT $1, i, i, 'ORDER_CANCELLED', '/orders', '', '', '{}'"
        " FROM generate_series(1, 1500) AS i",
        missing);
    tx.ExecOnce(
        "INSERT INTO outbox (topic, key, event_id, type, source, time, traceparent, value,"
        "                    published_at)"
        " SELECT $1, i, i, 'ORDER_CANCELLED', '/orders', '', '', '{}', now() - interval '60 days'"
        " FROM generate_series(1, 2500) AS i",
        topic_);
  });
  const OutboxRelay relay(Brokers(), db_);
  EXPECT_TRUE(Eventually([&] {
    return Read(
        db_, [](Tx& tx) { return tx.Run("SELECT count(*) = 1500 FROM outbox")[0][0].as<bool>(); });
  }));
  EXPECT_EQ(Unpublished(), 1500);
}

TEST_F(RelayTest, AnEventThatIsTooLargeHoldsBackItsKeyAlone) {
  messaging::Envelope large = Cancelled(topic_, 1, 1);
  large.value = std::string(2'000'000, 'x');
  InTransaction(db_, [&](Tx& tx) {
    messaging::Publish(tx, Cancelled(topic_, 1, 0));
    messaging::Publish(tx, large);
    messaging::Publish(tx, Cancelled(topic_, 1, 2));
    messaging::Publish(tx, Cancelled(topic_, 2, 3));
  });
  RelayOptions quick;
  quick.pause = std::chrono::milliseconds(500);
  const OutboxRelay relay(Brokers(), db_, quick);
  ASSERT_TRUE(Eventually([&] { return Unpublished() == 2; }));
  // Others of its topic do not wait, at first and when it is tried again.
  const auto begun = std::chrono::steady_clock::now();
  for (int i = 4; i < 24; ++i) {
    InTransaction(db_, [&](Tx& tx) { messaging::Publish(tx, Cancelled(topic_, 3, i)); });
    ASSERT_TRUE(Eventually([&] { return Unpublished() == 2; }));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(15));
  const auto told = FirstTold(ReadEvents(topic_, 22));
  EXPECT_EQ(told.at("1"), std::vector{0}) << "the one behind it has passed";
  EXPECT_EQ(told.at("3").size(), 20u);

  const std::vector<messaging::RefusedEvent> refused = messaging::ListRefused(db_);
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_EQ(refused[0].event_id, large.id);
  EXPECT_EQ(refused[0].key, "1");
  EXPECT_THAT(refused[0].reason, ::testing::HasSubstr("too large"));
  EXPECT_FALSE(messaging::DiscardRefused(db_, refused[0].id + 1)) << "it only waits";
  EXPECT_TRUE(messaging::DiscardRefused(db_, refused[0].id));
  EXPECT_TRUE(Eventually([&] { return Unpublished() == 0; }));
  EXPECT_EQ(FirstTold(ReadEvents(topic_, 23)).at("1"), (std::vector{0, 2}));
}

// The brokers refuse a whole batch for one event of it, and the producer with it.
TEST_F(RelayTest, AnEventThatTheBrokersFindTooLargeHoldsBackItsKeyAlone) {
  const std::string narrow = UniqueName();
  MakeTopic(narrow, 1, {{"max.message.bytes", "20000"}});
  std::string noise;  // that does not compress
  std::minstd_rand random;
  while (noise.size() < 60'000) noise += static_cast<char>('a' + random() % 26);
  messaging::Envelope large = Cancelled(narrow, 1, 1);
  large.value = noise;
  InTransaction(db_, [&](Tx& tx) {
    messaging::Publish(tx, Cancelled(narrow, 1, 0));
    messaging::Publish(tx, large);
    messaging::Publish(tx, Cancelled(narrow, 1, 2));
    for (int i = 3; i < 10; ++i) messaging::Publish(tx, Cancelled(narrow, i, i));
  });
  const OutboxRelay relay(Brokers(), db_);
  EXPECT_TRUE(Eventually([&] { return Unpublished() == 2; }));
  const auto told = FirstTold(ReadEvents(narrow, 8));
  EXPECT_EQ(told.at("1"), std::vector{0}) << "the one behind it has passed";
  EXPECT_EQ(told.size(), 8u);
  const std::vector<messaging::RefusedEvent> refused = messaging::ListRefused(db_);
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_EQ(refused[0].event_id, large.id);
}

TEST_F(RelayTest, WhatWasCommittedBeforeTheStopIsPublishedByIt) {
  RelayOptions sleepy;
  sleepy.poll = std::chrono::minutes(10);
  sleepy.grace = std::chrono::seconds(30);
  {
    const OutboxRelay relay(Brokers(), db_, sleepy);
    ASSERT_TRUE(Eventually([&] {
      return !Read(db_, [](Tx& tx) { return tx.Run("SELECT FROM relay_lease"); }).empty();
    }));
    PublishMany(20);
  }
  EXPECT_EQ(Unpublished(), 0);
  EXPECT_TRUE(Read(db_, [](Tx& tx) { return tx.Run("SELECT FROM relay_lease"); }).empty())
      << "the next relay has to wait for the lease";
}

// On a cluster that can be told to lose leaders. Of five keys on three partitions some are on each.
class LeaderlessTest : public RelayTest {
 protected:
  LeaderlessTest() {
    kafka_.MakeTopic(topic_, 3);
    kafka_.MakeTopic(other_, 1);
  }
  KafkaSettings Mock() { return {.brokers = kafka_.addresses()}; }
  std::vector<TopicRecord> ReadMock(size_t at_least) {
    return ReadEvents(topic_, at_least, std::chrono::seconds(20), kafka_.addresses());
  }
  // How many of what PublishMany(count) publishes are on each partition.
  std::vector<int> Spread(int count) {
    PublishMany(count);
    std::vector<int> spread(3);
    const OutboxRelay relay(Mock(), db_);
    EXPECT_TRUE(Eventually([&] { return Unpublished() == 0; }));
    std::set<std::string> seen;
    for (const TopicRecord& record : ReadMock(static_cast<size_t>(count))) {
      if (seen.insert(record.headers.at("ce_id")).second) {
        ++spread[static_cast<size_t>(record.partition)];
      }
    }
    return spread;
  }

  testing::MockKafka kafka_;
  const std::string other_ = UniqueName();
};

TEST_F(LeaderlessTest, APartitionWithoutALeaderHoldsBackItsKeysAlone) {
  const std::vector<int> spread = Spread(50);
  const int lost = spread[0] > 0 ? 0 : 1;
  const int waiting = spread[static_cast<size_t>(lost)];
  ASSERT_GT(waiting, 0);
  ASSERT_LT(waiting, 50);
  kafka_.TakeLeader(topic_, lost);
  RelayOptions quick;
  quick.pause = std::chrono::milliseconds(300);
  quick.batch = 7;  // so that what waits fills more than one
  const OutboxRelay relay(Mock(), db_, quick);
  PublishMany(50);
  InTransaction(db_, [&](Tx& tx) { messaging::Publish(tx, Cancelled(other_, 1, 1)); });
  EXPECT_TRUE(Eventually([&] { return Unpublished() == waiting; }));
  kafka_.GiveLeader(topic_, lost);
  EXPECT_TRUE(Eventually([&] { return Unpublished() == 0; }));
  std::map<std::string, std::vector<int>> twice;  // both rounds have the same numbers
  for (const auto& [key, numbers] : AllInOrder(50)) {
    twice[key] = numbers;
    twice[key].insert(twice[key].end(), numbers.begin(), numbers.end());
  }
  EXPECT_EQ(FirstTold(ReadMock(100)), twice);
}

TEST_F(LeaderlessTest, APartitionThatLosesItsLeaderUnderWayStopsNoOther) {
  const std::vector<int> spread = Spread(50);
  const int lost = spread[0] > 0 ? 0 : 1;
  const OutboxRelay relay(Mock(), db_);
  // Nothing is acknowledged any more, so that the events are on their way.
  kafka_.Down();
  PublishMany(50);
  ASSERT_TRUE(Eventually([&] {
    return !Read(db_, [](Tx& tx) { return tx.Run("SELECT FROM relay_lease"); }).empty();
  }));
  kafka_.TakeLeader(topic_, lost);
  kafka_.Up();
  EXPECT_TRUE(Eventually([&] { return Unpublished() == spread[static_cast<size_t>(lost)]; }));
}

}  // namespace
}  // namespace shop::kafka
