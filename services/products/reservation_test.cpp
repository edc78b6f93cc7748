#include "products/reservation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <stdexcept>

namespace shop::products {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

constexpr int64_t kLamp = 1;
constexpr int64_t kDesk = 2;

constexpr Reservation kStates[] = {Reservation::kNone,      Reservation::kHeld,
                                   Reservation::kCommitted, Reservation::kReturned,
                                   Reservation::kReleased,  Reservation::kRejected};

// An order of two lamps and a desk, in the state.
OrderStock In(Reservation state) {
  OrderStock order{.state = state};
  if (state != Reservation::kNone && state != Reservation::kRejected) {
    order.lines = {{kLamp, {.quantity = 2}}, {kDesk, {.quantity = 1}}};
  }
  if (state == Reservation::kReturned) {
    for (auto& [product, line] : order.lines) line.returned = line.quantity;
  }
  return order;
}

// "COMMITTED 1 -2 -2": kind, product, on hand, reserved.
std::vector<std::string> Texts(const StockMoves& moves) {
  std::vector<std::string> texts;
  for (const StockMove& move : moves) {
    texts.push_back(std::string(move.kind) + " " + std::to_string(move.product) + " " +
                    std::to_string(move.on_hand) + " " + std::to_string(move.reserved));
  }
  return texts;
}

// The state that the step leads to from each state, "NONE" for none.
std::vector<std::string> StatesAfter(const std::function<void(OrderStock*)>& step) {
  std::vector<std::string> after;
  for (const Reservation state : kStates) {
    OrderStock order = In(state);
    step(&order);
    after.push_back(order.state == Reservation::kNone ? "NONE" : ReservationText(order.state));
  }
  return after;
}

TEST(Reservation, IsReadAsItIsWritten) {
  for (const Reservation state : kStates) {
    EXPECT_EQ(ParseReservation(ReservationText(state)), state);
  }
  EXPECT_THROW((void)ParseReservation("LOST"), std::runtime_error);
}

TEST(Reservation, MovesAsTheTableSays) {
  Quantities available = {{kLamp, 9}};
  EXPECT_THAT(StatesAfter([&](OrderStock* order) {
                Reserve({{kLamp, 1}}, order, &available);
              }),
              ElementsAre("HELD", "HELD", "COMMITTED", "RETURNED", "RELEASED", "REJECTED"));
  EXPECT_THAT(StatesAfter([](OrderStock* order) { Commit(order); }),
              ElementsAre("NONE", "COMMITTED", "COMMITTED", "RETURNED", "RELEASED", "REJECTED"));
  EXPECT_THAT(StatesAfter([](OrderStock* order) {
                Return("r", {{kLamp, 1}}, order);
              }),
              ElementsAre("NONE", "COMMITTED", "COMMITTED", "RETURNED", "RELEASED", "REJECTED"));
  EXPECT_THAT(StatesAfter([](OrderStock* order) { Release(order); }),
              ElementsAre("REJECTED", "RELEASED", "RETURNED", "RETURNED", "RELEASED", "REJECTED"));
}

TEST(Reservation, ARepeatMovesNothing) {
  for (const Reservation state : kStates) {
    OrderStock order = In(state);
    Commit(&order);
    EXPECT_THAT(Commit(&order), IsEmpty()) << ReservationText(state);
    Return("r", {{kLamp, 1}}, &order);
    EXPECT_THAT(Return("r", {{kLamp, 1}}, &order), IsEmpty()) << ReservationText(state);
    Release(&order);
    EXPECT_THAT(Release(&order), IsEmpty()) << ReservationText(state);
    EXPECT_THAT(Commit(&order), IsEmpty()) << ReservationText(state);
  }
}

TEST(Reservation, IsSoldByLeavingWhatIsOnHandAndWhatIsReserved) {
  OrderStock order = In(Reservation::kHeld);
  EXPECT_FALSE(WasCommitted(order));
  EXPECT_THAT(Texts(Commit(&order)), ElementsAre("COMMITTED 1 -2 -2", "COMMITTED 2 -1 -1"));
  EXPECT_TRUE(WasCommitted(order));
}

TEST(Reservation, IsReleasedByWhatItHeldAndComesBackByWhatWasSold) {
  OrderStock held = In(Reservation::kHeld);
  EXPECT_THAT(Texts(Release(&held)), ElementsAre("RELEASED 1 0 -2", "RELEASED 2 0 -1"));
  EXPECT_TRUE(WasReleased(held));
  OrderStock sold = In(Reservation::kCommitted);
  EXPECT_THAT(Texts(Release(&sold)), ElementsAre("RETURNED 1 2 0", "RETURNED 2 1 0"));
  EXPECT_TRUE(WasReleased(sold));
  OrderStock rejected = In(Reservation::kRejected);
  EXPECT_THAT(Release(&rejected), IsEmpty());
  EXPECT_FALSE(WasReleased(rejected));
}

TEST(Reservation, NoMoreComesBackThanWasSold) {
  OrderStock order = In(Reservation::kCommitted);
  EXPECT_THAT(Texts(Return("a", {{kLamp, 1}, {7, 1}}, &order)), ElementsAre("RETURNED 1 1 0"));
  EXPECT_EQ(order.returns["a"], 1);
  EXPECT_THAT(Texts(Return("b", {{kLamp, 2}}, &order)), ElementsAre("RETURNED 1 1 0"));
  EXPECT_EQ(order.returns["b"], 1);
  EXPECT_EQ(order.state, Reservation::kCommitted) << "the desk is sold still";
  EXPECT_THAT(Texts(Release(&order)), ElementsAre("RETURNED 2 1 0"));
  EXPECT_EQ(order.state, Reservation::kReturned);
  EXPECT_THAT(Return("c", {{kDesk, 1}}, &order), IsEmpty());
}

TEST(Reservation, IsReturnedOnceAllOfItIsBack) {
  OrderStock order = In(Reservation::kCommitted);
  Return("a", {{kLamp, 2}}, &order);
  Return("b", {{kDesk, 1}}, &order);
  EXPECT_EQ(order.state, Reservation::kReturned);
  EXPECT_TRUE(WasCommitted(order));
}

// An order that was delivered before sales were committed.
TEST(Reservation, ThatIsStillHeldIsCommittedByItsReturn) {
  OrderStock order = In(Reservation::kHeld);
  EXPECT_THAT(Texts(Return("a", {{kLamp, 1}}, &order)),
              ElementsAre("COMMITTED 1 -2 -2", "COMMITTED 2 -1 -1", "RETURNED 1 1 0"));
  EXPECT_EQ(order.state, Reservation::kCommitted);
}

TEST(Reservation, ARepeatIsToldTheFirstDecision) {
  for (const Reservation state : {Reservation::kHeld, Reservation::kCommitted,
                                  Reservation::kReturned, Reservation::kReleased}) {
    EXPECT_TRUE(DecisionOf(In(state)).reserved);
  }
  OrderStock order;
  Quantities available;
  Reserve({{kLamp, 1}}, &order, &available);
  available[kLamp] = 9;
  EXPECT_THAT(Reserve({{kLamp, 1}}, &order, &available), IsEmpty());
  EXPECT_FALSE(DecisionOf(order).reserved);
  EXPECT_THAT(DecisionOf(order).shortages, SizeIs(1));
}

TEST(Reserve, HoldsAllOfTheLinesAndTakesThemFromWhatIsAvailable) {
  OrderStock order;
  Quantities available = {{kLamp, 2}, {kDesk, 5}};
  EXPECT_THAT(Texts(Reserve({{kLamp, 2}, {kDesk, 1}}, &order, &available)),
              ElementsAre("RESERVED 1 0 2", "RESERVED 2 0 1"));
  EXPECT_TRUE(DecisionOf(order).reserved);
  EXPECT_THAT(available, ElementsAre(Pair(kLamp, 0), Pair(kDesk, 4)));
}

TEST(Reserve, HoldsNothingWhenALineIsShortAndNamesEachShortage) {
  OrderStock order;
  Quantities available = {{kLamp, 2}};
  EXPECT_THAT(Reserve({{kLamp, 1}, {kDesk, 3}}, &order, &available), IsEmpty());
  const StockDecision decision = DecisionOf(order);
  EXPECT_FALSE(decision.reserved);
  ASSERT_THAT(decision.shortages, SizeIs(1));
  EXPECT_EQ(decision.shortages[0].product_id(), kDesk);
  EXPECT_EQ(decision.shortages[0].requested(), 3);
  EXPECT_EQ(decision.shortages[0].available(), 0);
  EXPECT_EQ(available[kLamp], 2);
}

}  // namespace
}  // namespace shop::products
