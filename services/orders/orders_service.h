// The rpcs of shop.orders.v1.OrdersService.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/idempotency/idempotency.h"
#include "common/postgres/pool.h"
#include "common/quotes/quotes.h"
#include "common/rpc/client.h"
#include "common/rpc/service.h"
#include "common/rpc/stream_hub.h"
#include "orders/order_events.h"
#include "orders/order_groups.h"
#include "orders/order_shipping.h"
#include "orders/order_store.h"
#include "orders/ordered_carts.h"
#include "shop/cart/v1/cart.pb.h"
#include "shop/orders/v1/orders.pb.h"

namespace shop::orders {

class OrdersService {
 public:
  OrdersService(postgres::Pool& db, const rpc::Channel& products, const rpc::Channel& cart,
                const rpc::Channel& shipping, std::string currency, const Deadlines& deadlines = {},
                const OrderLimits& limits = {});

  rpc::Service Methods();

  Result<v1::Order> CreateOrder(const Call& call, const v1::CreateOrderRequest& request);
  Result<v1::ListOrdersResponse> ListOrders(const Call& call, const v1::ListOrdersRequest& request);
  Result<v1::Order> GetOrder(const Call& call, const v1::GetOrderRequest& request);
  Result<v1::Order> GetOrderByNumber(const Call& call, const v1::GetOrderByNumberRequest& request);
  Result<v1::Order> GetOrderByUuid(const Call& call, const v1::GetOrderByUuidRequest& request);
  Result<v1::OrderState> GetOrderStatus(const Call& call, const v1::GetOrderStatusRequest& request);
  Result<v1::OrderState> UpdateOrderStatus(const Call& call,
                                           const v1::UpdateOrderStatusRequest& request);
  Result<v1::OrderState> CancelOrder(const Call& call, const v1::CancelOrderRequest& request);
  Result<v1::OrderTimeline> GetTimeline(const Call& call, const v1::GetTimelineRequest& request);
  Result<rpc::Stream<v1::TimelineEntry>> WatchOrder(const Call& call,
                                                    const v1::WatchOrderRequest& request);

 private:
  // What a request orders, as it was found before the transaction.
  struct ResolvedLines {
    std::vector<Line> lines;
    PricedLines priced = {};
    // The cart that the lines are from, and the user's newest order of a cart (0 without any) when
    // it was read.
    std::optional<CartState> cart = {};
    int64_t newest_cart_order = 0;
    // Instead of lines: the order that the same request has placed of the cart before.
    std::optional<v1::Order> placed_before = {};
  };

  Result<v1::Order> TryToPlace(const Call& call, const v1::CreateOrderRequest& request,
                               idempotency::Attempt& attempt);
  NewOrder MakeOrder(const Call& call, const v1::CreateOrderRequest& request,
                     const ResolvedLines& resolved) const;

  Result<ResolvedLines> ResolveLines(const Call& call, const v1::CreateOrderRequest& request);
  Result<ResolvedLines> RequestedLines(const Call& call, const v1::CreateOrderRequest& request);
  Result<ResolvedLines> CartLines(const Call& call, const v1::CreateOrderRequest& request);
  Result<PricedLines> FetchPrices(const Call& call, const std::vector<Line>& lines);

  Result<cart::v1::Cart> ReadCart(const Call& call) const;
  Result<bool> WasRestored(const Call& call, const CartOrder& placed, const CartState& cart) const;
  bool UpdateCart(const Call& call, const std::vector<CartOrder>& orders);

  Result<v1::OrderState> MoveShipment(const Call& call, int64_t id, v1::OrderStatus to);
  // Applies the request to the order, and answers the order as it is then.
  Result<LockedOrder> RequestCancel(postgres::Tx& tx, const Call& call,
                                    const v1::CancelOrderRequest& request);
  Result<v1::OrderState> CancelWithShipping(const Call& call, const v1::CancelOrderRequest& request,
                                            idempotency::Attempt& attempt);
  Result<v1::OrderState> Store(postgres::Tx& tx, const OrderFact& fact);

  postgres::Pool& db_;
  QuoteClient quotes_;
  rpc::ClientMethod<cart::v1::GetCartRequest, cart::v1::Cart> get_cart_;
  OrderedCarts carts_;
  OrderShipping shipping_;
  std::string currency_;
  Deadlines deadlines_;
  OrderLimits limits_;
  OrderGroups groups_;
  rpc::StreamHub timelines_;  // of the open streams of WatchOrder, by the orders' ids
  std::shared_ptr<const void> timeline_signals_;
};

}  // namespace shop::orders
