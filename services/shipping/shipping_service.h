// The rpcs of shop.shipping.v1.ShippingService. Thread-safe.
#pragma once

#include "common/postgres/pool.h"
#include "common/rpc/service.h"
#include "shipping/shipment.h"
#include "shop/shipping/v1/shipping.pb.h"

namespace shop::shipping {

class ShippingService {
 public:
  // The pool must outlive the service.
  explicit ShippingService(postgres::Pool& db) : db_(db) {}

  rpc::Service Methods();

  Result<v1::Shipment> GetShipment(const Call& call, const v1::GetShipmentRequest& request);
  Result<v1::Shipment> DispatchShipment(const Call& call,
                                        const v1::DispatchShipmentRequest& request);
  Result<v1::Shipment> DeliverShipment(const Call& call, const v1::DeliverShipmentRequest& request);
  Result<v1::Shipment> CancelShipment(const Call& call, const v1::CancelShipmentRequest& request);

 private:
  Result<v1::Shipment> MoveByHand(const Call& call, int64_t order_id, Fact fact);

  postgres::Pool& db_;
};

}  // namespace shop::shipping
