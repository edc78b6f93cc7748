#include "common/idempotency/idempotency.h"

#include <gmock/gmock.h>

#include <atomic>
#include <barrier>
#include <optional>
#include <thread>
#include <vector>

#include "common/idempotency/sweeper.h"
#include "common/testing/database.h"
#include "common/testing/servers.h"
#include "idempotency_migrations.h"
#include "shop/orders/v1/orders.pb.h"
#include "shop/products/v1/products.pb.h"

namespace shop::idempotency {
namespace {

using orders::v1::CreateOrderRequest;
using orders::v1::Order;
using products::v1::AdjustStockRequest;
using testing::Eventually;

constexpr postgres::Statement kInsert{"INSERT INTO effects (city) VALUES ($1) RETURNING id"};
constexpr postgres::Statement kCount{"SELECT count(*) FROM effects"};

class IdempotencyTest : public ::testing::Test {
 protected:
  IdempotencyTest() {
    postgres::Migrate(db_, {kIdempotencyMigrations});
    Run("CREATE TABLE effects (id bigserial PRIMARY KEY, city text)");
  }

  static Call As(int64_t user) {
    Call call;
    call.caller.user_id = user;
    return call;
  }

  static CreateOrderRequest For(const std::string& city, const std::string& key) {
    CreateOrderRequest request;
    request.mutable_shipping_address()->set_city(city);
    request.set_idempotency_key(key);
    return request;
  }

  // The effect of the tests: a row, whose id is the answer.
  static Result<Order> Insert(postgres::Tx& tx, const std::string& city) {
    Order order;
    order.set_id(tx.Exec(kInsert, city)[0][0].as<int64_t>());
    return order;
  }

  Result<Order> Place(const Call& call, const CreateOrderRequest& request) {
    return Once(db_, call, request, [&](Attempt& attempt) {
      return attempt.InTransaction(
          [&](postgres::Tx& tx) { return Insert(tx, request.shipping_address().city()); });
    });
  }
  Result<Order> Place(const CreateOrderRequest& request) { return Place(As(7), request); }

  static Result<Order> No(Code code = Code::kFailedPrecondition) {
    return Refusal{.code = code, .message = "no", .reason = "NO"};
  }

  void Run(const std::string& sql) {
    postgres::InTransaction(db_, [&](postgres::Tx& tx) { tx.Run(sql); });
  }
  int64_t Effects() {
    return postgres::Read(db_, [](postgres::Tx& tx) { return tx.Exec(kCount); })[0][0]
        .as<int64_t>();
  }

