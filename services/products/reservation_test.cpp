#include "products/reservation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

namespace shop::products {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

constexpr int64_t kLamp = 1;
constexpr int64_t kDesk = 2;

TEST(Reservation, IsReadAsItIsWritten) {
  for (const Reservation state :
       {Reservation::kNone, Reservation::kHeld, Reservation::kReleased, Reservation::kRejected}) {
    EXPECT_EQ(ParseReservation(ReservationText(state)), state);
  }
  EXPECT_THROW((void)ParseReservation("LOST"), std::runtime_error);
}

TEST(Reservation, IsReleasedOnceAndRejectedWhenThereIsNone) {
  EXPECT_EQ(AfterRelease(Reservation::kNone), Reservation::kRejected);
  EXPECT_EQ(AfterRelease(Reservation::kHeld), Reservation::kReleased);
  EXPECT_EQ(AfterRelease(Reservation::kReleased), Reservation::kReleased);
  EXPECT_EQ(AfterRelease(Reservation::kRejected), Reservation::kRejected);
}

TEST(Reservation, ARepeatIsToldTheFirstDecision) {
  EXPECT_TRUE(WasReserved(Reservation::kHeld));
  EXPECT_TRUE(WasReserved(Reservation::kReleased));
  EXPECT_FALSE(WasReserved(Reservation::kRejected));
}

TEST(Decide, HoldsAllOfTheLinesAndTakesThemFromWhatIsAvailable) {
  std::map<int64_t, int64_t> available = {{kLamp, 2}, {kDesk, 5}};
  const StockDecision decision = Decide({{kLamp, 2}, {kDesk, 1}}, &available);
  EXPECT_TRUE(decision.reserved);
  EXPECT_THAT(decision.shortages, IsEmpty());
  EXPECT_THAT(available, ElementsAre(Pair(kLamp, 0), Pair(kDesk, 4)));
}

TEST(Decide, HoldsNothingWhenALineIsShortAndNamesEachShortage) {
  std::map<int64_t, int64_t> available = {{kLamp, 2}};
  const StockDecision decision = Decide({{kLamp, 1}, {kDesk, 3}}, &available);
  EXPECT_FALSE(decision.reserved);
  ASSERT_THAT(decision.shortages, SizeIs(1));
  EXPECT_EQ(decision.shortages[0].product_id(), kDesk);
  EXPECT_EQ(decision.shortages[0].requested(), 3);
  EXPECT_EQ(decision.shortages[0].available(), 0);
  EXPECT_EQ(available[kLamp], 2);
}

}  // namespace
}  // namespace shop::products
