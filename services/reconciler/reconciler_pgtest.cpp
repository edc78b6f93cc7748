// The reconciler on the services' own tables, with the built-in payment provider over HTTP: a
// consistent shop has no drift, and what is broken by SQL is found as what it is.
#include "reconciler/reconciler.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/postgres/migrations.h"
#include "common/testing/database.h"
#include "messaging_migrations.h"
#include "orders_migrations.h"
#include "payments_migrations.h"
#include "products_migrations.h"
#include "provider/api.h"
#include "provider/http_server.h"
#include "provider/ledger.h"
#include "provider_migrations.h"
#include "shipping_migrations.h"

namespace shop::reconciler {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr char kApiKey[] = "sk_test";

using Pools = std::map<std::string, std::unique_ptr<postgres::Pool>>;

// Topics that have what the outboxes say was published, but for some.
class FakeTopics : public Topics {
 public:
  explicit FakeTopics(Pools& pools) : pools_(pools) {}

  TopicContents Read(const std::vector<std::string>&, int64_t seconds, int64_t) override {
    if (away) throw Unreadable("the topics: away");
    TopicContents contents{.seconds = seconds, .orders = strangers};
    for (const Publisher& publisher : kPublishers) {
      const pqxx::result published =
          postgres::Read(*pools_.at(publisher.service), [&](postgres::Tx& tx) {
            return tx.ExecOnce(
                "SELECT event_id FROM outbox WHERE published_at IS NOT NULL AND topic = $1",
                publisher.topic);
          });
      for (const auto& row : published) {
        const std::string id = row[0].as<std::string>();
        if (id != lost) contents.events.push_back(DigestOf(id));
      }
    }
    std::ranges::sort(contents.events);
    return contents;
  }
  std::map<messaging::Place, int64_t> Ends() override {
    // Between the two looks.
    if (between_looks) std::exchange(between_looks, nullptr)();
    return ends;
  }

  bool away = false;
  std::string lost;
  std::vector<int64_t> strangers;
  std::map<messaging::Place, int64_t> ends;
  std::function<void()> between_looks;

 private:
  Pools& pools_;
};

std::vector<std::string> KindsOf(const Report& report) {
  std::vector<std::string> kinds;
  for (const Drift& drift : report.drifts) kinds.emplace_back(Text(drift.kind));
  return kinds;
}

std::string Uuid(int order) {
  return fmt::format("00000000-0000-4000-8000-{:012}", order);
}

// The databases of the services and of the provider, which is served. Made once for all tests, as that
// takes seconds.
struct Shop {
  Shop() {
    Make("orders", {kMessagingMigrations, kOrdersMigrations});
    Make("products", {kProductsMigrations});
    Make("payments", {kMessagingMigrations, kPaymentsMigrations});
    Make("stock", {kMessagingMigrations});
    Make("shipping", {kMessagingMigrations, kShippingMigrations});
    Make("provider", {kProviderMigrations});
    // What keeps the services from breaking this, and stands in the way of tests that do.
    Sql("orders", "ALTER TABLE order_timeline DISABLE TRIGGER append_only");
    Sql("products", "ALTER TABLE products DROP CONSTRAINT stock_is_never_oversold");
  }

  void Make(const std::string& service, const std::vector<postgres::MigrationSet>& migrations) {
    databases[service] = std::make_unique<testing::TestDatabase>();
    pools[service] = std::make_unique<postgres::Pool>(databases[service]->settings());
    postgres::Migrate(*pools[service], migrations);
  }

  void Sql(const std::string& service, const std::string& sql) {
    postgres::InTransaction(*pools.at(service), [&](postgres::Tx& tx) { tx.Run(sql); });
  }

  // Faster than truncating where there is little; in any sequence, as a replica has no foreign keys.
  void Empty() {
    for (const auto& [service, pool] : pools) {
      Sql(service, R"sql(SET LOCAL session_replication_role = replica;
        DO $$ DECLARE name text; BEGIN
          FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
            EXECUTE format('DELETE FROM %I', name);
          END LOOP; END $$)sql");
    }
  }
  std::map<std::string, postgres::Settings> Settings() const {
    std::map<std::string, postgres::Settings> settings;
    for (const auto& [service, database] : databases) settings[service] = database->settings();
    return settings;
  }

