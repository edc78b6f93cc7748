#include "payments/payment_events.h"

#include <utility>

#include "common/messaging/erasure.h"
#include "common/messaging/handlers.h"
#include "common/telemetry/log.h"
#include "payments/payment_store.h"
#include "shop/events/v1/orders.pb.h"
#include "shop/events/v1/stock.pb.h"

namespace shop::payments {
namespace {

template <typename Event>
Order OrderOf(const Event& event) {
  return {event.order_uuid(), event.order_id(), event.user_id(), event.order_number()};
}

template <typename Event>
bool NamesOrder(const Event& event) {
  return event.order_id() > 0 && !event.order_uuid().empty() && event.user_id() > 0;
}

Refusal NoOrder() {
  return {Code::kInvalidArgument, "the event names no order or no user"};
}

void TakeIn(postgres::Tx& tx, StoredPayment stored, const Fact& fact) {
  const Step step = Apply(&stored.payment, fact);
  if (!step.changed) return;
  stored.failures = 0;
  Save(tx, stored, step.events, {Schedule::Kind::kNews});
}

Result<void> OnStockReserved(postgres::Tx& tx, const events::v1::StockReserved& stock,
                             const messaging::Envelope& event) {
  if (!NamesOrder(stock)) return NoOrder();
  if (stock.total_price() < 0 || stock.currency().empty()) {
    return Refusal{Code::kInvalidArgument, "the event names no amount"};
  }
  if (stock.items().empty()) {
    log::Info("an order of a release that charged nothing is not charged",
              {{"orderId", stock.order_id()}});
    return kDone;
  }
  TakeIn(tx, LockOrCreate(tx, OrderOf(stock), event.trace.Header()),
         Wanted{.order = OrderOf(stock),
                .amount = stock.total_price(),
                .currency = stock.currency(),
                .method = stock.payment_method(),
                .token = stock.payment_token(),
                .items = {stock.items().begin(), stock.items().end()}});
  return kDone;
}

Result<void> OnOrderCancelled(postgres::Tx& tx, const events::v1::OrderCancelled& order,
                              const messaging::Envelope& event) {
  if (!NamesOrder(order)) return NoOrder();
  TakeIn(tx, LockOrCreate(tx, OrderOf(order), event.trace.Header()), Cancelled{OrderOf(order)});
  return kDone;
}

Result<void> OnOrderReturned(postgres::Tx& tx, const events::v1::OrderReturned& order,
                             const messaging::Envelope&) {
  if (!NamesOrder(order)) return NoOrder();
  if (order.return_uuid().empty()) {
    return Refusal{Code::kInvalidArgument, "the event names no return"};
  }
  std::optional<StoredPayment> stored = Lock(tx, order.order_uuid());
  if (!stored) {
    // Delivered by an earlier release, which charged nothing.
    log::Info("an order was returned that was never paid", {{"orderId", order.order_id()}});
    return kDone;
  }
  Returned returned{.return_uuid = order.return_uuid(), .items = {}};
  for (const orders::v1::OrderItem& item : order.items()) {
    returned.items.push_back({item.product_id(), item.quantity()});
  }
  TakeIn(tx, *std::move(stored), returned);
  return kDone;
}

}  // namespace

messaging::Handlers EventHandlers() {
  return messaging::WithErasure(
      messaging::Handlers()
          .On<events::v1::StockReserved>(OnStockReserved)
          .On<events::v1::OrderCancelled>(OnOrderCancelled)
          .On<events::v1::OrderReturned>(OnOrderReturned)
          .Ignore<events::v1::StockRejected, events::v1::StockReleased, events::v1::OrderCreated,
                  events::v1::OrderConfirmed, events::v1::OrderShipped,
                  events::v1::OrderDelivered>());
}

}  // namespace shop::payments
