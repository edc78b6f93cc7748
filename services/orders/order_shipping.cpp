#include "orders/order_shipping.h"

#include <chrono>
#include <thread>

namespace shop::orders {
namespace {

constexpr char kService[] = "shop.shipping.v1.ShippingService";

// A shipment that is not ready to be dispatched may be so in a moment: the event that confirms its order
// is on its way.
constexpr int kAttempts = 20;
constexpr std::chrono::milliseconds kPause{100};

Result<ShipmentMoved> Moved(ShipmentFact fact, const Result<shipping::v1::Shipment>& shipment) {
  if (shipment) return ShipmentMoved{fact, shipment->tracking_number()};
  if (shipment.refusal().code != Code::kNotFound) return shipment.refusal();
  return Refusal{.code = Code::kFailedPrecondition,
                 .message = "the shipment is not prepared yet",
                 .reason = "ILLEGAL_MOVE"};
}

}  // namespace

OrderShipping::OrderShipping(const rpc::Channel& shipping)
    : dispatch_(shipping, kService, "DispatchShipment"),
      deliver_(shipping, kService, "DeliverShipment"),
      cancel_(shipping, kService, "CancelShipment") {}

Result<ShipmentMoved> OrderShipping::Dispatch(const Call& call, int64_t order_id) const {
  shipping::v1::DispatchShipmentRequest request;
  request.set_order_id(order_id);
  for (int attempt = 1;; ++attempt) {
    Result<ShipmentMoved> moved = Moved(ShipmentFact::kDispatched, dispatch_(call, request));
    const bool not_ready = !moved && moved.refusal().reason == "ILLEGAL_MOVE";
    if (!not_ready || attempt == kAttempts || call.remaining() < kPause) return moved;
    std::this_thread::sleep_for(kPause);
  }
}

Result<ShipmentMoved> OrderShipping::Deliver(const Call& call, int64_t order_id) const {
  shipping::v1::DeliverShipmentRequest request;
  request.set_order_id(order_id);
  return Moved(ShipmentFact::kDelivered, deliver_(call, request));
}

Result<CancelAnswered> OrderShipping::Cancel(const Call& call, int64_t order_id,
                                             const std::string& order_uuid, int64_t user_id) const {
  shipping::v1::CancelShipmentRequest request;
  request.set_order_id(order_id);
  request.set_order_uuid(order_uuid);
  request.set_user_id(user_id);
  const Result<shipping::v1::Shipment> shipment = cancel_(call, request);
  if (shipment) return CancelAnswered{.decided = true};
  if (shipment.refusal().reason == "SHIPMENT_DISPATCHED") return CancelAnswered{.decided = false};
  return shipment.refusal();
}

}  // namespace shop::orders
