#include "payments/payment_events.h"

#include <absl/strings/ascii.h>

#include <optional>
#include <utility>
#include <vector>

#include "common/messaging/erasure.h"
#include "common/messaging/handlers.h"
#include "common/telemetry/log.h"
#include "payments/payment_store.h"
#include "shop/events/v1/orders.pb.h"
#include "shop/events/v1/stock.pb.h"

namespace shop::payments {
namespace {

using events::v1::OrderCancelled;
using events::v1::OrderReturned;
using events::v1::StockReserved;

template <typename Event>
Order OrderOf(const Event& event) {
  return {absl::AsciiStrToLower(event.order_uuid()), event.order_id(), event.user_id(),
          event.order_number()};
}

template <typename Event>
Result<void> CheckOrder(const Event& event) {
  if (event.order_id() > 0 && IsUuid(event.order_uuid()) && event.user_id() > 0) return kDone;
  return Refusal{Code::kInvalidArgument, "the event names no order or no user"};
}

Result<void> Check(const StockReserved& stock) {
  const Result<void> order = CheckOrder(stock);
  if (!order) return order;
  if (stock.total_price() < 0 || stock.currency().empty()) {
    return Refusal{Code::kInvalidArgument, "the event names no amount"};
  }
  return kDone;
}

Result<void> Check(const OrderCancelled& order) {
  return CheckOrder(order);
}

Result<void> Check(const OrderReturned& order) {
  const Result<void> named = CheckOrder(order);
  if (!named) return named;
  if (order.return_uuid().empty()) {
    return Refusal{Code::kInvalidArgument, "the event names no return"};
  }
  return kDone;
}

// Nothing for an event that is about no payment.
std::optional<Fact> FactOf(const StockReserved& stock) {
  if (stock.items().empty()) {
    log::Info("an order of a release that charged nothing is not charged",
              {{"orderId", stock.order_id()}});
    return std::nullopt;
  }
  return Wanted{.order = OrderOf(stock),
                .amount = stock.total_price(),
                .currency = stock.currency(),
                .method = stock.payment_method(),
                .token = stock.payment_token(),
                .items = {stock.items().begin(), stock.items().end()}};
}

std::optional<Fact> FactOf(const OrderCancelled& order) {
  return Cancelled{OrderOf(order)};
}

std::optional<Fact> FactOf(const OrderReturned& order) {
  Returned returned{.return_uuid = order.return_uuid(), .items = {}};
  for (const orders::v1::OrderItem& item : order.items()) {
    returned.items.push_back({item.product_id(), item.quantity()});
  }
  return returned;
}

template <typename Event>
Result<void> TakeInAll(postgres::Tx& tx, const std::vector<messaging::Received<Event>>& received) {
  std::vector<Heard> heard;
  for (const auto& [event, envelope] : received) {
    const Result<void> checked = Check(event);
    if (!checked) return checked;
    std::optional<Fact> fact = FactOf(event);
    if (fact) heard.push_back({OrderOf(event), *std::move(fact), envelope.trace.Header()});
  }
  const Result<std::vector<int64_t>> unknown = TakeIn(tx, heard);
  if (!unknown) return unknown.refusal();
  for (const int64_t order_id : *unknown) {
    // Delivered by an earlier release, which charged nothing.
    log::Info("an order was returned that was never paid", {{"orderId", order_id}});
  }
  return kDone;
}

}  // namespace

messaging::Handlers EventHandlers() {
  return messaging::WithErasure(
      messaging::Handlers()
          .OnBatch<StockReserved>(TakeInAll<StockReserved>)
          .OnBatch<OrderCancelled>(TakeInAll<OrderCancelled>)
          .OnBatch<OrderReturned>(TakeInAll<OrderReturned>)
          .Ignore<events::v1::StockRejected, events::v1::StockReleased, events::v1::OrderCreated,
                  events::v1::OrderConfirmed, events::v1::OrderShipped,
                  events::v1::OrderDelivered>());
}

}  // namespace shop::payments