  testing::TestDatabase database_;
  postgres::Pool db_{database_.settings()};
};

TEST_F(IdempotencyTest, ARepeatGetsTheFirstAnswerAndTakesNoEffect) {
  const Call first = As(7);
  const Result<Order> placed = Place(first, For("Málaga", "k"));
  ASSERT_TRUE(placed);
  EXPECT_FALSE(first.replayed);
  Run("UPDATE effects SET id = id + 100");
  const Call repeat = As(7);
  const Result<Order> again = Place(repeat, For("Málaga", "k"));
  ASSERT_TRUE(again);
  EXPECT_TRUE(repeat.replayed);
  EXPECT_EQ(again->SerializeAsString(), placed->SerializeAsString());
  EXPECT_EQ(Effects(), 1);
}

TEST_F(IdempotencyTest, AnAnswerWithNulBytesAndWithNoneIsKept) {
  const auto answer = [&](const std::string& number, const char* key) {
    return Once(db_, As(7), For("", key), [&](Attempt& attempt) {
      return attempt.InTransaction([&](postgres::Tx&) -> Result<Order> {
        Order order;
        order.set_number(number);
        return order;
      });
    });
  };
  const std::string bytes("a\0\\'\x01", 5);
  ASSERT_TRUE(answer(bytes, "k1"));
  EXPECT_EQ(answer("", "k1")->number(), bytes);
  ASSERT_TRUE(answer("", "k2"));
  EXPECT_EQ(answer("other", "k2")->number(), "");
}

TEST_F(IdempotencyTest, WithoutAKeyEveryRequestTakesEffect) {
  ASSERT_TRUE(Place(For("Málaga", "")));
  ASSERT_TRUE(Place(For("Málaga", "")));
  EXPECT_EQ(Effects(), 2);
}

TEST_F(IdempotencyTest, AnotherRequestWithTheKeyIsRefused) {
  ASSERT_TRUE(Place(For("Málaga", "k")));
  const Result<Order> other = Place(For("Cádiz", "k"));
  ASSERT_FALSE(other);
  EXPECT_EQ(other.refusal().code, Code::kInvalidArgument);
  EXPECT_EQ(other.refusal().reason, "IDEMPOTENCY_KEY_REUSED");
  EXPECT_EQ(Effects(), 1);
}

// Two empty messages have equal bytes whatever their types.
TEST_F(IdempotencyTest, TheKeyOfAnotherMethodIsRefused) {
  const auto create = [&](Attempt& attempt) {
    return attempt.InTransaction([&](postgres::Tx& tx) { return Insert(tx, ""); });
  };
  CreateOrderRequest order;
  order.set_idempotency_key("k");
  AdjustStockRequest adjustment;
  adjustment.set_idempotency_key("k");
  ASSERT_TRUE(Once(db_, As(7), order, create));
  const Result<Order> other = Once(db_, As(7), adjustment, create);
  ASSERT_FALSE(other);
  EXPECT_EQ(other.refusal().reason, "IDEMPOTENCY_KEY_REUSED");
  EXPECT_EQ(Effects(), 1);
}

TEST_F(IdempotencyTest, AKeyIsItsUsersOwn) {
  const Result<Order> mine = Place(As(7), For("Málaga", "k"));
  const Result<Order> theirs = Place(As(8), For("Málaga", "k"));
  ASSERT_TRUE(mine && theirs);
  EXPECT_NE(mine->id(), theirs->id());
}

TEST_F(IdempotencyTest, ARefusalRollsBackAndLeavesTheKeyFreeForAnyRequest) {
  const Result<Order> refused = Once(db_, As(7), For("Málaga", "k"), [&](Attempt& attempt) {
    return attempt.InTransaction([&](postgres::Tx& tx) {
      EXPECT_TRUE(Insert(tx, "Málaga"));
      return No();
    });
  });
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.refusal().reason, "NO");
  EXPECT_EQ(Effects(), 0);
  ASSERT_TRUE(Place(For("Cádiz", "k")));
  EXPECT_FALSE(Place(For("Málaga", "k")));
  EXPECT_EQ(Effects(), 1);
}

TEST_F(IdempotencyTest, AnErrorKeepsNothing) {
  EXPECT_THROW((void)Once(db_, As(7), For("Málaga", "k"),
                          [&](Attempt& attempt) {
                            return attempt.InTransaction([&](postgres::Tx& tx) -> Result<Order> {
                              EXPECT_TRUE(Insert(tx, "Málaga"));
                              throw Unavailable("gone");
                            });
                          }),
               Unavailable);
  EXPECT_EQ(Effects(), 0);
  EXPECT_TRUE(Place(For("Málaga", "k")));
}

// The first request holds the key in its transaction.
TEST_F(IdempotencyTest, ARepeatWaitsForTheFirstRequestAndGetsItsAnswer) {
  std::optional<Result<Order>> repeat;
  const Call repeating = As(7);
  std::thread client;
  const Result<Order> first = Once(db_, As(7), For("Málaga", "k"), [&](Attempt& attempt) {
    return attempt.InTransaction([&](postgres::Tx& tx) {
      client = std::thread([&] { repeat = Place(repeating, For("Málaga", "k")); });
      EXPECT_TRUE(Eventually([&] { return testing::CountLockWaits(db_) > 0; }));
      return Insert(tx, "Málaga");
    });
  });
  client.join();
  ASSERT_TRUE(first);
  ASSERT_TRUE(*repeat) << repeat->refusal().message;
  EXPECT_TRUE(repeating.replayed);
  EXPECT_EQ((*repeat)->id(), first->id());
  EXPECT_EQ(Effects(), 1);
}

TEST_F(IdempotencyTest, ARepeatIsToldToTryAgainWhenTheFirstRequestTakesLong) {
  const Result<Order> first = Once(db_, As(7), For("Málaga", "k"), [&](Attempt& attempt) {
    return attempt.InTransaction([&](postgres::Tx& tx) {
      const Result<Order> repeat = Place(For("Málaga", "k"));
      EXPECT_TRUE(!repeat && repeat.refusal().code == Code::kAborted);
      return Insert(tx, "Málaga");
    });
  });
  EXPECT_TRUE(first) << first.refusal().message;
  EXPECT_EQ(Effects(), 1);
}

// The two seconds are for the key alone.
TEST_F(IdempotencyTest, NoLockTimeoutAppliesToTheEffectItself) {
  const Result<Order> placed = Once(db_, As(7), For("Málaga", "k"), [&](Attempt& attempt) {
    return attempt.InTransaction([&](postgres::Tx& tx) {
      EXPECT_EQ(tx.Run("SHOW lock_timeout")[0][0].as<std::string>(), "0");
      return Insert(tx, "Málaga");
    });
  });
  EXPECT_TRUE(placed);
}

TEST_F(IdempotencyTest, ManyAtOnceTakeEffectOnce) {
  std::atomic<int> answered = 0;
  std::barrier all_have_looked_up(8);
  std::vector<std::thread> clients;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&] {
      const Result<Order> order = Once(db_, As(7), For("Málaga", "k"), [&](Attempt& attempt) {
        all_have_looked_up.arrive_and_wait();
        return attempt.InTransaction([&](postgres::Tx& tx) { return Insert(tx, "Málaga"); });
      });
      if (order) ++answered;
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(answered, 8);
  EXPECT_EQ(Effects(), 1);
}

// The refusal is that of a repeat, and may follow from the very effect that it did not see.
TEST_F(IdempotencyTest, ARefusalGivesWayToTheAnswerOfTheRequestThatTookEffectMeanwhile) {
  const Call repeating = As(7);
  std::optional<Result<Order>> first;
  const Result<Order> repeat = Once(db_, repeating, For("Málaga", "k"), [&](Attempt&) {
    first = Place(For("Málaga", "k"));
    return No();
  });
  ASSERT_TRUE(*first);
  ASSERT_TRUE(repeat) << repeat.refusal().message;
  EXPECT_EQ(repeat->id(), (*first)->id());
  EXPECT_TRUE(repeating.replayed);
}

// Who reads the repeat's refusal may ask anew under another key: then the first request, which the
// client has given up, must not take effect as well.
TEST_F(IdempotencyTest, AfterARefusalNoEarlierRequestTakesEffect) {
  const auto refuse_a_repeat = [&] {
    const Result<Order> repeat =
        Once(db_, As(7), For("Málaga", "k"), [](Attempt&) { return No(); });
    ASSERT_FALSE(repeat);
    EXPECT_EQ(repeat.refusal().reason, "NO");
  };
  for (int round = 0; round < 2; ++round) {  // on a new key and on one that was refused before
    const Result<Order> first = Once(db_, As(7), For("Málaga", "k"), [&](Attempt& attempt) {
      refuse_a_repeat();
      return attempt.InTransaction([&](postgres::Tx& tx) { return Insert(tx, "Málaga"); });
    });
    ASSERT_FALSE(first);
    EXPECT_EQ(first.refusal().code, Code::kAborted);
    EXPECT_EQ(Effects(), 0);
  }
  EXPECT_TRUE(Place(For("Málaga", "k")));  // a request that begins later does
}

TEST_F(IdempotencyTest, AHandlerThatRefusesAfterItsEffectGivesTheAnswerOfTheEffect) {
  const Result<Order> answer = Once(db_, As(7), For("Málaga", "k"), [&](Attempt& attempt) {
    EXPECT_TRUE(attempt.InTransaction([&](postgres::Tx& tx) { return Insert(tx, "Málaga"); }));
    return No();
  });
  EXPECT_TRUE(answer);
}

TEST_F(IdempotencyTest, AnAnswerThatWasNotKeptIsAnError) {
  EXPECT_THROW(
      (void)Once(db_, As(7), For("Málaga", "k"), [](Attempt&) -> Result<Order> { return Order(); }),
      std::logic_error);
}

TEST_F(IdempotencyTest, KeysAreForgottenAfterADayInBatches) {
  for (const char* key : {"old1", "old2", "old3", "young"}) ASSERT_TRUE(Place(For("Málaga", key)));
  Run("UPDATE idempotent_requests SET created_at = now() - interval '25 hours' "
      "WHERE key LIKE 'old%'");
  Run("UPDATE idempotent_requests SET created_at = now() - interval '23 hours' "
      "WHERE key = 'young'");
  EXPECT_EQ(ForgetOldKeys(db_, 2), 2);
  EXPECT_EQ(ForgetOldKeys(db_, 2), 1);
  EXPECT_EQ(ForgetOldKeys(db_, 2), 0);
  const Call young = As(7);
  ASSERT_TRUE(Place(young, For("Málaga", "young")));
  EXPECT_TRUE(young.replayed);
  const Call old = As(7);
  ASSERT_TRUE(Place(old, For("Cádiz", "old1")));
  EXPECT_FALSE(old.replayed);
}

TEST_F(IdempotencyTest, TheSweeperForgetsByItself) {
  ASSERT_TRUE(Place(For("Málaga", "old")));
  Run("UPDATE idempotent_requests SET created_at = now() - interval '25 hours'");
  const Sweeper sweeper(db_);
  EXPECT_TRUE(Eventually([&] {
    return postgres::Read(
        db_, [](postgres::Tx& tx) { return tx.Run("SELECT FROM idempotent_requests").empty(); });
  }));
}

}  // namespace
}  // namespace shop::idempotency
