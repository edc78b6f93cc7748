#include "orders/ordered_carts.h"

namespace shop::orders {

OrderedCarts::OrderedCarts(const rpc::Channel& cart)
    : empty_(cart, "shop.cart.v1.CartService", "EmptyOrderedCart"),
      put_back_(cart, "shop.cart.v1.CartService", "PutBackOrderedCart") {}

Result<void> OrderedCarts::RemoveItems(
    const Call& call, int64_t user_id, int64_t cart_version, const std::string& order_uuid,
    const google::protobuf::RepeatedPtrField<v1::OrderItem>& items) const {
  cart::v1::EmptyOrderedCartRequest request;
  request.set_user_id(user_id);
  request.set_version(cart_version);
  request.set_order_uuid(order_uuid);
  for (const v1::OrderItem& item : items) {
    cart::v1::OrderedItem* ordered = request.add_items();
    ordered->set_product_id(item.product_id());
    ordered->set_quantity(item.quantity());
  }
  const auto answer = empty_(call, request);
  if (!answer) return answer.refusal();
  if (!answer->settled() && !answer->emptied()) {
    return Refusal{Code::kAborted,
                   "the cart has changed, and its service is too old to allow for that"};
  }
  return kDone;
}

Result<void> OrderedCarts::PutBackItems(const Call& call, int64_t user_id,
                                        const std::string& order_uuid) const {
  cart::v1::PutBackOrderedCartRequest request;
  request.set_user_id(user_id);
  request.set_order_uuid(order_uuid);
  const auto answer = put_back_(call, request);
  if (!answer) return answer.refusal();
  return kDone;
}

}  // namespace shop::orders
