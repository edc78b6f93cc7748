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
    {"STOCK_RESERVED", StockDecided{StockFact::kReserved}},
    {"STOCK_REJECTED", StockDecided{StockFact::kRejected, "not enough stock"}},
    {"PENDING by hand", MovedByHand{v1::ORDER_STATUS_PENDING}},
    {"PROCESSING by hand", MovedByHand{v1::ORDER_STATUS_PROCESSING}},
    {"SHIPPED by hand", MovedByHand{v1::ORDER_STATUS_SHIPPED}},
    {"DELIVERED by hand", MovedByHand{v1::ORDER_STATUS_DELIVERED}},
    {"CANCELLED by hand", MovedByHand{v1::ORDER_STATUS_CANCELLED, "out of season"}},
};

using Strings = std::vector<std::string>;

// An order from the moment it is placed.
class OrderFlow {
 public:
  OrderFlow() {
    const events::v1::OrderCreated placed = OrderCreated(v1::Order(), std::nullopt);
    published_.push_back(messaging::TypeName(*placed.GetDescriptor()));
  }

  OrderFlow& Receives(const std::string& fact) {
    Result<Transition> applied = Apply(&order_, kFacts.at(fact));
    if (!applied) {
      published_.push_back("refused");
    } else if (applied->event) {
      published_.push_back(messaging::TypeName(*applied->event->GetDescriptor()));
      last_event_ = std::move(applied->event);
    }
    changed_ = applied && applied->changed;
    return *this;
  }

  // All events in their sequence, with "refused" in the place of one that a move by hand has not
  // led to.
  const Strings& published() const { return published_; }
  Strings events() const {
    Strings events = published_;
    std::erase(events, "refused");
    return events;
  }
  std::string status() const { return StatusText(StatusOf(order_.facts)); }
  std::string reason() const { return order_.reason; }
  bool changed() const { return changed_; }
  events::v1::OrderCancelled cancellation() const {
    return dynamic_cast<const events::v1::OrderCancelled&>(*last_event_);
  }

 private:
  LockedOrder order_{
      .id = 1, .uuid = "7d1c3c5e-4a0f-4c57-9a6b-0f6f2d1f6f0a", .user_id = 7, .from_cart = true};
  Strings published_;
  bool changed_ = false;
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
    {{"STOCK_RESERVED"}, {"ORDER_CONFIRMED"}, "PROCESSING"},
    {{"STOCK_RESERVED", "SHIPPED by hand"}, {"ORDER_CONFIRMED", "ORDER_SHIPPED"}, "SHIPPED"},
    {{"STOCK_RESERVED", "SHIPPED by hand", "DELIVERED by hand"}, {"ORDER_CONFIRMED", "ORDER_SHIPPED", "ORDER_DELIVERED"}, "DELIVERED"},

    // How it ends early.
    {{"STOCK_REJECTED"}, {"ORDER_CANCELLED"}, "CANCELLED"},
    {{"CANCELLED by hand"}, {"ORDER_CANCELLED"}, "CANCELLED"},
    {{"STOCK_RESERVED", "CANCELLED by hand"}, {"ORDER_CONFIRMED", "ORDER_CANCELLED"}, "CANCELLED"},

    // Stock's first decision stands.
    {{"STOCK_RESERVED", "STOCK_RESERVED"}, {"ORDER_CONFIRMED"}, "PROCESSING"},
    {{"STOCK_RESERVED", "STOCK_REJECTED"}, {"ORDER_CONFIRMED"}, "PROCESSING"},
    {{"STOCK_REJECTED", "STOCK_REJECTED"}, {"ORDER_CANCELLED"}, "CANCELLED"},
    {{"STOCK_REJECTED", "STOCK_RESERVED"}, {"ORDER_CANCELLED"}, "CANCELLED"},

    // What comes late changes nothing.
    {{"CANCELLED by hand", "STOCK_RESERVED"}, {"ORDER_CANCELLED"}, "CANCELLED"},
    {{"CANCELLED by hand", "STOCK_REJECTED"}, {"ORDER_CANCELLED"}, "CANCELLED"},
    {{"STOCK_RESERVED", "SHIPPED by hand", "STOCK_REJECTED"}, {"ORDER_CONFIRMED", "ORDER_SHIPPED"}, "SHIPPED"},

