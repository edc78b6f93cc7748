// The rpcs of shop.cart.v1.CartService. Names, prices and stock always come from products, in one
// call an rpc or for several at once (common/quotes/quotes.h); when products or MongoDB is away an
// rpc throws Unavailable.
//
// AddItem is not idempotent: a client that got no answer reads the cart before it adds again.
// Everything that can fail comes before the change, so a failure that was answered changed nothing.
#pragma once

#include <string>

#include "cart/cart_store.h"
#include "common/quotes/quotes.h"
#include "common/rpc/client.h"
#include "common/rpc/service.h"
#include "shop/cart/v1/cart.pb.h"

namespace shop::cart {

// Of one product in a cart, and of different products.
inline constexpr int64_t kMaxQuantity = 1000;
inline constexpr int64_t kMaxLines = 100;

class CartService {
 public:
  // Both must outlive the service.
  CartService(CartStore& store, const rpc::Channel& products, std::string currency);

  rpc::Service Methods();

  Result<v1::Cart> GetCart(const Call& call, const v1::GetCartRequest& request);
  Result<v1::Cart> AddItem(const Call& call, const v1::AddItemRequest& request);
  Result<v1::Cart> UpdateItem(const Call& call, const v1::UpdateItemRequest& request);
  Result<google::protobuf::Empty> RemoveItem(const Call& call,
                                             const v1::RemoveItemRequest& request);
  Result<google::protobuf::Empty> ClearCart(const Call& call, const v1::ClearCartRequest& request);
  Result<v1::EmptyOrderedCartResponse> EmptyOrderedCart(const Call& call,
                                                        const v1::EmptyOrderedCartRequest& request);
  Result<v1::PutBackOrderedCartResponse> PutBackOrderedCart(
      const Call& call, const v1::PutBackOrderedCartRequest& request);

 private:
  // Quotes for the products in the cart and for `another` (0 is none).
  Quotes Quote(const Call& call, const StoredCart& cart, int64_t another = 0);
  v1::Cart ToProto(const StoredCart& cart, const Quotes& quotes) const;

  CartStore& store_;
  QuoteClient quotes_;
  const std::string currency_;
};

}  // namespace shop::cart
