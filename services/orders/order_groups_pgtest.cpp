// Orders that are placed at the same moment, on a real database.
#include "orders/order_groups.h"

#include <gmock/gmock.h>

#include <atomic>
#include <functional>
#include <future>
#include <map>
#include <set>
#include <string>
#include <thread>

#include "common/core/deadline.h"
#include "common/testing/database.h"
#include "common/testing/published_events.h"
#include "common/testing/recorded_spans.h"
#include "common/testing/servers.h"
#include "idempotency_migrations.h"
#include "messaging_migrations.h"
#include "orders_migrations.h"

namespace shop::orders {
namespace {

using idempotency::Attempt;
using shop::testing::Eventually;
using std::chrono::milliseconds;
using std::chrono::steady_clock;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

using Placed = std::future<Result<v1::Order>>;

class OrderGroupsTest : public ::testing::Test {
 protected:
  OrderGroupsTest() {
    postgres::Migrate(db_, {kMessagingMigrations, kIdempotencyMigrations, kOrdersMigrations});
  }

  postgres::Settings Settings() const {
    postgres::Settings settings = database_.settings();
    settings.connections = 16;
    return settings;
  }

  static Call As(int64_t user) {
    Call call;
    call.caller.user_id = user;
    call.trace = TraceContext::New();
    return call;
  }
  static v1::CreateOrderRequest For(const std::string& city, const std::string& key) {
    v1::CreateOrderRequest request;
    request.mutable_shipping_address()->set_city(city);
    request.set_idempotency_key(key);
    return request;
  }
  static NewOrder OrderOf(const Call& call, const v1::CreateOrderRequest& request) {
    NewOrder order{.user_id = call.caller.user_id,
                   .lines = {{}, 0},
                   .currency = "USD",
                   .payment_method = v1::PAYMENT_METHOD_CREDIT_CARD,
                   .shipping_address = request.shipping_address(),
                   .payment_token = "tok_" + request.shipping_address().city(),
                   .trace = call.trace};
    for (int64_t line = 1; line <= call.caller.user_id % 3 + 1; ++line) {  // one line to three
      v1::OrderItem item;
      item.set_product_id(100 * call.caller.user_id + line);
      item.set_name("Lamp {\"" + std::to_string(line) + "\"}");
      item.set_quantity(line);
      item.set_unit_price(call.caller.user_id);
      item.set_total_price(item.quantity() * item.unit_price());
      order.lines.total_price += item.total_price();
      order.lines.items.push_back(std::move(item));
    }
    return order;
  }
  Result<v1::Order> Place(const Call& call, const std::string& city = "Málaga",
                          const std::string& key = "") {
    const v1::CreateOrderRequest request = For(city, key);
    return idempotency::Once(db_, call, request, [&](Attempt& attempt) {
      return groups_.Place(attempt, OrderOf(call, request));
    });
  }
  Placed Begin(int64_t user, const std::string& city = "Málaga", const std::string& key = "") {
    return std::async(std::launch::async,
                      [this, user, city, key] { return Place(As(user), city, key); });
  }

  // Calls `begin` while a group is under way that does not end before `begin` has returned and `waiting`
  // orders wait for the next one.
  void DuringAGroup(size_t waiting, const std::function<void()>& begin) {
    Placed before;
    postgres::InTransaction(db_, [&](postgres::Tx& tx) {
      tx.Run("LOCK TABLE orders IN SHARE MODE");
      before = Begin(1);
      ASSERT_TRUE(Eventually([&] { return testing::CountLockWaits(db_) == 1; }));
      begin();
      ASSERT_TRUE(Eventually([&] { return groups_.waiting() == waiting; }));
    });
    EXPECT_TRUE(before.get());
  }

  void Run(const std::string& sql) {
    postgres::InTransaction(db_, [&](postgres::Tx& tx) { tx.Run(sql); });
  }
  int64_t Number(const std::string& sql) {
    return postgres::Read(db_, [&](postgres::Tx& tx) { return tx.Run(sql)[0][0].as<int64_t>(); });
  }
  int64_t OrdersOf(int64_t user) {
    return Number("SELECT count(*) FROM orders WHERE user_id = " + std::to_string(user));
  }
  // The order as it can be read.
  std::string Stored(const v1::Order& order) {
    return postgres::Read(db_, [&](postgres::Tx& tx) {
      return Find(tx, order.id(), order.user_id())->SerializeAsString();
    });
  }
  // Whether one transaction has placed both.
  static bool Together(const v1::Order& one, const v1::Order& other) {
    return one.created_at().seconds() == other.created_at().seconds() &&
           one.created_at().nanos() == other.created_at().nanos();
  }

