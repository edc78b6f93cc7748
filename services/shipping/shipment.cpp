#include "shipping/shipment.h"

#include <algorithm>
#include <stdexcept>

#include "common/crypto/random.h"
#include "shop/events/v1/shipments.pb.h"

namespace shop::shipping {
namespace {

template <typename Event>
std::unique_ptr<google::protobuf::Message> MakeEvent(const Shipment& shipment) {
  auto event = std::make_unique<Event>();
  event->set_order_id(shipment.order_id);
  event->set_order_uuid(shipment.order_uuid);
  event->set_user_id(shipment.user_id);
  if constexpr (std::is_same_v<Event, events::v1::ShipmentDispatched>) {
    event->set_tracking_number(shipment.tracking_number);
  }
  return event;
}

// The moves. A fact that has none from a state is refused if it is in kRefused, and else changes
// nothing.
struct Move {
  State from;
  Fact fact;
  State to;
  std::unique_ptr<google::protobuf::Message> (*event)(const Shipment&) = nullptr;
};
constexpr Move kMoves[] = {
    {State::kNone, Fact::kPlaced, State::kPreparing, MakeEvent<events::v1::ShipmentCreated>},
    {State::kNone, Fact::kCancelled, State::kCancelled},
    {State::kPreparing, Fact::kConfirmed, State::kReady},
    {State::kPreparing, Fact::kCancelled, State::kCancelled,
     MakeEvent<events::v1::ShipmentCancelled>},
    {State::kReady, Fact::kCancelled, State::kCancelled, MakeEvent<events::v1::ShipmentCancelled>},
    {State::kReady, Fact::kDispatched, State::kDispatched,
     MakeEvent<events::v1::ShipmentDispatched>},
    {State::kDispatched, Fact::kDelivered, State::kDelivered,
     MakeEvent<events::v1::ShipmentDelivered>},
};

struct Refused {
  State from;
  Fact fact;
  std::string_view message;
};
constexpr Refused kRefused[] = {
    {State::kNone, Fact::kConfirmed, "the order has no shipment"},
    {State::kNone, Fact::kDispatched, "the order has no shipment"},
    {State::kNone, Fact::kDelivered, "the order has no shipment"},
    {State::kPreparing, Fact::kDispatched, "the order is not confirmed yet"},
    {State::kPreparing, Fact::kDelivered, "the shipment is not dispatched yet"},
    {State::kReady, Fact::kDelivered, "the shipment is not dispatched yet"},
    {State::kDispatched, Fact::kCancelled, "the shipment is on its way"},
    {State::kDelivered, Fact::kCancelled, "the shipment was delivered"},
    {State::kCancelled, Fact::kDispatched, "the shipment was cancelled"},
    {State::kCancelled, Fact::kDelivered, "the shipment was cancelled"},
};

// In the sequence of the enum.
struct StateWords {
  std::string_view text;
  v1::ShipmentStatus status;
};
constexpr StateWords kStates[] = {
    {"", v1::SHIPMENT_STATUS_UNSPECIFIED},        {"PREPARING", v1::SHIPMENT_STATUS_PREPARING},
    {"READY", v1::SHIPMENT_STATUS_PREPARING},     {"DISPATCHED", v1::SHIPMENT_STATUS_DISPATCHED},
    {"DELIVERED", v1::SHIPMENT_STATUS_DELIVERED}, {"CANCELLED", v1::SHIPMENT_STATUS_CANCELLED}};

}  // namespace

std::string_view StateText(State state) {
  return kStates[static_cast<size_t>(state)].text;
}

State ParseState(std::string_view text) {
  const auto found = std::ranges::find(kStates, text, &StateWords::text);
  if (found == std::end(kStates)) {
    throw std::runtime_error("a shipment has the unknown state " + std::string(text));
  }
  return static_cast<State>(found - kStates);
}

v1::ShipmentStatus StatusOf(State state) {
  return kStates[static_cast<size_t>(state)].status;
}

bool ShowsTrackingNumber(State state) {
  return state == State::kDispatched || state == State::kDelivered;
}

// TRK and 60 random bits in Crockford's base 32, which has no letters that look like digits. If two
// numbers are ever the same, the unique index refuses the second and its event is tried again.
std::string NewTrackingNumber() {
  constexpr char kAlphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
  std::string number = "TRK";
  for (const unsigned char byte : RandomBytes<12>()) number += kAlphabet[byte % 32];
  return number;
}

Result<Transition> Apply(Shipment* shipment, Fact fact) {
  const auto is_this = [&](const auto& entry) {
    return entry.from == shipment->state && entry.fact == fact;
  };
  const auto refused = std::ranges::find_if(kRefused, is_this);
  if (refused != std::end(kRefused)) {
    return Refusal{.code = Code::kFailedPrecondition,
                   .message = std::string(refused->message),
                   .reason = fact == Fact::kCancelled ? "SHIPMENT_DISPATCHED" : "ILLEGAL_MOVE"};
  }
  Transition transition;
  const auto move = std::ranges::find_if(kMoves, is_this);
  if (move == std::end(kMoves)) return transition;
  shipment->state = move->to;
  transition.changed = true;
  if (move->event != nullptr) transition.event = move->event(*shipment);
  return transition;
}

}  // namespace shop::shipping
