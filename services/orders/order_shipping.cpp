#include "orders/order_shipping.h"

namespace shop::orders {
namespace {

constexpr char kService[] = "shop.shipping.v1.ShippingService";

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
  return Moved(ShipmentFact::kDispatched, dispatch_(call, request));
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
