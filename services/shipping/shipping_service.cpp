#include "shipping/shipping_service.h"

#include <optional>

#include "shipping/shipment_store.h"

namespace shop::shipping {

rpc::Service ShippingService::Methods() {
  return rpc::Service("shop.shipping.v1.ShippingService")
      .On("GetShipment", this, &ShippingService::GetShipment);
}

Result<v1::Shipment> ShippingService::GetShipment(const Call& call,
                                                  const v1::GetShipmentRequest& request) {
  const std::optional<int64_t> owner =
      call.caller.is_admin() ? std::nullopt : std::optional(call.caller.user_id);
  const std::optional<v1::Shipment> shipment = FindShipment(db_, request.order_id(), owner);
  if (!shipment) return Refusal{Code::kNotFound, "there is no shipment of such an order"};
  return *shipment;
}

}  // namespace shop::shipping