  std::map<std::string, std::unique_ptr<testing::TestDatabase>> databases;
  Pools pools;
  std::unique_ptr<Databases> read = nullptr;
};

class ReconcilerTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    shop_ = std::make_unique<Shop>();
    shop_->read = std::make_unique<Databases>(shop_->Settings());
  }
  static void TearDownTestSuite() { shop_.reset(); }

  static constexpr int kDelivered = 1;
  static constexpr int kCancelled = 2;
  static constexpr int kRejected = 3;
  static constexpr int kPending = 4;

  ReconcilerTest() {
    shop_->Empty();
    SeedStock();
    SeedOrders();
  }

  static void Sql(const std::string& service, const std::string& sql) { shop_->Sql(service, sql); }

  // Ten of product 1 were received: two were sold, two came back, and one is held.
  void SeedStock() {
    Sql("products",
        fmt::format(R"sql(
        INSERT INTO products (id, name, description, price, on_hand, reserved)
          VALUES (1, 'Mouse', '', 1250, 8, 1);
        INSERT INTO stock_movements (product_id, kind, on_hand, reserved, order_uuid) VALUES
          (1, 'RECEIVED', 10, 0, NULL),
          (1, 'RESERVED', 0, 2, '{0}'), (1, 'COMMITTED', -2, -2, '{0}'),
          (1, 'RESERVED', 0, 2, '{1}'), (1, 'COMMITTED', -2, -2, '{1}'), (1, 'RETURNED', 2, 0, '{1}'),
          (1, 'RESERVED', 0, 1, '{2}');
        INSERT INTO reservations (order_uuid, order_id, state) VALUES
          ('{0}', 1, 'COMMITTED'), ('{1}', 2, 'RETURNED'), ('{2}', 4, 'HELD'), ('{3}', 3, 'REJECTED');
        INSERT INTO reservation_lines (order_uuid, product_id, quantity, returned) VALUES
          ('{0}', 1, 2, 0), ('{1}', 1, 2, 2), ('{2}', 1, 1, 0);)sql",
                    Uuid(kDelivered), Uuid(kCancelled), Uuid(kPending), Uuid(kRejected)));
  }

  void SeedOrders() {
    Order(kDelivered, 2, "DELIVERED", "stock = 'RESERVED', payment = 'COMPLETED'",
          {"ORDER_CREATED", "ORDER_CONFIRMED", "ORDER_SHIPPED", "ORDER_DELIVERED"});
    Order(kCancelled, 2, "CANCELLED",
          "stock = 'RESERVED', payment = 'COMPLETED', cancel = 'DECIDED'",
          {"ORDER_CREATED", "ORDER_CONFIRMED", "ORDER_CANCELLED"});
    Order(kRejected, 5, "CANCELLED", "stock = 'REJECTED'", {"ORDER_CREATED", "ORDER_CANCELLED"});
    Order(kPending, 1, "PENDING", "stock = 'RESERVED'", {"ORDER_CREATED"});
    Pay(kDelivered, "CAPTURED", "COMPLETED", false);
    Pay(kCancelled, "CAPTURED", "COMPLETED", true);
    Sql("payments", fmt::format("INSERT INTO refunds (uuid, order_uuid, position, source, cause,"
                                " amount, state) VALUES ('{0}', '{0}', 0, 'cancellation',"
                                " 'ORDER_CANCELLED', 2500, 'DONE')",
                                Uuid(kCancelled)));
    Sql("provider", "UPDATE payments SET refunded = 2500 WHERE key = '" + Uuid(kCancelled) + "'");
    Sql("payments",
        fmt::format("INSERT INTO payments (order_uuid, order_id, user_id, order_number, cancelled)"
                    " VALUES ('{}', 3, 1, '', true)",
                    Uuid(kRejected)));
    Sql("payments",
        fmt::format("INSERT INTO payments (order_uuid, order_id, user_id, order_number, wanted,"
                    " amount, currency, asked, next_at)"
                    " VALUES ('{}', 4, 1, '', true, 1250, 'USD', true, now())",
                    Uuid(kPending)));
    const std::map<int, std::string> states = {{kDelivered, "DELIVERED"},
                                               {kCancelled, "CANCELLED"},
                                               {kRejected, "CANCELLED"},
                                               {kPending, "PREPARING"}};
    for (const auto& [order, state] : states) {
      Sql("shipping",
          fmt::format(
              "INSERT INTO shipments (order_uuid, order_id, user_id, tracking_number, state)"
              " VALUES ('{0}', {1}, 1, 'TRK{1}', '{2}')",
              Uuid(order), order, state));
    }
  }

  // An order of product 1, whose timeline and outbox tell of these events, an hour ago.
  void Order(int id, int quantity, const std::string& status, const std::string& facts,
             const std::vector<std::string>& events) {
    Sql("orders", fmt::format(R"sql(
        INSERT INTO orders (id, uuid, user_id, total_price, currency, payment_method, payment, seq, entries,
                            created_at, updated_at)
          VALUES ({0}, '{1}', 1, {2} * 1250, 'USD', 'CREDIT_CARD', NULL, {3}, {3},
                  now() - interval '1 hour', now() - interval '1 hour');
        UPDATE orders SET status = '{4}', {5} WHERE id = {0};
        INSERT INTO order_items (order_id, line, product_id, name, quantity, unit_price)
          VALUES ({0}, 1, 1, 'Mouse', {2}, 1250);)sql",
                              id, Uuid(id), quantity, events.size(), status, facts));
    int seq = 0;
    for (const std::string& type : events) {
      ++seq;
      Sql("orders", fmt::format(R"sql(
          INSERT INTO order_timeline (order_id, sequence, what, status, cause, trace_id)
            VALUES ({0}, {1}, '{2}', 'PENDING', 'CUSTOMER', '');
          INSERT INTO outbox (topic, key, event_id, type, source, time, traceparent, value, created_at, published_at)
            VALUES ('orders', '{0}', 'event-{0}-{1}', '{2}', 'orders', '', '', '{{"seq":{1}}}',
                    now() - interval '1 hour', now() - interval '1 hour');)sql",
                                id, seq, type));
    }
  }

  // A payment of 25.00, here and at the provider.
  void Pay(int order, const std::string& charge, const std::string& outcome, bool cancelled) {
    Sql("payments",
        fmt::format("INSERT INTO payments (order_uuid, order_id, user_id, order_number,"
                    " wanted, amount, currency, asked, charge, outcome, cancelled)"
                    " VALUES ('{}', {}, 1, '', true, 2500, 'USD', true, '{}', '{}', {})",
                    Uuid(order), order, charge, outcome, cancelled));
    Sql("provider", fmt::format("INSERT INTO payments (key, status, amount, currency, authorized,"
                                " captured) VALUES ('{}', '{}', 2500, 'USD', 2500, 2500)",
                                Uuid(order), charge));
  }

  Report Run() { return Run(*shop_->read); }
  Report Run(Databases& databases) {
    Ledger ledger("http://127.0.0.1:" + std::to_string(server_.port()), api_key_);
    return Reconciler(databases, ledger, topics_, options_).Run();
  }

  static inline std::unique_ptr<Shop> shop_;
  provider::Ledger provider_{*shop_->pools.at("provider"), milliseconds(10)};
  provider::Api api_{provider_, kApiKey};
  provider::HttpServer server_{{}, api_};
  std::string api_key_ = kApiKey;
  FakeTopics topics_{shop_->pools};
  // Batches of two, so that there are several.
  Options options_{.settle = milliseconds(1), .patience = milliseconds(1), .batch = 2};
};

