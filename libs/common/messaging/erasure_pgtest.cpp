// What is left of a deleted user in the events of a service, and when it is looked for.
#include "common/messaging/erasure.h"

#include <gmock/gmock.h>

#include "common/messaging/event.h"
#include "common/messaging/outbox.h"
#include "common/messaging/republish.h"
#include "common/testing/database.h"
#include "common/testing/deliver.h"
#include "common/testing/published_events.h"
#include "messaging_migrations.h"
#include "shop/events/v1/orders.pb.h"
#include "shop/events/v1/users.pb.h"

namespace shop::messaging {
namespace {

using events::v1::OrderCancelled;
using events::v1::OrderCreated;
using events::v1::UserDeleted;
using postgres::Tx;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr int64_t kUser = 7;

OrderCreated Order(int64_t user = kUser) {
  OrderCreated order;
  order.set_order_id(41);
  order.set_order_uuid("6d4dbc0c-52a1-4a0a-8d3e-6d7c34f6a001");
  order.set_user_id(user);
  order.set_total_price(1990);
  order.set_currency("USD");
  order.set_payment_token(R"(tok "\ canary)");
  order.mutable_shipping_address()->set_street(R"(Canary {"Street"} \ 1)");
  order.mutable_shipping_address()->set_country("DE");
  order.set_seq(1);
  return order;
}

class ErasureTest : public ::testing::Test {
 protected:
  ErasureTest() { postgres::Migrate(db_, {kMessagingMigrations}); }

  void Publish(const google::protobuf::Message& event, bool published = true) {
    postgres::InTransaction(db_, [&](Tx& tx) {
      messaging::Publish(tx, event, {.source = "orders", .trace = {}});
      if (published) tx.Run("UPDATE outbox SET published_at = now() WHERE published_at IS NULL");
    });
  }
  Left Erase(int64_t user = kUser) {
    return postgres::InTransaction(db_, [&](Tx& tx) { return EraseEvents(tx, user); });
  }
  std::vector<std::string> Values() {
    std::vector<std::string> values;
    for (const Envelope& event : testing::PublishedEvents(db_)) values.push_back(event.value);
    return values;
  }
  void Delete(int64_t user) {
    UserDeleted deleted;
    deleted.set_user_id(user);
    ASSERT_TRUE(testing::Deliver(db_, WithErasure(Handlers()), "orders",
                                 MakeEvent(deleted, {.source = "users", .trace = {}})));
  }
  // Answers how many were looked at, by an EraseUser that answers `left_`.
  int Look(std::chrono::milliseconds longest_pause = std::chrono::hours(1)) {
    return EraseDue(
        db_,
        [this](Tx&, int64_t user) {
          erased_.push_back(user);
          if (user == broken_) throw std::runtime_error("this one is broken");
          return left_;
        },
        {.longest_pause = longest_pause}, 10);
  }
  void Run(const std::string& sql) {
    postgres::InTransaction(db_, [&](Tx& tx) { tx.Run(sql); });
  }
  std::string Value(const std::string& sql) {
    return postgres::Read(db_, [&](Tx& tx) { return tx.Run(sql)[0][0].as<std::string>("-"); });
  }