    // A move by hand to where the order is already is no move.
    {{"PENDING by hand"}, {}, "PENDING"},
    {{"STOCK_RESERVED", "PROCESSING by hand"}, {"ORDER_CONFIRMED"}, "PROCESSING"},
    {{"STOCK_RESERVED", "SHIPPED by hand", "SHIPPED by hand"}, {"ORDER_CONFIRMED", "ORDER_SHIPPED"}, "SHIPPED"},
    {{"CANCELLED by hand", "CANCELLED by hand"}, {"ORDER_CANCELLED"}, "CANCELLED"},
    {{"STOCK_REJECTED", "CANCELLED by hand"}, {"ORDER_CANCELLED"}, "CANCELLED"},

    // Illegal moves by hand.
    {{"PROCESSING by hand"}, {"refused"}, "PENDING"},
    {{"SHIPPED by hand"}, {"refused"}, "PENDING"},
    {{"SHIPPED by hand", "STOCK_RESERVED"}, {"refused", "ORDER_CONFIRMED"}, "PROCESSING"},
    {{"STOCK_RESERVED", "DELIVERED by hand"}, {"ORDER_CONFIRMED", "refused"}, "PROCESSING"},
    {{"STOCK_RESERVED", "SHIPPED by hand", "CANCELLED by hand"}, {"ORDER_CONFIRMED", "ORDER_SHIPPED", "refused"}, "SHIPPED"},
    {{"CANCELLED by hand", "PROCESSING by hand"}, {"ORDER_CANCELLED", "refused"}, "CANCELLED"},
    {{"STOCK_REJECTED", "SHIPPED by hand"}, {"ORDER_CANCELLED", "refused"}, "CANCELLED"},
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
  const events::v1::OrderCancelled rejected = OrderFlow().Receives("STOCK_REJECTED").cancellation();
  EXPECT_EQ(rejected.cause(), events::v1::CANCEL_CAUSE_OUT_OF_STOCK);
  EXPECT_EQ(rejected.reason(), "not enough stock");
  EXPECT_TRUE(rejected.from_cart());
  EXPECT_EQ(rejected.order_id(), 1);
  EXPECT_EQ(rejected.user_id(), 7);
  EXPECT_EQ(rejected.order_number(), OrderNumber(1));

  const events::v1::OrderCancelled cancelled =
      OrderFlow().Receives("STOCK_RESERVED").Receives("CANCELLED by hand").cancellation();
  EXPECT_EQ(cancelled.cause(), events::v1::CANCEL_CAUSE_BY_HAND);
  EXPECT_EQ(cancelled.reason(), "out of season");
}

TEST(OrderFlow, TheReasonOfTheCancellationStays) {
  EXPECT_EQ(OrderFlow().Receives("CANCELLED by hand").Receives("STOCK_REJECTED").reason(),
            "out of season");
  EXPECT_EQ(OrderFlow().Receives("STOCK_REJECTED").Receives("CANCELLED by hand").reason(),
            "not enough stock");
  LockedOrder order;
  ASSERT_TRUE(Apply(&order, MovedByHand{v1::ORDER_STATUS_CANCELLED}));
  EXPECT_EQ(order.reason, "cancelled by the shop");
}

TEST(OrderFlow, AFactThatComesLateIsStoredAndPublishesNothing) {
  OrderFlow flow;
  flow.Receives("CANCELLED by hand").Receives("STOCK_RESERVED");
  EXPECT_TRUE(flow.changed());
  EXPECT_THAT(flow.published(), ElementsAre("ORDER_CREATED", "ORDER_CANCELLED"));
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

// Every sequence of up to four facts: what was published is one of the histories, so that an order
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
    seen.insert(flow.events());

    if (facts.size() > 0) {
      const Strings before = flow.events();
      flow.Receives(facts.back());
      ASSERT_FALSE(flow.changed()) << sequence << ", and the last one again";
      ASSERT_EQ(flow.events(), before) << sequence << ", and the last one again";
    }
    if (facts.size() == 4) continue;
    for (const auto& [name, fact] : kFacts) {
      sequences.push_back(facts);
      sequences.back().push_back(name);
    }
  }
  for (const auto& [history, status] : kHistories) EXPECT_THAT(seen, Contains(history));
}

}  // namespace
}  // namespace shop::orders