TEST_F(ReconcilerTest, AConsistentShopHasNoDrift) {
  const Report report = Run();
  EXPECT_THAT(KindsOf(report), IsEmpty())
      << report.drifts[0].subject << ": " << report.drifts[0].detail;
  EXPECT_EQ(report.undecided, 0);
  EXPECT_EQ(report.orders, 4);
  EXPECT_EQ(report.products, 1);
  EXPECT_EQ(report.events, 10);
}

// What one statement breaks, and the one kind of drift that it is.
struct Breakage {
  const char* kind;
  const char* service;
  const char* sql;  // {0} … {3} are the UUIDs of the delivered, cancelled, rejected, pending order
};

class OneStatement : public ReconcilerTest, public ::testing::WithParamInterface<Breakage> {};

TEST_P(OneStatement, IsThatDrift) {
  Sql(GetParam().service,
      fmt::format(fmt::runtime(GetParam().sql), Uuid(1), Uuid(2), Uuid(3), Uuid(4)));
  const Report report = Run();
  EXPECT_THAT(KindsOf(report), ElementsAre(GetParam().kind));
}

INSTANTIATE_TEST_SUITE_P(
    Breaking, OneStatement,
    ::testing::Values(
        Breakage{"order_not_published", "orders",
                 "DELETE FROM outbox WHERE event_id = 'event-4-1'"},
        Breakage{"event_sequence_gap", "orders", "DELETE FROM outbox WHERE event_id = 'event-1-3'"},
        Breakage{"event_sequence_gap", "orders", "DELETE FROM outbox WHERE event_id = 'event-1-4'"},
        Breakage{"timeline_gap", "orders",
                 "DELETE FROM order_timeline WHERE order_id = 1 AND sequence = 2"},
        Breakage{
            "outbox_stuck", "stock",
            "INSERT INTO outbox (topic, key, event_id, type, source, time, traceparent, value,"
            " created_at) VALUES ('stock', '9', 'x', 'STOCK_RESERVED', 'stock', '', '', '{{}}',"
            " now() - interval '10 minutes')"},
        Breakage{"reservation_missing", "products",
                 "DELETE FROM reservations WHERE order_uuid = '{2}'"},
        Breakage{"reservation_contradicts_order", "orders",
                 "UPDATE orders SET stock = NULL WHERE id = 4"},
        Breakage{"reservation_contradicts_order", "orders",
                 "UPDATE order_items SET product_id = 2 WHERE order_id = 1"},
        Breakage{"reservation_without_order", "products",
                 "INSERT INTO reservations (order_uuid, order_id, state)"
                 " VALUES (gen_random_uuid(), 99, 'REJECTED')"},
        Breakage{"returned_stock_differs", "orders",
                 "INSERT INTO returns (order_id, reason, status) VALUES (1, '', 'ACCEPTED');"
                 "INSERT INTO return_items SELECT id, 1, 1, 1 FROM returns"},
        Breakage{"sold_differs_from_movements", "products",
                 "UPDATE stock_movements SET kind = 'ADJUSTED' WHERE kind = 'RETURNED'"},
        Breakage{"payment_missing", "payments", "DELETE FROM payments WHERE order_uuid = '{2}'"},
        Breakage{"payment_contradicts_order", "payments",
                 "UPDATE payments SET cancelled = false WHERE order_uuid = '{2}'"},
        Breakage{"payment_without_order", "payments",
                 "INSERT INTO payments (order_uuid, order_id, user_id, order_number)"
                 " VALUES (gen_random_uuid(), 99, 1, '')"},
        Breakage{"refunded_differs_from_provider", "provider",
                 "UPDATE payments SET refunded = 100 WHERE key = '{0}'"},
        Breakage{"captured_differs_from_provider", "provider",
                 "DELETE FROM payments WHERE key = '{0}'"},
        Breakage{"captured_differs_from_provider", "provider",
                 "UPDATE payments SET captured = 2400 WHERE key = '{0}'"},
        Breakage{"charge_differs_from_provider", "provider",
                 "INSERT INTO payments (key, status) VALUES ('{2}', 'AUTHORIZED')"},
        Breakage{"refunded_more_than_captured", "payments",
                 "INSERT INTO refunds (uuid, order_uuid, position, source, cause, amount, state)"
                 " VALUES (gen_random_uuid(), '{0}', 0, 'x', 'BY_HAND', 2501, 'REQUESTED')"},
        Breakage{"ledger_without_order", "provider",
                 "INSERT INTO payments (key, status) VALUES (gen_random_uuid(), 'VOIDED')"},
        Breakage{"ledger_without_order", "provider",
                 "INSERT INTO payments (key, status) VALUES ('somebody else', 'VOIDED')"},
        Breakage{"shipment_missing", "shipping", "DELETE FROM shipments WHERE order_id = 4"},
        Breakage{"shipment_contradicts_order", "shipping",
                 "UPDATE shipments SET state = 'READY' WHERE order_id = 4"},
        Breakage{"shipment_without_order", "shipping",
                 "INSERT INTO shipments (order_uuid, order_id, user_id, tracking_number)"
                 " VALUES (gen_random_uuid(), 99, 1, 'TRK')"}));