  testing::TestDatabase database_;
  postgres::Pool db_{database_.settings()};
  std::vector<int64_t> erased_;
  Left left_ = Left::kNothing;
  int64_t broken_ = 0;
};

TEST_F(ErasureTest, WhatWasPublishedKeepsAllButWhatIsPersonal) {
  Publish(Order());
  OrderCancelled cancelled;
  cancelled.set_order_id(41);
  cancelled.set_user_id(kUser);
  cancelled.set_reason("Canary moved away");
  Publish(cancelled);
  EXPECT_EQ(Erase(), Left::kNothing);
  EXPECT_THAT(testing::PublishedTypes(db_), ElementsAre("ORDER_CREATED", "ORDER_CANCELLED"));
  for (const std::string& value : Values()) {
    EXPECT_THAT(value, AllOf(Not(HasSubstr("anary")), Not(HasSubstr("shippingAddress"))));
  }
  OrderCreated read;
  ASSERT_TRUE(ReadValue(Values()[0], &read));
  OrderCreated expected = Order();
  expected.clear_shipping_address();
  expected.set_payment_token("erased");
  EXPECT_EQ(read.SerializeAsString(), expected.SerializeAsString());
  EXPECT_THAT(Values()[0], HasSubstr("19.90")) << "an amount keeps its digits";
}

// It says that the default one is meant.
TEST_F(ErasureTest, AnEmptyTokenStaysEmpty) {
  Envelope event = MakeEvent(Order(), {.source = "orders", .trace = {}});
  event.value = R"({"orderId":41,"userId":7,"paymentToken":""})";
  postgres::InTransaction(db_, [&](Tx& tx) {
    messaging::Publish(tx, event);
    ForgetTokens(tx, "ORDER_CREATED", {{41, kUser}});
  });
  EXPECT_EQ(Erase(), Left::kNothing);
  EXPECT_THAT(Values(), ElementsAre(event.value));
}

TEST_F(ErasureTest, OthersKeepTheirs) {
  Publish(Order(70));
  Publish(Order(1));
  const std::vector<std::string> before = Values();
  EXPECT_EQ(Erase(), Left::kNothing);
  EXPECT_EQ(Values(), before);
}

TEST_F(ErasureTest, WhatIsNotPublishedYetIsPublishedAsItWas) {
  Publish(Order(), false);
  EXPECT_EQ(Erase(), Left::kSomething);
  EXPECT_THAT(Values(), ElementsAre(HasSubstr("Canary")));
  Run("UPDATE outbox SET published_at = now()");
  EXPECT_EQ(Erase(), Left::kNothing);
  EXPECT_THAT(Values(), ElementsAre(Not(HasSubstr("anary"))));
}

TEST_F(ErasureTest, WhatIsPublishedAgainDoesNotBringItBack) {
  Publish(Order());
  Erase();
  EXPECT_EQ(Republish(db_, "orders", std::nullopt).events, 1);
  EXPECT_THAT(Values(), ElementsAre(AllOf(Not(HasSubstr("anary")), HasSubstr("\"orderId\": 41"))));
}

TEST_F(ErasureTest, DeadLettersAndWhatIsTriedAgainAreErasedToo) {
  Record record{.event = MakeEvent(Order(), {.source = "orders", .trace = {}})};
  testing::TestGroup group(
      db_, "shipping", Handlers().On<OrderCreated>([](Tx&, const OrderCreated&, const Envelope&) {
        return Result<void>(Refusal{Code::kInternal, "not now"});
      }),
      {.attempts = 1});
  ASSERT_FALSE(group.inbox.Take({&record}));
  group.inbox.Enqueue(record, "INTERNAL: not now");
  Run("UPDATE outbox SET published_at = now()");
  EXPECT_EQ(Erase(), Left::kNothing);
  EXPECT_THAT(Value("SELECT value FROM retry_queue"),
              AllOf(Not(HasSubstr("anary")), HasSubstr("\"orderId\": 41")));
  EXPECT_THAT(Values(), ElementsAre(Not(HasSubstr("anary"))));
}

// While it is tried its row is locked, and the sweep must not wait for that.
TEST_F(ErasureTest, WhatIsBeingTriedIsLeftForTheNextTime) {
  Publish(Order());
  postgres::InTransaction(db_, [&](Tx& tx) {
    tx.Run("SELECT FROM outbox FOR UPDATE");
    EXPECT_EQ(Erase(), Left::kSomething);
  });
  EXPECT_EQ(Erase(), Left::kNothing);
}

TEST_F(ErasureTest, AnEventThatNobodyCanReadHasNothingLeft) {
  for (const char* value :
       {R"({"userId":7,"shippingAddress":{"street":"Canary)", R"([{"userId":7,"reason":"Canary"}])",
        R"({"userId":7,"in":{"reason":"Canary"}})"}) {
    Envelope event = MakeEvent(Order(), {.source = "orders", .trace = {}});
    event.value = value;
    postgres::InTransaction(db_, [&](Tx& tx) { messaging::Publish(tx, event); });
  }
  Run("UPDATE outbox SET published_at = now()");
  EXPECT_EQ(Erase(), Left::kNothing);
  EXPECT_THAT(Values(), ElementsAre("{}", "{}", "{}"));
}

// The index of the outbox is asked about every event, whatever its user is.
TEST_F(ErasureTest, AnyValueCanBePublished) {
  for (const std::string& user : {std::string(5000, '9'), std::string("-1"), std::string("\"\"")}) {
    Envelope event = MakeEvent(Order(), {.source = "orders", .trace = {}});
    event.value = R"({"reason":"x","userId":)" + user + "}";
    postgres::InTransaction(db_, [&](Tx& tx) { messaging::Publish(tx, event); });
  }
  EXPECT_EQ(Erase(), Left::kNothing);
}

TEST_F(ErasureTest, ADeletedUserIsErasedOnceHoweverOftenTheEventComes) {
  Delete(kUser);
  EXPECT_EQ(Look(), 1);
  Delete(kUser);
  EXPECT_EQ(Look(), 0);
  EXPECT_THAT(erased_, ElementsAre(kUser));
  EXPECT_NE(Value("SELECT erased_at::text FROM deleted_users"), "-");
}

TEST_F(ErasureTest, IsLookedAtAgainForWhatComesLateEverMoreSeldom) {
  const auto pause = [this] {
    Run("UPDATE deleted_users SET look_at = now()");
    Look();
    return Value(
        "SELECT round(extract(epoch FROM look_at - now())::numeric, -1)::text FROM deleted_users");
  };
  Delete(kUser);
  Run("UPDATE deleted_users SET deleted_at = now() - interval '10 minutes'");
  EXPECT_EQ(pause(), "600");
  Run("UPDATE deleted_users SET deleted_at = now() - interval '29 days'");
  EXPECT_EQ(pause(), "3600");
  // No event of before can come any more.
  Run("UPDATE deleted_users SET deleted_at = now() - interval '31 days'");
  EXPECT_EQ(pause(), "-");
  left_ = Left::kSomething;
  EXPECT_EQ(pause(), "3600");
  EXPECT_EQ(Value("SELECT erased_at::text FROM deleted_users"), "-");
}

TEST_F(ErasureTest, OneWhoCannotBeErasedStandsInNobodysWay) {
  Delete(3);
  Delete(4);
  broken_ = 3;
  EXPECT_EQ(Look(), 2);
  EXPECT_THAT(erased_, ElementsAre(3, 4));
  EXPECT_EQ(Look(), 0);
  broken_ = 0;
  Run("UPDATE deleted_users SET look_at = now() WHERE user_id = 3");
  EXPECT_EQ(Look(), 1);
}

TEST_F(ErasureTest, TheSweeperIsWokenByTheDeletion) {
  std::mutex mutex;
  std::condition_variable told;
  bool erased = false;
  const ErasureSweeper sweeper(db_,
                               [&](Tx&, int64_t) {
                                 const std::lock_guard lock(mutex);
                                 erased = true;
                                 told.notify_all();
                                 return Left::kNothing;
                               },
                               {});
  Delete(kUser);
  std::unique_lock lock(mutex);
  EXPECT_TRUE(told.wait_for(lock, std::chrono::seconds(20), [&] { return erased; }));
}

}  // namespace
}  // namespace shop::messaging
