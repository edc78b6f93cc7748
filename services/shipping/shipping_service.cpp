#include "shipping/shipping_service.h"

#include <absl/strings/ascii.h>

#include <optional>

#include "shipping/shipment_store.h"

namespace shop::shipping {
namespace {

using postgres::Tx;

messaging::EventContext ContextOf(const Call& call) {
  return {.source = "shipping", .trace = call.trace};
}

}  // namespace

rpc::Service ShippingService::Methods() {
  return rpc::Service("shop.shipping.v1.ShippingService")
      .On("GetShipment", this, &ShippingService::GetShipment)
      .On("DispatchShipment", this, &ShippingService::DispatchShipment)
      .On("DeliverShipment", this, &ShippingService::DeliverShipment)
      .On("CancelShipment", this, &ShippingService::CancelShipment);
}

Result<v1::Shipment> ShippingService::GetShipment(const Call& call,
                                                  const v1::GetShipmentRequest& request) {
  const std::optional<int64_t> owner =
      call.caller.is_admin() ? std::nullopt : std::optional(call.caller.user_id);
  const std::optional<v1::Shipment> shipment =
      postgres::Read(db_, [&](Tx& tx) { return FindShipment(tx, request.order_id(), owner); });
  if (!shipment) return Refusal{Code::kNotFound, "there is no shipment of such an order"};
  return *shipment;
}

Result<v1::Shipment> ShippingService::DispatchShipment(const Call& call,
                                                       const v1::DispatchShipmentRequest& request) {
  return MoveByHand(call, request.order_id(), Fact::kDispatched);
}

Result<v1::Shipment> ShippingService::DeliverShipment(const Call& call,
                                                      const v1::DeliverShipmentRequest& request) {
  return MoveByHand(call, request.order_id(), Fact::kDelivered);
}

Result<v1::Shipment> ShippingService::CancelShipment(const Call& call,
                                                     const v1::CancelShipmentRequest& request) {
  return postgres::InTransaction(db_, [&](Tx& tx) -> Result<v1::Shipment> {
    const Result<Shipment> cancelled =
        Move(tx,
             {.order_uuid = absl::AsciiStrToLower(request.order_uuid()),
              .order_id = request.order_id(),
              .user_id = request.user_id(),
              .tracking_number = NewTrackingNumber()},
             Fact::kCancelled, ContextOf(call));
    if (!cancelled) return cancelled.refusal();
    return *FindShipment(tx, cancelled->order_id, std::nullopt);
  });
}

Result<v1::Shipment> ShippingService::MoveByHand(const Call& call, int64_t order_id, Fact fact) {
  return postgres::InTransaction(db_, [&](Tx& tx) -> Result<v1::Shipment> {
    const Result<Shipment> moved = MoveExisting(tx, order_id, fact, ContextOf(call));
    if (!moved) return moved.refusal();
    return *FindShipment(tx, order_id, std::nullopt);
  });
}

}  // namespace shop::shipping