// These are about two of the sides at once.
TEST_F(ReconcilerTest, StockThatIsNotWhatItsMovementsSayIsFound) {
  Sql("products", "UPDATE products SET on_hand = 9");
  EXPECT_THAT(KindsOf(Run()), ElementsAre("on_hand_differs_from_movements"));
  Sql("products", "UPDATE products SET on_hand = 8, reserved = 2");
  EXPECT_THAT(KindsOf(Run()),
              ElementsAre("reserved_differs_from_movements", "reserved_differs_from_held_lines"));
  Sql("products", "INSERT INTO stock_movements (product_id, kind, reserved) VALUES (1, 'SET', 1)");
  EXPECT_THAT(KindsOf(Run()), ElementsAre("reserved_differs_from_held_lines"));
}

TEST_F(ReconcilerTest, StockBelowZeroIsFound) {
  Sql("products",
      "UPDATE products SET on_hand = 0;"
      "INSERT INTO stock_movements (product_id, kind, on_hand) VALUES (1, 'SET', -8)");
  EXPECT_THAT(KindsOf(Run()), ElementsAre("stock_negative"));
}

TEST_F(ReconcilerTest, MoneyOfACancelledOrderThatIsKeptIsFound) {
  Sql("payments", "DELETE FROM refunds");
  Sql("provider", "UPDATE payments SET refunded = 0");
  EXPECT_THAT(KindsOf(Run()), ElementsAre("money_kept_for_cancelled_order"));
}

