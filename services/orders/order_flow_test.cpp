// The whole flow of an order, without a database or a broker: facts in, events out.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "common/messaging/event.h"
#include "orders/order.h"
#include "orders/order_events.h"
#include "shop/events/v1/orders.pb.h"

namespace shop::orders {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;

const std::map<std::string, Fact> kFacts = {
    {"RESERVED", StockDecided{StockFact::kReserved}},
    {"REJECTED", StockDecided{StockFact::kRejected, "not enough stock"}},
    {"PAID", PaymentDecided{PaymentFact::kCompleted}},
    {"UNPAID", PaymentDecided{PaymentFact::kFailed, "the payment failed: no funds"}},
    {"DISPATCHED", ShipmentMoved{ShipmentFact::kDispatched, "TRACK-1"}},
    {"DELIVERED", ShipmentMoved{ShipmentFact::kDelivered}},
    {"CUSTOMER CANCELS", CancelRequested{CancelledBy::kCustomer, "ordered twice"}},
    {"SHOP CANCELS", CancelRequested{CancelledBy::kShop, "out of season"}},
    {"EXPIRES", CancelRequested{CancelledBy::kDeadline, "it was not paid in time"}},
    {"SHIPPING AGREES", CancelAnswered{.decided = true}},
    {"SHIPPING REFUSES", CancelAnswered{.decided = false}},
};

using Strings = std::vector<std::string>;

// An order from the moment it is placed.
class OrderFlow {
 public:
  OrderFlow() {
    const events::v1::OrderCreated placed = OrderCreated(v1::Order(), std::nullopt);
    published_.push_back(messaging::TypeName(*placed.GetDescriptor()));
    numbers_.push_back(placed.seq());
  }

  OrderFlow& Receives(const std::string& fact) {
    const v1::OrderStatus before = StatusOf(order_.facts);
    Result<Transition> applied = Apply(&order_, kFacts.at(fact));
    if (!applied) published_.push_back("refused");
    if (applied) {
      for (auto& event : applied->events) {
        published_.push_back(messaging::TypeName(*event->GetDescriptor()));
        numbers_.push_back(event->GetReflection()->GetInt64(
            *event, event->GetDescriptor()->FindFieldByName("seq")));
        last_event_ = std::move(event);
      }
    }
    moved_ = StatusOf(order_.facts) != before;
    changed_ = applied && applied->changed;
    return *this;
  }

  // All events in their sequence, with "refused" in the place of one that a request has not led to.
  const Strings& published() const { return published_; }
  Strings events() const {
    Strings events = published_;
    std::erase(events, "refused");
    return events;
  }
  std::string status() const { return StatusText(StatusOf(order_.facts)); }
  std::string reason() const { return order_.reason; }
  bool changed() const { return changed_; }
  bool moved() const { return moved_; }
  const std::vector<int64_t>& numbers() const { return numbers_; }
  const Facts& facts() const { return order_.facts; }
  events::v1::OrderCancelled cancellation() const {
    return dynamic_cast<const events::v1::OrderCancelled&>(*last_event_);
  }
  events::v1::OrderShipped shipping() const {
    return dynamic_cast<const events::v1::OrderShipped&>(*last_event_);
  }

