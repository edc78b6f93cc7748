// Calls of the cart service for orders that were made from carts. Each takes effect once an order,
// however often it is made, so a caller that lost the answer asks again.
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

  // Removes what was ordered from the cart; what was added since stays. ABORTED when the cart has
  // changed since and its service is of the first release, which then removes nothing: try later.
  Result<void> RemoveItems(const Call& call, int64_t user_id, int64_t cart_version,
                           const std::string& order_uuid,
                           const google::protobuf::RepeatedPtrField<v1::OrderItem>& items) const;
  // Puts back what RemoveItems took out for an order that was rejected. Once called, nothing is
  // removed for that order any more.
  Result<void> PutBackItems(const Call& call, int64_t user_id, const std::string& order_uuid) const;

 private:
  rpc::ClientMethod<cart::v1::EmptyOrderedCartRequest, cart::v1::EmptyOrderedCartResponse> empty_;
  rpc::ClientMethod<cart::v1::PutBackOrderedCartRequest, cart::v1::PutBackOrderedCartResponse>
      put_back_;
};

}  // namespace shop::orders