TEST_F(ReconcilerTest, AnOrderThatGoesOnUnpaidIsFound) {
  Sql("payments", "UPDATE payments SET charge = 'VOIDED' WHERE order_uuid = '" + Uuid(1) + "'");
  Sql("provider",
      "UPDATE payments SET status = 'VOIDED', captured = 0 WHERE key = '" + Uuid(1) + "'");
  EXPECT_THAT(KindsOf(Run()), ElementsAre("order_not_paid"));
}

TEST_F(ReconcilerTest, AnEventThatItsTopicHasLostIsFound) {
  topics_.lost = "event-1-2";
  const Report report = Run();
  EXPECT_THAT(KindsOf(report), ElementsAre("event_not_on_topic"));
  EXPECT_EQ(report.drifts[0].subject, "order 1");
  EXPECT_THAT(report.drifts[0].detail, HasSubstr("event-1-2"));
  // The row was published again meanwhile.
  Sql("orders", "UPDATE outbox SET published_at = NULL WHERE event_id = 'event-1-2'");
  EXPECT_THAT(KindsOf(Run()), ElementsAre("outbox_stuck"));
}

TEST_F(ReconcilerTest, AnOrderThatOnlyTheTopicTellsOfIsFound) {
  topics_.strangers = {kDelivered, kCancelled, 77};
  const Report report = Run();
  EXPECT_THAT(KindsOf(report), ElementsAre("event_without_order"));
  EXPECT_EQ(report.drifts[0].subject, "order 77");
}

TEST_F(ReconcilerTest, SeveralAreFoundAtOnce) {
  Sql("shipping", "DELETE FROM shipments WHERE order_id IN (1, 4)");
  Sql("products", "UPDATE products SET on_hand = 9");
  EXPECT_THAT(KindsOf(Run()), UnorderedElementsAre("shipment_missing", "shipment_missing",
                                                   "on_hand_differs_from_movements"));
}

// The provider answers 500 at a time.
TEST_F(ReconcilerTest, ALedgerOfSeveralPagesIsReadToItsEnd) {
  Sql("provider",
      "INSERT INTO payments (key, status) SELECT gen_random_uuid(), 'VOIDED'"
      " FROM generate_series(1, 600)");
  EXPECT_EQ(Run().drifts.size(), 600U);
}

TEST_F(ReconcilerTest, TooMuchToReportIsSaid) {
  Sql("provider",
      "INSERT INTO payments (key, status) SELECT gen_random_uuid(), 'VOIDED'"
      " FROM generate_series(1, 20001)");
  EXPECT_THROW(Run(), Unreadable);
}

TEST_F(ReconcilerTest, WhatHealsBetweenTheLooksIsNotReported) {
  Sql("shipping", "UPDATE shipments SET state = 'READY' WHERE order_id = 4");
  topics_.between_looks = [&] {
    Sql("shipping", "UPDATE shipments SET state = 'PREPARING' WHERE order_id = 4");
  };
  EXPECT_THAT(KindsOf(Run()), IsEmpty());
}

// The provider's ledger has no versions: what it says is compared.
TEST_F(ReconcilerTest, WhatTheProviderSaysOtherwiseAtTheSecondLookIsNotReported) {
  const std::string captured = "UPDATE payments SET captured = {} WHERE key = '" + Uuid(1) + "'";
  Sql("provider", fmt::format(fmt::runtime(captured), 2400));
  topics_.between_looks = [&] { Sql("provider", fmt::format(fmt::runtime(captured), 2500)); };
  EXPECT_THAT(KindsOf(Run()), IsEmpty());
}

