// The rpcs of shop.cart.v1.CartService. Names, prices and stock always come from products, in one
// call an rpc; when products or MongoDB is away an rpc throws Unavailable.
//
// AddItem is not idempotent: a client that got no answer reads the cart before it adds again.
// Everything that can fail comes before the change, so a failure that was answered changed nothing.
#pragma once

#include <map>
#include <string>

#include "cart/cart_store.h"
#include "common/rpc/client.h"
#include "common/rpc/service.h"
#include "shop/cart/v1/cart.pb.h"
#include "shop/products/v1/products.pb.h"

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
  // By product; products that are not in the catalogue have none.
  using Quotes = std::map<int64_t, products::v1::Quote>;

  // Quotes for the products in the cart and for `another` (0 is none).
  Quotes Quote(const Call& call, const StoredCart& cart, int64_t another = 0) const;
  v1::Cart ToProto(const StoredCart& cart, const Quotes& quotes) const;

  CartStore& store_;
  const rpc::ClientMethod<products::v1::QuoteProductsRequest, products::v1::QuoteProductsResponse>
      quote_products_;
  const std::string currency_;
};

}  // namespace shop::cart
