// What a shipment is, how it moves and which event each move publishes. No SQL, no Kafka, no clock.
//
//   state        placed       confirmed   cancelled     dispatched     delivered
//   (none)       PREPARING *  refused     CANCELLED     refused        refused
//   PREPARING    -            READY       CANCELLED *   refused        refused
//   READY        -            -           CANCELLED *   DISPATCHED *   refused
//   DISPATCHED   -            -           refused       -              DELIVERED *
//   DELIVERED    -            -           refused       -              -
//   CANCELLED    -            -           -             refused        refused
//
//   -  changes nothing     *  publishes SHIPMENT_CREATED, _CANCELLED, _DISPATCHED, _DELIVERED
//
// A cancellation can be asked for before ORDER_CREATED has been consumed: the shipment is CANCELLED
// from the start then, and nobody hears of it.
#pragma once

#include <google/protobuf/message.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "common/core/result.h"
#include "shop/shipping/v1/shipping.pb.h"

namespace shop::shipping {

enum class State { kNone, kPreparing, kReady, kDispatched, kDelivered, kCancelled };

// "PREPARING" and so on; empty for kNone.
std::string_view StateText(State state);
// The reverse. std::runtime_error for another text.
State ParseState(std::string_view text);
// What clients see: whether a shipment is ready is the shop's business.
v1::ShipmentStatus StatusOf(State state);
// Whether clients see the tracking number: only once there is a parcel to be followed.
bool ShowsTrackingNumber(State state);

struct Shipment {
  std::string order_uuid = {};
  int64_t order_id = 0;
  int64_t user_id = 0;
  State state = State::kNone;
  std::string tracking_number = {};
  std::optional<std::string> address = {};  // JSON, as ORDER_CREATED has it
};

// A number of its own for a shipment that is about to be made.
std::string NewTrackingNumber();

enum class Fact {
  kPlaced,      // the order was placed
  kConfirmed,   // it is confirmed: the shipment is to go out
  kCancelled,   // it is cancelled
  kDispatched,  // the carrier has the shipment
  kDelivered,   // the customer has it
};

// What a fact has done to a shipment.
struct Transition {
  bool changed = false;  // the shipment is to be stored
  // To be published, if any.
  std::unique_ptr<google::protobuf::Message> event = nullptr;
};

// A refusal is FAILED_PRECONDITION and leaves the shipment as it was; its reason is
// SHIPMENT_DISPATCHED for a cancellation that comes too late and ILLEGAL_MOVE for the others.
Result<Transition> Apply(Shipment* shipment, Fact fact);

}  // namespace shop::shipping
