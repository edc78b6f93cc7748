#include "orders/order_events.h"

#include <map>
#include <set>
#include <stdexcept>
#include <vector>

#include "common/messaging/handlers.h"
#include "common/messaging/outbox.h"
#include "shop/events/v1/stock.pb.h"

namespace shop::orders {
namespace {

constexpr std::chrono::seconds kCartLimit{5};

template <typename News>
News About(const LockedOrder& order) {
  News news;
  news.set_order_id(order.id);
  news.set_order_uuid(order.uuid);
  news.set_user_id(order.user_id);
  news.set_order_number(OrderNumber(order.id));
  return news;
}

events::v1::OrderCancelled Cancelled(const LockedOrder& order) {
  auto event = About<events::v1::OrderCancelled>(order);
  event.set_reason(order.reason);
  event.set_cause(IsRejected(order.facts) ? events::v1::CANCEL_CAUSE_OUT_OF_STOCK
                                          : events::v1::CANCEL_CAUSE_BY_HAND);
  event.set_from_cart(order.from_cart);
  return event;
}

void Settle(LockedOrder* order, const events::v1::StockReserved&) {
  order->facts.stock = StockFact::kReserved;
}

void Settle(LockedOrder* order, const events::v1::StockRejected& event) {
  order->facts.stock = StockFact::kRejected;
  // An order that was cancelled meanwhile keeps that reason.
  if (order->reason.empty()) order->reason = RejectionReason(event.shortages());
}

// Stock's word on orders. The first one stands. An order that was cancelled meanwhile stays so:
// stock hears of that and releases.
template <typename Fact>
Result<void> OnStockDecided(postgres::Tx& tx,
                            const std::vector<messaging::Received<Fact>>& received) {
  std::vector<int64_t> ids;
  for (const auto& [fact, event] : received) ids.push_back(fact.order_id());
  std::map<int64_t, LockedOrder> orders = FindForUpdate(tx, ids);

  std::vector<LockedOrder> changed;
  std::vector<messaging::Envelope> published;
  for (const auto& [fact, event] : received) {
    const auto found = orders.find(fact.order_id());
    if (found == orders.end()) {
      return Refusal{Code::kNotFound, "there is no order " + std::to_string(fact.order_id())};
    }
    LockedOrder& order = found->second;
    if (order.facts.stock != StockFact::kNone) continue;
    const v1::OrderStatus before = StatusOf(order.facts);
    Settle(&order, fact);
    changed.push_back(order);
    if (StatusOf(order.facts) == before) continue;
    const messaging::EventContext origin = EventOrigin(event.trace, event.id);
    published.push_back(order.facts.stock == StockFact::kReserved
                            ? messaging::MakeEvent(About<events::v1::OrderConfirmed>(order), origin)
                            : messaging::MakeEvent(Cancelled(order), origin));
  }
  Update(tx, changed);
  messaging::Publish(tx, published);
  return kDone;
}

using OrderCreatedEvent = events::v1::OrderCreated;
using OrderCancelledEvent = events::v1::OrderCancelled;
using CartsTold = std::vector<int64_t>;  // the orders whose cart knows of them now

bool ConcernsCart(const OrderCreatedEvent& order) {
  return order.has_cart_version();
}

bool ConcernsCart(const OrderCancelledEvent& order) {
  return order.from_cart() && order.cause() == events::v1::CANCEL_CAUSE_OUT_OF_STOCK;
}

// Tells the cart of each order that concerns one and is not in `known`, outside of any transaction.
template <typename Event, typename Tell>
Result<CartsTold> TellCarts(const std::vector<messaging::Received<Event>>& consumed,
                            const Tell& tell, const std::set<int64_t>& known = {}) {
  CartsTold told;
  for (const auto& [order, envelope] : consumed) {
    if (!ConcernsCart(order) || known.contains(order.order_id())) continue;
    const Result<void> done = tell(order, rpc::BackgroundCall(envelope.trace, kCartLimit));
    if (!done) return done.refusal();
    told.push_back(order.order_id());
  }
  return told;
}

// The orders whose lines the cart need not take out any more. A cart remembers only its last orders:
// for one that it has forgotten it would take out what was added since.
std::set<int64_t> KnownToCarts(
    postgres::Pool& db, const std::vector<messaging::Received<OrderCreatedEvent>>& consumed) {
  std::vector<int64_t> ids;
  for (const auto& [order, envelope] : consumed) {
    if (ConcernsCart(order)) ids.push_back(order.order_id());
  }
  if (ids.empty()) return {};
  return postgres::Read(db, [&](postgres::Tx& tx) { return SettledCarts(tx, ids); });
}

template <typename Event>
Result<void> RememberTold(postgres::Tx& tx, const std::vector<messaging::Received<Event>>&,
                          const CartsTold& told) {
  if (!told.empty()) SettleCart(tx, told);
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
  event.set_order_number(order.number());
  return event;
}

void PublishMove(postgres::Tx& tx, const LockedOrder& order,
                 const messaging::EventContext& origin) {
  switch (StatusOf(order.facts)) {
    case v1::ORDER_STATUS_SHIPPED:
      return messaging::Publish(tx, About<events::v1::OrderShipped>(order), origin);
    case v1::ORDER_STATUS_DELIVERED:
      return messaging::Publish(tx, About<events::v1::OrderDelivered>(order), origin);
    case v1::ORDER_STATUS_CANCELLED:
      return messaging::Publish(tx, Cancelled(order), origin);
    default:
      throw std::logic_error("no event tells a move by hand to " +
                             StatusText(StatusOf(order.facts)));
  }
}

messaging::EventContext EventOrigin(const TraceContext& trace, const std::string& cause_id) {
  return {.source = "orders", .trace = trace, .cause_id = cause_id};
}

messaging::Handlers EventHandlers() {
  return messaging::Handlers()
      .OnBatch<events::v1::StockReserved>(OnStockDecided<events::v1::StockReserved>)
      .OnBatch<events::v1::StockRejected>(OnStockDecided<events::v1::StockRejected>)
      .Ignore("STOCK_RELEASED");
}

messaging::Handlers CartHandlers(const rpc::Channel& cart, postgres::Pool& db) {
  const OrderedCarts carts(cart);
  return messaging::Handlers()
      .OnAsked<OrderCreatedEvent, CartsTold>(
          [carts, &db](const auto& consumed) {
            const auto take_out = [&](const OrderCreatedEvent& order, const Call& call) {
              return carts.TakeOut(call, order.user_id(), order.cart_version(), order.order_uuid(),
                                   order.items());
            };
            return TellCarts(consumed, take_out, KnownToCarts(db, consumed));
          },
          RememberTold<OrderCreatedEvent>)
      .OnAsked<OrderCancelledEvent, CartsTold>(
          [carts](const auto& consumed) {
            return TellCarts(consumed, [&](const OrderCancelledEvent& order, const Call& call) {
              return carts.PutBack(call, order.user_id(), order.order_uuid());
            });
          },
          RememberTold<OrderCancelledEvent>)
      .Ignore("ORDER_CONFIRMED")
      .Ignore("ORDER_SHIPPED")
      .Ignore("ORDER_DELIVERED");
}

}  // namespace shop::orders
