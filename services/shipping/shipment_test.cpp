#include "shipping/shipment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "common/messaging/event.h"
#include "shop/events/v1/shipments.pb.h"

namespace shop::shipping {
namespace {

using ::testing::ElementsAre;
using ::testing::MatchesRegex;

constexpr State kStates[] = {State::kNone,       State::kPreparing, State::kReady,
                             State::kDispatched, State::kDelivered, State::kCancelled};

Shipment In(State state) {
  return {.order_uuid = "a7f0c3de-0000-4000-8000-000000000012",
          .order_id = 12,
          .user_id = 7,
          .state = state,
          .tracking_number = "TRK1"};
}

// What the fact does in each state: "READY", "CANCELLED SHIPMENT_CANCELLED", "-" for nothing, or
// the reason of a refusal.
std::vector<std::string> Outcomes(Fact fact) {
  std::vector<std::string> outcomes;
  for (const State state : kStates) {
    Shipment shipment = In(state);
    const Result<Transition> transition = Apply(&shipment, fact);
    if (!transition) {
      EXPECT_EQ(shipment.state, state);
      EXPECT_EQ(transition.refusal().code, Code::kFailedPrecondition);
      outcomes.push_back(transition.refusal().reason);
      continue;
    }
    EXPECT_EQ(transition->changed, shipment.state != state);
    std::string outcome(transition->changed ? StateText(shipment.state) : "-");
    if (transition->event) {
      outcome += " " + messaging::TypeName(*transition->event->GetDescriptor());
    }
    outcomes.push_back(outcome);
  }
  return outcomes;
}

TEST(Shipment, MovesAsTheTableSays) {
  constexpr char kIllegal[] = "ILLEGAL_MOVE";
  constexpr char kTooLate[] = "SHIPMENT_DISPATCHED";
  EXPECT_THAT(Outcomes(Fact::kPlaced),
              ElementsAre("PREPARING SHIPMENT_CREATED", "-", "-", "-", "-", "-"));
  EXPECT_THAT(Outcomes(Fact::kConfirmed), ElementsAre(kIllegal, "READY", "-", "-", "-", "-"));
  EXPECT_THAT(Outcomes(Fact::kCancelled),
              ElementsAre("CANCELLED", "CANCELLED SHIPMENT_CANCELLED",
                          "CANCELLED SHIPMENT_CANCELLED", kTooLate, kTooLate, "-"));
  EXPECT_THAT(
      Outcomes(Fact::kDispatched),
      ElementsAre(kIllegal, kIllegal, "DISPATCHED SHIPMENT_DISPATCHED", "-", "-", kIllegal));
  EXPECT_THAT(
      Outcomes(Fact::kDelivered),
      ElementsAre(kIllegal, kIllegal, kIllegal, "DELIVERED SHIPMENT_DELIVERED", "-", kIllegal));
}

TEST(Shipment, TellsItsOrderAndOnceItIsDispatchedItsTrackingNumber) {
  Shipment shipment = In(State::kReady);
  const Result<Transition> transition = Apply(&shipment, Fact::kDispatched);
  const auto& event = dynamic_cast<const events::v1::ShipmentDispatched&>(*transition->event);
  EXPECT_EQ(event.order_id(), 12);
  EXPECT_EQ(event.order_uuid(), shipment.order_uuid);
  EXPECT_EQ(event.user_id(), 7);
  EXPECT_EQ(event.tracking_number(), "TRK1");
}

TEST(Shipment, ShowsItsTrackingNumberFromTheDispatchOn) {
  std::vector<bool> shown;
  for (const State state : kStates) shown.push_back(ShowsTrackingNumber(state));
  EXPECT_THAT(shown, ElementsAre(false, false, false, true, true, false));
}

TEST(Shipment, IsReadAsItIsWritten) {
  for (const State state : kStates) EXPECT_EQ(ParseState(StateText(state)), state);
  EXPECT_THROW((void)ParseState("LOST"), std::runtime_error);
}

TEST(Shipment, HasATrackingNumberThatIsEasilyRead) {
  EXPECT_THAT(NewTrackingNumber(), MatchesRegex("TRK[0-9A-HJKMNP-TV-Z]{12}"));
}

}  // namespace
}  // namespace shop::shipping
