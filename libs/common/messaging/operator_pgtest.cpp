// What an operator sees and does, on a database as a consumer leaves it.
#include "common/messaging/operator.h"

#include <gmock/gmock.h>

#include <sstream>

#include "common/messaging/event.h"
#include "common/messaging/handlers.h"
#include "common/messaging/outbox.h"
#include "common/messaging/positions.h"
#include "common/messaging/refused.h"
#include "common/messaging/retention.h"
#include "common/messaging/retry_queue.h"
#include "common/testing/database.h"
#include "common/testing/deliver.h"
#include "messaging_migrations.h"
#include "shop/events/v1/orders.pb.h"

namespace shop::messaging {
namespace {

using events::v1::OrderCancelled;
using postgres::Tx;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

class OperatorTest : public ::testing::Test {
 protected:
  OperatorTest() { postgres::Migrate(db_, {kMessagingMigrations}); }

  // One record of the topic `orders` for a group whose handler refuses until it is mended.
  void Take(const std::string& group, int64_t key, const std::string& id) {
    OrderCancelled message;
    message.set_order_id(key);
    Record record{.event = MakeEvent(message, {.source = "orders", .trace = {}})};
    record.event.id = id;
    record.position = ++position_;
    testing::TestGroup consumer = Group(group);
    if (!consumer.inbox.Take({&record})) consumer.inbox.Enqueue(record, "INTERNAL: not now");
  }
  testing::TestGroup Group(const std::string& group) {
    return testing::TestGroup(
        db_, group,
        Handlers().On<OrderCancelled>(
            [this](Tx&, const OrderCancelled&, const Envelope& event) -> Result<void> {
              if (!mended_) return Refusal{Code::kInternal, "not now"};
              handled_.push_back(event.id);
              return kDone;
            }),
        {.attempts = 1});
  }
  int Run(const std::vector<std::string>& words) {
    std::ostringstream out;
    const int code = RunOperatorCommand(db_, "orders", words, out);
    told_ = out.str();
    return code;
  }
  std::string IdOf(size_t place) {
    return "orders-" + std::to_string(ListRetryQueue(db_)[place].id);
  }

