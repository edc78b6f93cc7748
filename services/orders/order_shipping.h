// What orders asks shipping: to dispatch, deliver or cancel the shipment of an order. Each may be asked
// again; which of a dispatch and a cancellation came first, shipping's row decides.
//
// All throw Unavailable when shipping is away.
#pragma once

#include <string>

#include "common/postgres/pool.h"
#include "common/rpc/client.h"
#include "orders/order.h"
#include "orders/order_store.h"
#include "shop/shipping/v1/shipping.pb.h"

namespace shop::orders {

class OrderShipping {
 public:
  // `shipping` must outlive the object.
  explicit OrderShipping(const rpc::Channel& shipping);

  // What has become of the shipment. FAILED_PRECONDITION with the reason ILLEGAL_MOVE where it is not
  // ready for that; Dispatch waits up to two seconds for shipping to hear that the order is confirmed.
  Result<ShipmentMoved> Dispatch(const Call& call, int64_t order_id) const;
  Result<ShipmentMoved> Deliver(const Call& call, int64_t order_id) const;

  // Shipping's answer to a cancellation that was requested: it will never dispatch the order, or it
  // has done so.
  Result<CancelAnswered> Cancel(const Call& call, int64_t order_id, const std::string& order_uuid,
                                int64_t user_id) const;

 private:
  rpc::ClientMethod<shipping::v1::DispatchShipmentRequest, shipping::v1::Shipment> dispatch_;
  rpc::ClientMethod<shipping::v1::DeliverShipmentRequest, shipping::v1::Shipment> deliver_;
  rpc::ClientMethod<shipping::v1::CancelShipmentRequest, shipping::v1::Shipment> cancel_;
};

}  // namespace shop::orders
