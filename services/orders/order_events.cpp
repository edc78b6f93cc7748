#include "orders/order_events.h"

#include "shop/events/v1/stock.pb.h"

namespace shop::orders {
namespace {

template <typename News>
News About(const Standing& order) {
  News news;
  news.set_order_id(order.id);
  news.set_order_uuid(order.uuid);
  news.set_user_id(order.user_id);
  return news;
}

// The order a fact of stock is about, locked; nothing when stock's word is known already.
Result<std::optional<Standing>> AwaitingStock(postgres::Tx& tx, int64_t order_id) {
  std::optional<Standing> order = FindForUpdate(tx, order_id);
  if (!order) {
    return Refusal{Code::kNotFound, "there is no order " + std::to_string(order_id)};
  }
  if (order->facts.stock != StockFact::kNone) order.reset();
  return order;
}

Result<void> OnStockReserved(postgres::Tx& tx, const events::v1::StockReserved& event,
                             const kafka::Event& envelope) {
  Result<std::optional<Standing>> order = AwaitingStock(tx, event.order_id());
  if (!order) return order.refusal();
  if (!order->has_value()) return kDone;

  (*order)->facts.stock = StockFact::kReserved;
  Update(tx, **order, "");
  kafka::Announce(tx, About<events::v1::OrderConfirmed>(**order),
                  EventOrigin(envelope.trace, envelope.id));
  return kDone;
}

Result<void> OnStockRejected(postgres::Tx& tx, const events::v1::StockRejected& event,
                             const kafka::Event& envelope) {
  Result<std::optional<Standing>> order = AwaitingStock(tx, event.order_id());
  if (!order) return order.refusal();
  if (!order->has_value()) return kDone;

  (*order)->facts.stock = StockFact::kRejected;
  auto cancelled = About<events::v1::OrderCancelled>(**order);
  cancelled.set_reason(RejectionReason(event.shortages()));
  Update(tx, **order, cancelled.reason());
  kafka::Announce(tx, cancelled, EventOrigin(envelope.trace, envelope.id));
  return kDone;
}

}  // namespace

events::v1::OrderCreated OrderCreated(const v1::Order& order, std::optional<int64_t> cart_version) {
  events::v1::OrderCreated event;
  event.set_order_id(order.id());
  event.set_order_uuid(order.uuid());
  event.set_user_id(order.user_id());
  event.set_total_price(order.total_price());
  event.set_currency(order.currency());
  *event.mutable_items() = order.items();
  event.set_payment_method(order.payment_method());
  if (order.has_shipping_address()) *event.mutable_shipping_address() = order.shipping_address();
  if (cart_version) event.set_cart_version(*cart_version);
  return event;
}

kafka::Origin EventOrigin(const TraceContext& trace, const std::string& cause_id) {
  return {.source = "orders", .trace = trace, .cause_id = cause_id};
}

kafka::Handlers EventHandlers() {
  return kafka::Handlers()
      .On<events::v1::StockReserved>(OnStockReserved)
      .On<events::v1::StockRejected>(OnStockRejected);
}

}  // namespace shop::orders