  testing::TestDatabase database_;
  postgres::Pool db_{database_.settings()};
  bool mended_ = false;
  int64_t position_ = 0;
  std::vector<std::string> handled_;
  std::string told_;
};

TEST_F(OperatorTest, WhatKafkaRefusesIsListedAndDiscarded) {
  postgres::InTransaction(db_, [](Tx& tx) {
    for (const int64_t key : {1, 2}) {
      OrderCancelled message;
      message.set_order_id(key);
      Publish(tx, message, {.source = "orders", .trace = {}});
    }
    tx.Run("UPDATE outbox SET refusal = 'Broker: Message size too large' WHERE key = '1'");
  });
  EXPECT_EQ(Run({"dead"}), 0);
  EXPECT_THAT(told_, HasSubstr("orders-outbox-1  refused by Kafka  ORDER_CANCELLED  orders key 1"));
  EXPECT_THAT(told_, AllOf(HasSubstr("too large"), Not(HasSubstr("orders-outbox-2"))));
  EXPECT_EQ(Run({"discard", "orders-outbox-1"}), 0);
  EXPECT_THAT(ListRefused(db_), SizeIs(1)) << "told what it would do, and did it";
  EXPECT_EQ(Run({"discard", "orders-outbox-1", "--apply"}), 0);
  EXPECT_THAT(ListRefused(db_), IsEmpty());
  EXPECT_EQ(Run({"discard", "orders-outbox-2", "--apply"}), 1) << "it waits to be published";
}

TEST_F(OperatorTest, DeadListsDeadLettersAndWhatWaitsBehindThem) {
  Take("orders", 1, "e1");
  Take("orders", 1, "e2");
  Take("cart", 1, "e1");
  EXPECT_EQ(Run({"dead"}), 0);
  EXPECT_THAT(told_, HasSubstr(IdOf(0) + "  dead  orders  ORDER_CANCELLED  orders key 1"));
  EXPECT_THAT(told_, HasSubstr("INTERNAL: not now"));
  EXPECT_THAT(told_, HasSubstr("later ones of its key: 1"));
  EXPECT_THAT(told_, HasSubstr(IdOf(1) + "  waiting  orders"));
  EXPECT_THAT(told_, HasSubstr(IdOf(2) + "  dead  cart"));
  EXPECT_EQ(Run({"dead", "cart"}), 0);
  EXPECT_THAT(told_, AllOf(HasSubstr(IdOf(2)), Not(HasSubstr(IdOf(0)))));
}

TEST_F(OperatorTest, WithoutApplyNothingIsChanged) {
  Take("orders", 1, "e1");
  for (const char* command : {"redrive", "discard"}) {
    EXPECT_EQ(Run({command, IdOf(0)}), 0);
    EXPECT_THAT(told_, HasSubstr("Nothing was changed"));
    ASSERT_THAT(ListRetryQueue(db_), SizeIs(1));
    EXPECT_TRUE(ListRetryQueue(db_)[0].dead);
  }
}

TEST_F(OperatorTest, ARedrivenEventKeepsItsIdAndItsPlaceInItsKey) {
  Take("orders", 1, "e1");
  Take("orders", 1, "e2");
  mended_ = true;
  EXPECT_EQ(Run({"redrive", IdOf(0), "--apply"}), 0) << told_;
  testing::TestGroup group = Group("orders");
  while (group.retrier.RetryDue()) {
  }
  EXPECT_THAT(handled_, ElementsAre("e1", "e2"));
  EXPECT_THAT(ListRetryQueue(db_), IsEmpty());
}

TEST_F(OperatorTest, ADiscardedEventIsNeverHandledAndThoseBehindItAre) {
  Take("orders", 1, "e1");
  Take("orders", 1, "e2");
  mended_ = true;
  EXPECT_EQ(Run({"discard", IdOf(0), "--apply"}), 0) << told_;
  Take("orders", 1, "e1");  // delivered once more
  testing::TestGroup group = Group("orders");
  while (group.retrier.RetryDue()) {
  }
  EXPECT_THAT(handled_, ElementsAre("e2"));
}

TEST_F(OperatorTest, WhatIsNoDeadLetterIsNotRedriven) {
  Take("orders", 1, "e1");
  Take("orders", 1, "e2");
  EXPECT_EQ(Run({"redrive", IdOf(1), "--apply"}), 1);
  EXPECT_THAT(told_, HasSubstr("is not dead"));
}

TEST_F(OperatorTest, AnIdThatIsNoneIsSaidToBe) {
  Take("orders", 1, "e1");
  for (const char* id : {"stock-1", "orders-", "orders-1x", "1", "orders--1"}) {
    EXPECT_EQ(Run({"discard", id, "--apply"}), 1) << id;
  }
  EXPECT_EQ(Run({"discard", "orders-999", "--apply"}), 1);
  EXPECT_THAT(told_, HasSubstr("orders-999 is not among"));
  EXPECT_THAT(ListRetryQueue(db_), SizeIs(1));
}

TEST_F(OperatorTest, WordsThatAreNoCommandAreExplained) {
  for (const std::vector<std::string>& words : {std::vector<std::string>{},
                                                {"redrive"},
                                                {"dead", "a", "b"},
                                                {"republish"},
                                                {"resume", "a"},
                                                {"discard", "orders-1", "--force"}}) {
    EXPECT_EQ(Run(words), 2);
    EXPECT_THAT(told_, HasSubstr("usage:"));
  }
}

TEST_F(OperatorTest, GapsAreListedAndLeftBehindByAWord) {
  NoteGap(
      db_,
      {.group = "orders", .topic = "stock", .partition = 3, .next = 7, .first = 9, .until = 12});
  EXPECT_EQ(Run({"gaps"}), 0);
  EXPECT_THAT(told_, HasSubstr("orders  stock/3"));
  EXPECT_THAT(told_, HasSubstr("next is 7, the topic has 9 up to 11: at least 2 events are gone"));
  EXPECT_EQ(Run({"resume", "orders", "stock"}), 0);
  EXPECT_THAT(told_, HasSubstr("Nothing was changed"));
  EXPECT_FALSE(ListGaps(db_)[0].resume);
  EXPECT_EQ(Run({"resume", "orders", "stock", "--from", "soon", "--apply"}), 2);
  EXPECT_FALSE(ListGaps(db_)[0].resume);
  EXPECT_EQ(Run({"resume", "orders", "stock", "--from", "2026-11-20 12:00", "--apply"}), 0);
  EXPECT_TRUE(ListGaps(db_)[0].resume);
  EXPECT_EQ(Run({"resume", "cart", "stock", "--apply"}), 1);
}

TEST_F(OperatorTest, RepublishingSaysHowManyAndWhatFollows) {
  InTransaction(db_, [](Tx& tx) {
    OrderCancelled message;
    for (int id = 1; id <= 3; ++id) {
      message.set_order_id(id);
      Publish(tx, message, {.source = "orders", .trace = {}});
    }
    tx.Run("UPDATE outbox SET published_at = now() WHERE key <> '3'");
  });
  const auto waiting = [&] {
    return Read(db_, [](Tx& tx) {
      return tx.Run("SELECT count(*) FROM outbox WHERE published_at IS NULL")[0][0].as<int>();
    });
  };
  EXPECT_EQ(Run({"republish", "orders"}), 0);
  EXPECT_THAT(told_, HasSubstr("2 events of orders"));
  EXPECT_EQ(waiting(), 1);
  EXPECT_EQ(Run({"republish", "orders", "--since", "2999-01-01", "--apply"}), 0);
  EXPECT_THAT(told_, HasSubstr("0 events"));
  EXPECT_EQ(waiting(), 1);
  EXPECT_EQ(Run({"republish", "stock", "--apply"}), 0);
  EXPECT_EQ(waiting(), 1);
  EXPECT_EQ(Run({"republish", "orders", "--since", "yesterday", "--apply"}), 0);
  EXPECT_EQ(waiting(), 3);
  EXPECT_THAT(told_, HasSubstr("make resume GROUP=... TOPIC=orders FROM='"));
  EXPECT_EQ(Run({"republish", "orders", "--since", "when it was broken"}), 2);
}

// Each time makes an outbox keep it longer, and no inbox.
TEST_F(OperatorTest, AnEventIsNotRepublishedForLongerThanItsIdIsKnown) {
  constexpr postgres::Statement kRepublished{
      "INSERT INTO outbox (topic, key, event_id, type, source, time, traceparent, value, "
      "created_at,"
      " published_at) VALUES ('orders', '1', $1, '', '', '', '', '',"
      " now() - $2 * interval '1 hour', now())"};
  InTransaction(db_, [&](Tx& tx) {
    tx.Exec(kRepublished, "young", kOutboxRetention.count() - 1);
    tx.Exec(kRepublished, "old", kOutboxRetention.count() + 1);
  });
  EXPECT_EQ(Run({"republish", "orders"}), 0);
  EXPECT_THAT(told_, HasSubstr("1 event of orders"));
  EXPECT_EQ(Run({"republish", "orders", "--apply"}), 0);
  EXPECT_THAT(told_, HasSubstr("1 event of orders"));
  EXPECT_EQ(Read(db_,
                 [](Tx& tx) {
                   return tx.Run("SELECT event_id FROM outbox WHERE published_at IS NULL")[0][0]
                       .as<std::string>();
                 }),
            "young");
}

// What may be published again is known as consumed for longer than an outbox can have it.
TEST_F(OperatorTest, AnIdIsKnownForAsLongAsItsEventCanBeRepublished) {
  constexpr postgres::Statement kConsumed{
      "INSERT INTO inbox (consumer, event_id, seen_at)"
      " VALUES ('orders', $1, now() - $2 * interval '1 hour')"};
  InTransaction(db_, [&](Tx& tx) {
    tx.Exec(kConsumed, "republished", (kOutboxRetention + kTopicRetention).count() + 1);
    tx.Exec(kConsumed, "old", kInboxRetention.count() + 1);
    for (int i = 0; i < 2'500; ++i) {
      tx.Exec(kConsumed, "old" + std::to_string(i), kInboxRetention.count() + 1);
    }
  });
  Group("orders").inbox.ForgetOld();
  EXPECT_EQ(
      Read(db_,
           [](Tx& tx) {
             return tx.Run("SELECT string_agg(event_id, ' ') FROM inbox")[0][0].as<std::string>();
           }),
      "republished");
}

}  // namespace
}  // namespace shop::messaging
