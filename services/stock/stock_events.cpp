#include "stock/stock_events.h"

#include <map>
#include <string>
#include <vector>

#include "shop/events/v1/orders.pb.h"
#include "shop/events/v1/stock.pb.h"
#include "shop/products/v1/products.pb.h"

namespace shop::stock {
namespace {

using events::v1::OrderCancelled;
using events::v1::OrderCreated;
using products::v1::BatchReserveStockRequest;
using products::v1::BatchReserveStockResponse;
using products::v1::ReleaseStockRequest;
using products::v1::ReleaseStockResponse;
using products::v1::ReserveStockRequest;
using products::v1::ReserveStockResponse;
using Reserve = rpc::Remote<BatchReserveStockRequest, BatchReserveStockResponse>;
using Release = rpc::Remote<ReleaseStockRequest, ReleaseStockResponse>;

constexpr std::chrono::seconds kCallLimit{5};

ReserveStockRequest ReservationOf(const OrderCreated& order) {
  ReserveStockRequest request;
  request.set_order_uuid(order.order_uuid());
  request.set_order_id(order.order_id());
  for (const orders::v1::OrderItem& item : order.items()) {
    products::v1::ReserveLine* line = request.add_items();
    line->set_product_id(item.product_id());
    line->set_quantity(item.quantity());
  }
  return request;
}

events::v1::StockReserved Reserved(const OrderCreated& order) {
  events::v1::StockReserved event;
  event.set_order_id(order.order_id());
  event.set_order_uuid(order.order_uuid());
  event.set_user_id(order.user_id());
  event.set_total_price(order.total_price());
  event.set_currency(order.currency());
  event.set_payment_method(order.payment_method());
  return event;
}

events::v1::StockRejected Rejected(const OrderCreated& order, const ReserveStockResponse& answer) {
  events::v1::StockRejected event;
  event.set_order_id(order.order_id());
  event.set_order_uuid(order.order_uuid());
  event.set_user_id(order.user_id());
  *event.mutable_shortages() = answer.shortages();
  return event;
}

// Reserves for all of the orders by one call.
Result<void> OnOrdersCreated(const Reserve& reserve, postgres::Tx& tx,
                             const std::vector<kafka::Heard<OrderCreated>>& heard) {
  BatchReserveStockRequest request;
  std::map<std::string, int> places;  // of each order's UUID in the request
  for (const auto& [order, event] : heard) {
    const auto [place, fresh] = places.emplace(order.order_uuid(), request.requests_size());
    if (fresh) *request.add_requests() = ReservationOf(order);
  }
  const Result<BatchReserveStockResponse> answers =
      reserve(rpc::BackgroundCall(heard.front().event.trace, kCallLimit), request);
  if (!answers) return answers.refusal();
  if (answers->responses_size() != request.requests_size()) {
    return Refusal{Code::kInternal, "products answered for other orders than were asked for"};
  }

  std::vector<kafka::Event> announced;
  for (const auto& [order, event] : heard) {
    const ReserveStockResponse& answer = answers->responses(places.at(order.order_uuid()));
    const kafka::Origin origin{.source = "stock", .trace = event.trace, .cause_id = event.id};
    announced.push_back(answer.reserved() ? kafka::Compose(Reserved(order), origin)
                                          : kafka::Compose(Rejected(order, answer), origin));
  }
  kafka::Announce(tx, announced);
  return kDone;
}

Result<void> OnOrderCancelled(const Release& release, postgres::Tx& tx, const OrderCancelled& order,
                              const kafka::Event& envelope) {
  ReleaseStockRequest request;
  request.set_order_uuid(order.order_uuid());
  request.set_order_id(order.order_id());
  const Result<ReleaseStockResponse> answer =
      release(rpc::BackgroundCall(envelope.trace, kCallLimit), request);
  if (!answer) return answer.refusal();
  if (answer->released()) {
    events::v1::StockReleased event;
    event.set_order_id(order.order_id());
    event.set_order_uuid(order.order_uuid());
    event.set_user_id(order.user_id());
    kafka::Announce(tx, event,
                    {.source = "stock", .trace = envelope.trace, .cause_id = envelope.id});
  }
  return kDone;
}

}  // namespace

kafka::Handlers EventHandlers(const rpc::Channel& products) {
  const Reserve reserve(products, "shop.products.v1.ProductsService", "BatchReserveStock");
  const Release release(products, "shop.products.v1.ProductsService", "ReleaseStock");
  return kafka::Handlers()
      .OnSeveral<OrderCreated>(
          [reserve](postgres::Tx& tx, const std::vector<kafka::Heard<OrderCreated>>& heard) {
            return OnOrdersCreated(reserve, tx, heard);
          })
      .On<OrderCancelled>(
          [release](postgres::Tx& tx, const OrderCancelled& order, const kafka::Event& envelope) {
            return OnOrderCancelled(release, tx, order, envelope);
          })
      // An order that goes on keeps what it holds.
      .Ignore("ORDER_CONFIRMED")
      .Ignore("ORDER_SHIPPED")
      .Ignore("ORDER_DELIVERED");
}

}  // namespace shop::stock