  shop::testing::TestDatabase database_;
  postgres::Pool db_{Settings()};
  OrderGroups groups_{db_, {}, {}};
};

TEST_F(OrderGroupsTest, AnOrderThatComesAloneIsPlacedAtOnce) {
  const Result<v1::Order> placed = Place(As(7));
  ASSERT_TRUE(placed) << placed.refusal().message;
  EXPECT_EQ(Stored(*placed), placed->SerializeAsString());
  const auto events = shop::testing::PublishedEvents(db_);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].key, std::to_string(placed->id()));
  EXPECT_THAT(events[0].value, ::testing::HasSubstr("tok_Málaga"));
}

TEST_F(OrderGroupsTest, OrdersOfOneMomentShareATransactionAndKeepWhatIsTheirs) {
  std::map<int64_t, Placed> placed;
  DuringAGroup(5, [&] {
    for (int64_t user = 10; user < 15; ++user) {
      placed[user] = Begin(user, "City " + std::to_string(user),
                           user % 2 == 0 ? "" : "k" + std::to_string(user));
    }
  });
  std::map<std::string, v1::Order> orders;  // by their ids
  for (auto& [user, future] : placed) {
    const Result<v1::Order> order = future.get();
    ASSERT_TRUE(order) << order.refusal().message;
    EXPECT_EQ(order->user_id(), user);
    EXPECT_EQ(order->items_size(), user % 3 + 1);
    EXPECT_EQ(order->items(0).product_id(), 100 * user + 1);
    EXPECT_EQ(order->shipping_address().city(), "City " + std::to_string(user));
    EXPECT_EQ(Stored(*order), order->SerializeAsString());
    EXPECT_EQ(Number("SELECT count(*) FROM order_timeline WHERE trace_id <> '' AND order_id = " +
                     std::to_string(order->id())),
              1);
    orders.emplace(std::to_string(order->id()), *order);
    EXPECT_TRUE(Together(*order, orders.begin()->second));
  }

  std::set<std::string> published, traces;
  int64_t last = 0;
  for (const auto& event : shop::testing::PublishedEvents(db_)) {
    EXPECT_GT(std::stoll(event.key), last) << "in the sequence of the orders";
    last = std::stoll(event.key);
    EXPECT_TRUE(traces.insert(event.trace.trace_id).second);
    if (!orders.contains(event.key)) continue;  // of the group before
    EXPECT_TRUE(published.insert(event.key).second);
    EXPECT_THAT(event.value,
                ::testing::HasSubstr("tok_" + orders.at(event.key).shipping_address().city()));
  }
  EXPECT_EQ(published.size(), 5u);

  const Call repeating = As(11);
  const Result<v1::Order> repeat = Place(repeating, "City 11", "k11");
  ASSERT_TRUE(repeat);
  EXPECT_TRUE(repeating.replayed);
  EXPECT_EQ(Stored(*repeat), repeat->SerializeAsString());
}

TEST_F(OrderGroupsTest, OneThatTheDatabaseRefusesHarmsNobodyInItsGroup) {
  Run(R"sql(
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
      $$BEGIN RAISE 'not this one'; END$$;
    CREATE TRIGGER refusing BEFORE INSERT ON orders FOR EACH ROW
      WHEN (NEW.shipping_address->>'city' = 'nowhere') EXECUTE FUNCTION refuse())sql");
  Placed first, bad, last;
  DuringAGroup(3, [&] {
    first = Begin(10, "Málaga", "k");
    bad = Begin(11, "nowhere", "k");
    last = Begin(12);
  });
  EXPECT_TRUE(first.get());
  EXPECT_TRUE(last.get());
  EXPECT_THROW((void)bad.get(), std::exception);
  EXPECT_EQ(OrdersOf(11), 0);
  EXPECT_EQ(OrdersOf(10) + OrdersOf(12), 2);
  EXPECT_TRUE(Place(As(11), "Málaga", "k")) << "its key is free";
  EXPECT_EQ(shop::testing::PublishedEvents(db_).size(), 4u);
}

TEST_F(OrderGroupsTest, OneWhoHasTooManyPendingOrdersIsRefusedAndTheOthersAreOneGroup) {
  OrderGroups careful(db_, {}, {.pending = 1});
  const auto place = [&](int64_t user, const std::string& key = "k") {
    return std::async(std::launch::async, [&careful, this, user, key] {
      const Call call = As(user);
      const v1::CreateOrderRequest request = For("Málaga", key);
      return idempotency::Once(db_, call, request, [&](Attempt& attempt) {
        return careful.Place(attempt, OrderOf(call, request));
      });
    });
  };
  ASSERT_TRUE(place(11).get());
  Run("UPDATE idempotent_requests SET key = 'another'");
  std::vector<Placed> placed;
  postgres::InTransaction(db_, [&](postgres::Tx& tx) {
    tx.Run("LOCK TABLE order_items IN SHARE MODE");
    placed.push_back(place(9, ""));
    ASSERT_TRUE(Eventually([&] { return testing::CountLockWaits(db_) == 1; }));
    for (const int64_t user : {10, 11, 12}) placed.push_back(place(user));
    ASSERT_TRUE(Eventually([&] { return careful.waiting() == 3; }));
  });
  ASSERT_TRUE(placed[0].get());
  const Result<v1::Order> first = placed[1].get(), refused = placed[2].get(),
                          last = placed[3].get();
  ASSERT_TRUE(first && last);
  EXPECT_TRUE(Together(*first, *last));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.refusal().reason, "TOO_MANY_PENDING_ORDERS");
  EXPECT_EQ(OrdersOf(11), 1);
  Run("UPDATE orders SET status = 'PROCESSING'");
  EXPECT_TRUE(place(11).get()) << "its key is free";
}