// It is the same contradiction, but not of the same rows: an order at work.
TEST_F(ReconcilerTest, WhatMovesBetweenTheLooksIsNotReported) {
  struct Change {
    std::string service;
    std::string sql;
  };
  for (const Change& change : std::vector<Change>{
           {"shipping", "UPDATE shipments SET updated_at = now() WHERE order_id = 4"},
           {"orders", "UPDATE orders SET updated_at = now() WHERE id = 4"},
           {"payments", "UPDATE payments SET failures = 1 WHERE order_id = 4"},
           {"products", "UPDATE reservations SET updated_at = now() WHERE order_id = 4"}}) {
    Sql("shipping", "UPDATE shipments SET state = 'READY' WHERE order_id = 4");
    topics_.between_looks = [&] { Sql(change.service, change.sql); };
    EXPECT_THAT(KindsOf(Run()), IsEmpty()) << change.service;
    EXPECT_THAT(KindsOf(Run()), ElementsAre("shipment_contradicts_order"));
  }
}

TEST_F(ReconcilerTest, AnOrderWithEventsUnderWayIsNotReported) {
  Sql("shipping", "UPDATE shipments SET state = 'READY' WHERE order_id = 4");
  Sql("shipping",
      "INSERT INTO outbox (topic, key, event_id, type, source, time, traceparent, value)"
      " VALUES ('shipments', '4', 'x', 'SHIPMENT_CREATED', 'shipping', '', '', '{}')");
  EXPECT_THAT(KindsOf(Run()), IsEmpty());
  Sql("shipping", "DELETE FROM outbox");
  EXPECT_THAT(KindsOf(Run()), ElementsAre("shipment_contradicts_order"));

  constexpr char kQueue[] =
      "INSERT INTO retry_queue (consumer, topic, key, partition, position, event_id, type, headers,"
      " value, reason, dead) VALUES ('shipping', 'orders', '4', 0, 0, 'x', '', '{}', '', '', ";
  Sql("shipping", std::string(kQueue) + "false)");
  EXPECT_THAT(KindsOf(Run()), IsEmpty());
  // What waits behind a dead letter waits for a person, who is to hear of it.
  Sql("shipping", "UPDATE retry_queue SET dead = true");
  EXPECT_THAT(KindsOf(Run()), ElementsAre("shipment_contradicts_order"));
}

TEST_F(ReconcilerTest, WhileAGroupIsBehindWhatFollowsFromItsEventsIsUndecided) {
  Sql("shipping", "UPDATE shipments SET state = 'READY' WHERE order_id = 4");
  Sql("products", "UPDATE products SET on_hand = 9");
  topics_.ends = {{{"orders", 0}, 10}};
  for (const char* service : {"payments", "stock", "shipping"}) {
    Sql(service, fmt::format("INSERT INTO consumer_positions (consumer, topic, partition, next)"
                             " VALUES ('{}', 'orders', 0, 10)",
                             service));
  }
  EXPECT_THAT(KindsOf(Run()),
              UnorderedElementsAre("shipment_contradicts_order", "on_hand_differs_from_movements"));
  Sql("stock", "UPDATE consumer_positions SET next = 9");
  const Report report = Run();
  EXPECT_THAT(KindsOf(report), ElementsAre("on_hand_differs_from_movements"));
  EXPECT_EQ(report.undecided, 1);
  EXPECT_THAT(report.why_undecided, HasSubstr("group stock"));
}

TEST_F(ReconcilerTest, NamesWhatItCannotRead) {
  const auto complaint = [&] {
    try {
      Run();
      return std::string("nothing");
    } catch (const Unreadable& error) {
      return std::string(error.what());
    }
  };
  topics_.away = true;
  EXPECT_THAT(complaint(), HasSubstr("the topics"));
  topics_.away = false;
  Sql("shipping", "ALTER TABLE shipments RENAME TO gone");
  EXPECT_THAT(complaint(), HasSubstr("the database of shipping"));
  Sql("shipping", "ALTER TABLE gone RENAME TO shipments");
  api_key_ = "another key";
  EXPECT_THAT(complaint(), HasSubstr("the payment provider: HTTP 401"));
}

// As a role whose transactions are read-only.
TEST_F(ReconcilerTest, WritesNothing) {
  const auto say = [](const char* what) {
    for (const auto& [service, database] : shop_->databases) {
      Sql(service, fmt::format("ALTER DATABASE {} {}", database->settings().database, what));
    }
  };
  say("SET default_transaction_read_only = on");
  Databases connected_anew(shop_->Settings());
  EXPECT_THAT(KindsOf(Run(connected_anew)), IsEmpty());
  say("RESET default_transaction_read_only");
}

}  // namespace
}  // namespace shop::reconciler
