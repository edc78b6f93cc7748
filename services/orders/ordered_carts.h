// Tells the cart service what became of the orders that were made from carts. Each of these is done
// once for each order, however often it is asked for, so that whoever does not know whether the
// answer got lost asks again.
//
// Both throw Unavailable when cart is away.
#pragma once

#include <string>

#include "common/rpc/client.h"
#include "shop/cart/v1/cart.pb.h"
#include "shop/orders/v1/orders.pb.h"

namespace shop::orders {

class OrderedCarts {
 public:
  // `cart` must outlive the object.
  explicit OrderedCarts(const rpc::Channel& cart);

  // Takes what was ordered out of the cart; what was added since stays. ABORTED when the cart has
  // changed since and the service is of the first release, which then takes nothing out: later.
  Result<void> TakeOut(const Call& call, int64_t user_id, int64_t cart_version,
                       const std::string& order_uuid,
                       const google::protobuf::RepeatedPtrField<v1::OrderItem>& items) const;
  // Puts back what was taken out for an order that was rejected; if nothing was, it stays so.
  Result<void> PutBack(const Call& call, int64_t user_id, const std::string& order_uuid) const;

 private:
  rpc::ClientMethod<cart::v1::EmptyOrderedCartRequest, cart::v1::EmptyOrderedCartResponse> empty_;
  rpc::ClientMethod<cart::v1::PutBackOrderedCartRequest, cart::v1::PutBackOrderedCartResponse>
      put_back_;
};

}  // namespace shop::orders