TEST_F(OrderGroupsTest, OfOneKeyTwiceInAGroupOneIsPlacedAndTheOtherGetsItsAnswer) {
  std::vector<Placed> placed;
  Placed others, reused;
  DuringAGroup(5, [&] {
    for (int i = 0; i < 3; ++i) placed.push_back(Begin(10, "Málaga", "k"));
    others = Begin(11, "Málaga", "k");
    ASSERT_TRUE(Eventually([&] { return groups_.waiting() == 4; }));
    reused = Begin(11, "Cádiz", "k");
  });
  std::set<int64_t> ids;
  for (Placed& one : placed) ids.insert(one.get()->id());
  EXPECT_EQ(ids.size(), 1u);
  EXPECT_EQ(OrdersOf(10), 1);
  EXPECT_EQ(OrdersOf(11), 1);
  const Result<v1::Order> first = others.get(), second = reused.get();
  ASSERT_NE(static_cast<bool>(first), static_cast<bool>(second));
  EXPECT_EQ((first ? second : first).refusal().reason, "IDEMPOTENCY_KEY_REUSED");
}

TEST_F(OrderGroupsTest, AKeyThatHasAnAnswerByNowIsLeftOutOfTheGroup) {
  Placed late, other;
  DuringAGroup(2, [&] {
    late = Begin(10, "Málaga", "k");
    other = Begin(11, "Málaga", "k");
    ASSERT_TRUE(Eventually([&] { return groups_.waiting() == 2; }));  // it has looked the key up
    const Call call = As(10);
    const v1::CreateOrderRequest request = For("Málaga", "k");
    Result<v1::Order> earlier = idempotency::Once(db_, call, request, [&](Attempt& attempt) {
      return attempt.InTransaction([](postgres::Tx&) -> Result<v1::Order> {
        v1::Order order;
        order.set_id(1234);
        return order;
      });
    });
    ASSERT_TRUE(earlier);
  });
  EXPECT_EQ(late.get()->id(), 1234);
  EXPECT_EQ(OrdersOf(10), 0);
  EXPECT_TRUE(other.get());
}

// Who reads the refusal may ask anew under another key.
TEST_F(OrderGroupsTest, NothingIsPlacedAfterARepeatOfItsRequestWasRefused) {
  const Call call = As(10);
  const v1::CreateOrderRequest request = For("Málaga", "k");
  const Result<v1::Order> late = idempotency::Once(db_, call, request, [&](Attempt& attempt) {
    const Result<v1::Order> repeat =
        idempotency::Once(db_, call, request, [](Attempt&) -> Result<v1::Order> {
          return Refusal{Code::kFailedPrecondition, "no"};
        });
    EXPECT_FALSE(repeat);
    return groups_.Place(attempt, OrderOf(call, request));
  });
  ASSERT_FALSE(late);
  EXPECT_EQ(late.refusal().code, Code::kAborted);
  EXPECT_EQ(OrdersOf(10), 0);
  EXPECT_TRUE(Place(As(10), "Málaga", "k")) << "a request that begins later is placed";
}

