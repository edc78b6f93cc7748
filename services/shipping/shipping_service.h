// The rpcs of shop.shipping.v1.ShippingService.
#pragma once

#include "common/postgres/pool.h"
#include "common/rpc/service.h"
#include "shop/shipping/v1/shipping.pb.h"

namespace shop::shipping {

class ShippingService {
 public:
  // The pool must outlive the service.
  explicit ShippingService(postgres::Pool& db) : db_(db) {}

  rpc::Service Methods();

  Result<v1::Shipment> GetShipment(const Call& call, const v1::GetShipmentRequest& request);

 private:
  postgres::Pool& db_;
};

}  // namespace shop::shipping