 private:
  LockedOrder order_{
      .id = 1, .uuid = "7d1c3c5e-4a0f-4c57-9a6b-0f6f2d1f6f0a", .user_id = 7, .from_cart = true};
  Strings published_;
  std::vector<int64_t> numbers_;  // the events' `seq`
  bool changed_ = false;
  bool moved_ = false;
  std::unique_ptr<google::protobuf::Message> last_event_;
};

struct Case {
  Strings facts;
  Strings published;  // after ORDER_CREATED
  std::string status;
};

// clang-format off
const Case kCases[] = {
    // As it goes.
    {{}, {}, "PENDING"},
    {{"RESERVED"}, {}, "PENDING"},
    {{"RESERVED", "PAID"}, {"ORDER_CONFIRMED"}, "PROCESSING"},
    {{"RESERVED", "PAID", "DISPATCHED"}, {"ORDER_CONFIRMED", "ORDER_SHIPPED"}, "SHIPPED"},
    {{"RESERVED", "PAID", "DISPATCHED", "DELIVERED"}, {"ORDER_CONFIRMED", "ORDER_SHIPPED", "ORDER_DELIVERED"}, "DELIVERED"},

    // The topics come in any sequence among each other.
    {{"PAID"}, {}, "PENDING"},
    {{"PAID", "RESERVED"}, {"ORDER_CONFIRMED"}, "PROCESSING"},
    {{"UNPAID", "RESERVED"}, {"ORDER_CANCELLED"}, "CANCELLED"},
    {{"RESERVED", "DISPATCHED", "PAID"}, {"ORDER_CONFIRMED", "ORDER_SHIPPED"}, "SHIPPED"},
    {{"RESERVED", "PAID", "DELIVERED"}, {"ORDER_CONFIRMED", "ORDER_SHIPPED", "ORDER_DELIVERED"}, "DELIVERED"},
    {{"RESERVED", "PAID", "DELIVERED", "DISPATCHED"}, {"ORDER_CONFIRMED", "ORDER_SHIPPED", "ORDER_DELIVERED"}, "DELIVERED"},

    // How it ends early.
    {{"REJECTED"}, {"ORDER_CANCELLED"}, "CANCELLED"},
    {{"RESERVED", "UNPAID"}, {"ORDER_CANCELLED"}, "CANCELLED"},
    {{"CUSTOMER CANCELS"}, {"ORDER_CANCELLED"}, "CANCELLED"},
    {{"RESERVED", "SHOP CANCELS"}, {"ORDER_CANCELLED"}, "CANCELLED"},
    {{"RESERVED", "EXPIRES"}, {"ORDER_CANCELLED"}, "CANCELLED"},

    // Once it is confirmed, shipping says whether a cancellation came before the dispatch.
    {{"RESERVED", "PAID", "CUSTOMER CANCELS"}, {"ORDER_CONFIRMED"}, "PROCESSING"},
    {{"RESERVED", "PAID", "CUSTOMER CANCELS", "SHIPPING AGREES"}, {"ORDER_CONFIRMED", "ORDER_CANCELLED"}, "CANCELLED"},
    {{"RESERVED", "PAID", "CUSTOMER CANCELS", "SHIPPING REFUSES"}, {"ORDER_CONFIRMED"}, "PROCESSING"},
    {{"RESERVED", "PAID", "CUSTOMER CANCELS", "SHIPPING REFUSES", "SHOP CANCELS"}, {"ORDER_CONFIRMED", "refused"}, "PROCESSING"},
    {{"RESERVED", "PAID", "CUSTOMER CANCELS", "SHIPPING REFUSES", "SHIPPING AGREES"}, {"ORDER_CONFIRMED"}, "PROCESSING"},
    {{"RESERVED", "PAID", "CUSTOMER CANCELS", "DISPATCHED", "SHIPPING REFUSES"}, {"ORDER_CONFIRMED", "ORDER_SHIPPED"}, "SHIPPED"},
    {{"RESERVED", "PAID", "CUSTOMER CANCELS", "DISPATCHED", "SHIPPING AGREES"}, {"ORDER_CONFIRMED", "ORDER_SHIPPED"}, "SHIPPED"},
    {{"RESERVED", "PAID", "CUSTOMER CANCELS", "DISPATCHED", "CUSTOMER CANCELS"}, {"ORDER_CONFIRMED", "ORDER_SHIPPED", "refused"}, "SHIPPED"},
    {{"RESERVED", "PAID", "CUSTOMER CANCELS", "CUSTOMER CANCELS"}, {"ORDER_CONFIRMED"}, "PROCESSING"},
    {{"RESERVED", "PAID", "SHIPPING AGREES"}, {"ORDER_CONFIRMED"}, "PROCESSING"},
    {{"RESERVED", "PAID", "DISPATCHED", "CUSTOMER CANCELS"}, {"ORDER_CONFIRMED", "ORDER_SHIPPED", "refused"}, "SHIPPED"},
    {{"RESERVED", "PAID", "DISPATCHED", "DELIVERED", "SHOP CANCELS"}, {"ORDER_CONFIRMED", "ORDER_SHIPPED", "ORDER_DELIVERED", "refused"}, "DELIVERED"},

    // The first decision of each source stands.
    {{"RESERVED", "REJECTED", "PAID"}, {"ORDER_CONFIRMED"}, "PROCESSING"},
    {{"REJECTED", "RESERVED"}, {"ORDER_CANCELLED"}, "CANCELLED"},
    {{"RESERVED", "PAID", "UNPAID"}, {"ORDER_CONFIRMED"}, "PROCESSING"},
    {{"RESERVED", "UNPAID", "PAID"}, {"ORDER_CANCELLED"}, "CANCELLED"},
    {{"RESERVED", "PAID", "PAID"}, {"ORDER_CONFIRMED"}, "PROCESSING"},
    {{"REJECTED", "CUSTOMER CANCELS"}, {"ORDER_CANCELLED"}, "CANCELLED"},
    {{"CUSTOMER CANCELS", "SHOP CANCELS"}, {"ORDER_CANCELLED"}, "CANCELLED"},

    // What comes late changes nothing.
    {{"CUSTOMER CANCELS", "RESERVED", "PAID"}, {"ORDER_CANCELLED"}, "CANCELLED"},
    {{"EXPIRES", "REJECTED"}, {"ORDER_CANCELLED"}, "CANCELLED"},
    {{"RESERVED", "UNPAID", "DISPATCHED"}, {"ORDER_CANCELLED"}, "CANCELLED"},
    {{"RESERVED", "PAID", "DISPATCHED", "REJECTED"}, {"ORDER_CONFIRMED", "ORDER_SHIPPED"}, "SHIPPED"},
};
// clang-format on

TEST(OrderFlow, FactsComeInAndEventsGoOut) {
  for (const auto& [facts, published, status] : kCases) {
    OrderFlow flow;
    for (const std::string& fact : facts) flow.Receives(fact);
    Strings all = {"ORDER_CREATED"};
    all.insert(all.end(), published.begin(), published.end());
    EXPECT_EQ(flow.published(), all) << fmt::format("{}", fmt::join(facts, ", "));
    EXPECT_EQ(flow.status(), status) << fmt::format("{}", fmt::join(facts, ", "));
  }
}

TEST(OrderFlow, ACancellationSaysWhy) {
  struct Case {
    Strings facts;
    events::v1::CancelCause cause;
    std::string reason;
  };
  const Case cases[] = {
      {{"REJECTED"}, events::v1::CANCEL_CAUSE_OUT_OF_STOCK, "not enough stock"},
      {{"RESERVED", "UNPAID"},
       events::v1::CANCEL_CAUSE_PAYMENT_FAILED,
       "the payment failed: no funds"},
      {{"EXPIRES"}, events::v1::CANCEL_CAUSE_EXPIRED, "it was not paid in time"},
      {{"CUSTOMER CANCELS"}, events::v1::CANCEL_CAUSE_BY_CUSTOMER, "ordered twice"},
      {{"RESERVED", "PAID", "SHOP CANCELS", "CUSTOMER CANCELS", "SHIPPING AGREES"},
       events::v1::CANCEL_CAUSE_BY_HAND,
       "out of season"},
  };
  for (const auto& [facts, cause, reason] : cases) {
    OrderFlow flow;
    for (const std::string& fact : facts) flow.Receives(fact);
    const events::v1::OrderCancelled cancelled = flow.cancellation();
    EXPECT_EQ(cancelled.cause(), cause) << reason;
    EXPECT_EQ(cancelled.reason(), reason);
    EXPECT_EQ(flow.reason(), reason);
    EXPECT_TRUE(cancelled.from_cart());
    EXPECT_EQ(cancelled.order_id(), 1);
    EXPECT_EQ(cancelled.user_id(), 7);
    EXPECT_EQ(cancelled.order_number(), OrderNumber(1));
    const bool goes_back = cause == events::v1::CANCEL_CAUSE_OUT_OF_STOCK ||
                           cause == events::v1::CANCEL_CAUSE_PAYMENT_FAILED;
    EXPECT_EQ(GoesBackIntoCart(flow.facts()), goes_back) << reason;
  }
}

TEST(OrderFlow, TheReasonOfTheCancellationStays) {
  EXPECT_EQ(OrderFlow().Receives("SHOP CANCELS").Receives("REJECTED").reason(), "out of season");
  EXPECT_EQ(OrderFlow().Receives("REJECTED").Receives("SHOP CANCELS").reason(), "not enough stock");
}

TEST(OrderFlow, AnOrderThatIsNotCancelledAfterAllHasNoReason) {
  OrderFlow flow;
  flow.Receives("RESERVED").Receives("PAID").Receives("SHOP CANCELS").Receives("SHIPPING REFUSES");
  EXPECT_EQ(flow.reason(), "");
}

TEST(OrderFlow, AFactThatComesLateIsStoredAndPublishesNothing) {
  OrderFlow flow;
  flow.Receives("SHOP CANCELS").Receives("RESERVED");
  EXPECT_TRUE(flow.changed());
  EXPECT_THAT(flow.published(), ElementsAre("ORDER_CREATED", "ORDER_CANCELLED"));
}

TEST(OrderFlow, TheTrackingNumberIsPublishedWithTheDispatch) {
  OrderFlow flow;
  flow.Receives("RESERVED").Receives("PAID").Receives("DISPATCHED");
  EXPECT_EQ(flow.shipping().tracking_number(), "TRACK-1");
}

TEST(OrderFlow, AnOrderOfBeforeThereWerePaymentsIsConfirmedByItsStock) {
  LockedOrder order{.id = 1, .facts = {.payment = PaymentFact::kNotDue}};
  EXPECT_EQ(StatusOf(order.facts), v1::ORDER_STATUS_PENDING);
  ASSERT_TRUE(Apply(&order, StockDecided{StockFact::kReserved}));
  EXPECT_EQ(StatusOf(order.facts), v1::ORDER_STATUS_PROCESSING);
  const Result<Transition> failed = Apply(&order, PaymentDecided{PaymentFact::kFailed});
  ASSERT_TRUE(failed);
  EXPECT_FALSE(failed->changed);
  EXPECT_EQ(StatusOf(order.facts), v1::ORDER_STATUS_PROCESSING);
}

// All that an order may ever publish, and the status that each history leaves it in.
const std::map<Strings, std::string> kHistories = {
    {{"ORDER_CREATED"}, "PENDING"},
    {{"ORDER_CREATED", "ORDER_CONFIRMED"}, "PROCESSING"},
    {{"ORDER_CREATED", "ORDER_CONFIRMED", "ORDER_SHIPPED"}, "SHIPPED"},
    {{"ORDER_CREATED", "ORDER_CONFIRMED", "ORDER_SHIPPED", "ORDER_DELIVERED"}, "DELIVERED"},
    {{"ORDER_CREATED", "ORDER_CANCELLED"}, "CANCELLED"},
    {{"ORDER_CREATED", "ORDER_CONFIRMED", "ORDER_CANCELLED"}, "CANCELLED"},
};

// Every sequence of up to five facts: what was published is one of the histories, so that an order
// ends once, and goes where the next event may still lead.
TEST(OrderFlow, WhateverComesInWhicheverSequenceTheEventsAreALegalHistory) {
  std::set<Strings> seen;
  std::vector<Strings> sequences = {{}};
  for (size_t next = 0; next < sequences.size(); ++next) {
    const Strings facts = sequences[next];
    const std::string sequence = fmt::format("{}", fmt::join(facts, ", "));
    OrderFlow flow;
    for (const std::string& fact : facts) flow.Receives(fact);
    const auto history = kHistories.find(flow.events());
    ASSERT_NE(history, kHistories.end())
        << sequence << " published " << fmt::format("{}", fmt::join(flow.events(), ", "));
    ASSERT_EQ(flow.status(), history->second) << sequence;
    for (size_t i = 0; i < flow.numbers().size(); ++i) {
      ASSERT_EQ(flow.numbers()[i], static_cast<int64_t>(i + 1)) << sequence << ", a gap in seq";
    }
    // At rest nothing waits, and before that there is always something to wait for.
    const bool at_end = flow.status() == "DELIVERED" || flow.status() == "CANCELLED";
    ASSERT_EQ(WaitingFor(flow.facts()) == Waiting::kNothing, at_end) << sequence;
    seen.insert(flow.events());

    if (facts.size() > 0) {
      const Strings before = flow.events();
      flow.Receives(facts.back());
      ASSERT_FALSE(flow.changed()) << sequence << ", and the last one again";
      ASSERT_EQ(flow.events(), before) << sequence << ", and the last one again";
    }
    if (facts.size() == 5) continue;
    for (const auto& [name, fact] : kFacts) {
      sequences.push_back(facts);
      sequences.back().push_back(name);
    }
  }
  for (const auto& [history, status] : kHistories) EXPECT_THAT(seen, Contains(history));
}

}  // namespace
}  // namespace shop::orders
