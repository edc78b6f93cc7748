// What the orders service answers over gRPC.
#pragma once

#include <optional>
#include <string>

#include "common/postgres/pool.h"
#include "common/rpc/client.h"
#include "common/rpc/service.h"
#include "orders/order_store.h"
#include "orders/ordered_carts.h"
#include "shop/cart/v1/cart.pb.h"
#include "shop/orders/v1/orders.pb.h"
#include "shop/products/v1/products.pb.h"

namespace shop::orders {

class OrdersService {
 public:
  OrdersService(postgres::Pool& db, const rpc::Channel& products, const rpc::Channel& cart,
                std::string currency);

  rpc::Service Methods();

  Result<v1::Order> CreateOrder(const Call& call, const v1::CreateOrderRequest& request);
  Result<v1::ListOrdersResponse> ListOrders(const Call& call, const v1::ListOrdersRequest& request);
  Result<v1::Order> GetOrder(const Call& call, const v1::GetOrderRequest& request);
  Result<v1::Order> GetOrderByNumber(const Call& call, const v1::GetOrderByNumberRequest& request);
  Result<v1::Order> GetOrderByUuid(const Call& call, const v1::GetOrderByUuidRequest& request);
  Result<v1::OrderState> GetOrderStatus(const Call& call, const v1::GetOrderStatusRequest& request);
  Result<v1::OrderState> UpdateOrderStatus(const Call& call,
                                           const v1::UpdateOrderStatusRequest& request);

 private:
  struct Wanted {
    std::vector<Line> lines;
    PricedLines priced = {};
    std::optional<CartState> cart = {};
    // The user's newest order of a cart, as it was before the cart was read; 0 without any.
    int64_t newest = 0;
    // The order that an earlier one of the same requests has made of the cart.
    std::optional<v1::Order> made = {};
  };
  Result<v1::Order> TryToPlace(const Call& call, const v1::CreateOrderRequest& request,
                               const std::string& fingerprint);
  Result<v1::Order> RefuseUnlessPlaced(const Call& call, const std::string& key,
                                       const std::string& fingerprint, const Refusal& refusal);
  Result<Wanted> ResolveLines(const Call& call, const v1::CreateOrderRequest& request);
  Result<Wanted> WhichLines(const Call& call, const v1::CreateOrderRequest& request);
  Result<Wanted> WhatTheCartHolds(const Call& call, const v1::CreateOrderRequest& request);
  Result<cart::v1::Cart> ReadCart(const Call& call) const;
  void SettleCarts(const Call& call, const std::vector<CartOrder>& orders);
  Result<PricedLines> FetchPrices(const Call& call, const std::vector<Line>& lines) const;
  static Result<v1::Order> Replay(postgres::Tx& tx, const Call& call, const std::string& key,
                                  const std::string& fingerprint);

  postgres::Pool& db_;
  rpc::ClientMethod<products::v1::QuoteProductsRequest, products::v1::QuoteProductsResponse> quote_;
  rpc::ClientMethod<cart::v1::GetCartRequest, cart::v1::Cart> get_cart_;
  OrderedCarts carts_;
  std::string currency_;
};

}  // namespace shop::orders