// A transaction elsewhere, such as another replica's, has the key of one in the group.
TEST_F(OrderGroupsTest, OneThatWaitsForItsKeyHoldsUpNobodyElse) {
  Placed waits, other;
  postgres::InTransaction(db_, [&](postgres::Tx& tx) {
    tx.Run("INSERT INTO idempotent_requests (user_id, key) VALUES (10, 'k')");
    DuringAGroup(2, [&] {
      waits = Begin(10, "Málaga", "k");
      other = Begin(11, "Málaga", "k");
    });
    EXPECT_EQ(other.wait_for(milliseconds(1'500)), std::future_status::ready);
  });
  EXPECT_TRUE(other.get());
  const Result<v1::Order> waited = waits.get();  // two seconds at most
  EXPECT_TRUE(waited || waited.refusal().code == Code::kAborted);
  EXPECT_EQ(OrdersOf(10), waited ? 1 : 0);
}

// The backend dies while a deferred trigger keeps the COMMIT busy.
TEST_F(OrderGroupsTest, ACommitWhoseOutcomeIsUnknownIsThatForTheWholeGroup) {
  Run(R"sql(
    CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS
      'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER dying AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED
      FOR EACH ROW WHEN (NEW.user_id = 11) EXECUTE FUNCTION die())sql");
  std::vector<Placed> placed;
  DuringAGroup(3, [&] {
    for (const int64_t user : {10, 11, 12}) placed.push_back(Begin(user, "Málaga", "k"));
  });
  for (Placed& one : placed) EXPECT_THROW((void)one.get(), postgres::CommitUnknown);
  Run("DROP TRIGGER dying ON orders");
  for (const int64_t user : {10, 11, 12}) {
    EXPECT_TRUE(Place(As(user), "Málaga", "k"));
    EXPECT_EQ(OrdersOf(user), 1) << "who asks again under the key finds out";
  }
}

TEST_F(OrderGroupsTest, OneWhoseDeadlinePassesWhileItWaitsPlacesNothing) {
  Placed late, other;
  DuringAGroup(1, [&] {
    late = std::async(std::launch::async, [this] {
      const DeadlineScope scope(steady_clock::now() + milliseconds(100));
      return Place(As(10));
    });
    EXPECT_THROW((void)late.get(), Unavailable);
    other = Begin(11);
  });
  EXPECT_TRUE(other.get());
  EXPECT_EQ(OrdersOf(10), 0);
}

TEST_F(OrderGroupsTest, WhoIsPlacedByAnotherLinksToTheTraceThatDoesIt) {
  const shop::testing::RecordedSpans recorded;
  const auto traced = [&](int64_t user) {
    return std::async(std::launch::async, [this, user] {
      Call call = As(user);
      Span request(SpanKind::kServer, "request", call.trace);
      const Span::Scope scope(request);
      call.trace = request.ContextOr(call.trace);
      return Place(call);
    });
  };
  Placed one, other;
  DuringAGroup(2, [&] {
    one = traced(10);
    other = traced(11);
  });
  ASSERT_TRUE(one.get() && other.get());
  std::string led, leads;  // trace ids
  for (const SpanRecord& span : recorded.All()) {
    if (span.name == "INSERT outbox") leads = span.context.trace_id;
    if (span.links.empty()) continue;
    EXPECT_EQ(span.name, "place in a group");
    led = span.links.at(0).trace_id;
    EXPECT_NE(led, span.context.trace_id);
  }
  EXPECT_NE(led, "");
  EXPECT_EQ(led, leads);
}

// Customers who repeat what they are not sure of, while connections break.
TEST_F(OrderGroupsTest, EveryOrderThatIsAnsweredIsThereOnceWithItsEvent) {
  constexpr int64_t kCustomers = 12;
  constexpr int kEach = 30;
  std::atomic<int64_t> answered = 0;
  std::atomic<bool> wrong = false;
  std::atomic<int64_t> busy = kCustomers;
  {
    std::vector<std::jthread> customers;
    for (int64_t user = 10; user < 10 + kCustomers; ++user) {
      customers.emplace_back([&, user] {
        for (int i = 0; i < kEach; ++i) {
          const std::string key = "k" + std::to_string(i);
          for (bool done = false; !done;) {
            try {
              const Result<v1::Order> placed = Place(As(user), "Málaga", key);
              if (placed) {
                ++answered;
                wrong = wrong || placed->user_id() != user;
                done = true;
              }
            } catch (const Unavailable&) {
            }
          }
        }
        --busy;
      });
    }
    while (busy > 0) {
      std::this_thread::sleep_for(milliseconds(50));
      postgres::Pool other(Settings());
      postgres::Read(other, [](postgres::Tx& tx) {
        return tx.Run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = "
            "current_database() AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1");
      });
    }
  }
  EXPECT_FALSE(wrong);
  EXPECT_EQ(answered, kCustomers * kEach);
  EXPECT_EQ(Number("SELECT count(*) FROM orders"), kCustomers * kEach);
  EXPECT_EQ(Number("SELECT count(DISTINCT key) FROM outbox WHERE type = 'ORDER_CREATED' AND key IN "
                   "(SELECT id::text FROM orders)"),
            kCustomers * kEach);
  EXPECT_EQ(Number("SELECT count(*) FROM outbox"), kCustomers * kEach);
  EXPECT_EQ(Number("SELECT count(*) FROM order_timeline"), kCustomers * kEach);
  EXPECT_EQ(
      Number("SELECT count(*) FROM orders WHERE total_price <> (SELECT sum(quantity * unit_price) "
             "FROM order_items WHERE order_id = orders.id)"),
      0);
}

}  // namespace
}  // namespace shop::orders
