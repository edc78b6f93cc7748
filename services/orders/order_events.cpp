#include "orders/order_events.h"

#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/messaging/handlers.h"
#include "common/messaging/outbox.h"
#include "shop/events/v1/stock.pb.h"

namespace shop::orders {
namespace {

constexpr std::chrono::seconds kCartLimit{5};

Fact FactOf(const events::v1::StockReserved&) {
  return StockDecided{StockFact::kReserved};
}

Fact FactOf(const events::v1::StockRejected& event) {
  return StockDecided{StockFact::kRejected, RejectionReason(event.shortages())};
}

template <typename Event>
Result<void> OnFacts(postgres::Tx& tx, const std::vector<messaging::Received<Event>>& received) {
  std::vector<OrderFact> facts;
  for (const auto& [event, envelope] : received) {
    facts.push_back({event.order_id(),
                     FactOf(event),
                     {.source = "orders", .trace = envelope.trace, .cause_id = envelope.id}});
  }
  return ApplyFacts(tx, facts);
}

using OrderCreatedEvent = events::v1::OrderCreated;
using OrderCancelledEvent = events::v1::OrderCancelled;
using UpdatedCarts = std::vector<int64_t>;  // the orders whose cart is updated now

bool AffectsCart(const OrderCreatedEvent& order) {
  return order.has_cart_version();
}

bool AffectsCart(const OrderCancelledEvent& order) {
  return order.from_cart() && order.cause() == events::v1::CANCEL_CAUSE_OUT_OF_STOCK;
}

// Calls cart for each order that affects one and is not in `updated_before`, outside of any
// transaction.
template <typename Event, typename Update>
Result<UpdatedCarts> UpdateCarts(const std::vector<messaging::Received<Event>>& received,
                                 const Update& update,
                                 const std::set<int64_t>& updated_before = {}) {
  UpdatedCarts updated;
  for (const auto& [order, envelope] : received) {
    if (!AffectsCart(order) || updated_before.contains(order.order_id())) continue;
    const Result<void> done = update(order, rpc::BackgroundCall(envelope.trace, kCartLimit));
    if (!done) return done.refusal();
    updated.push_back(order.order_id());
  }
  return updated;
}

// The orders whose lines were removed from the cart before. A cart remembers only its last orders:
// for one that it has forgotten it would remove what was added since.
std::set<int64_t> UpdatedBefore(
    postgres::Pool& db, const std::vector<messaging::Received<OrderCreatedEvent>>& received) {
  std::vector<int64_t> ids;
  for (const auto& [order, envelope] : received) {
    if (AffectsCart(order)) ids.push_back(order.order_id());
  }
  if (ids.empty()) return {};
  return postgres::Read(db, [&](postgres::Tx& tx) { return FindCartUpdated(tx, ids); });
}

template <typename Event>
Result<void> RecordUpdates(postgres::Tx& tx, const std::vector<messaging::Received<Event>>&,
                           const UpdatedCarts& updated) {
  if (!updated.empty()) MarkCartUpdated(tx, updated);
  return kDone;
}

}  // namespace

events::v1::OrderCreated OrderCreated(const v1::Order& order,
                                      const std::optional<CartState>& cart) {
  events::v1::OrderCreated event;
  event.set_order_id(order.id());
  event.set_order_uuid(order.uuid());
  event.set_user_id(order.user_id());
  event.set_total_price(order.total_price());
  event.set_currency(order.currency());
  *event.mutable_items() = order.items();
  event.set_payment_method(order.payment_method());
  if (order.has_shipping_address()) *event.mutable_shipping_address() = order.shipping_address();
  if (cart) event.set_cart_version(cart->version);
  event.set_order_number(order.number());
  return event;
}

Result<void> ApplyFacts(postgres::Tx& tx, const std::vector<OrderFact>& facts) {
  std::vector<int64_t> ids;
  for (const OrderFact& fact : facts) ids.push_back(fact.order_id);
  std::map<int64_t, LockedOrder> orders = FindForUpdate(tx, ids);

  std::set<int64_t> changed;
  std::vector<messaging::Envelope> events;
  for (const auto& [order_id, fact, context] : facts) {
    const auto order = orders.find(order_id);
    if (order == orders.end()) {
      return Refusal{Code::kNotFound, "there is no order " + std::to_string(order_id)};
    }
    const Result<Transition> applied = Apply(&order->second, fact);
    if (!applied) return applied.refusal();
    if (applied->changed) changed.insert(order_id);
    if (applied->event) events.push_back(messaging::MakeEvent(*applied->event, context));
  }
  std::vector<LockedOrder> stored;
  for (const int64_t id : changed) stored.push_back(orders.at(id));
  Update(tx, stored);
  messaging::Publish(tx, events);
  return kDone;
}

messaging::Handlers EventHandlers() {
  return messaging::Handlers()
      .OnBatch<events::v1::StockReserved>(OnFacts<events::v1::StockReserved>)
      .OnBatch<events::v1::StockRejected>(OnFacts<events::v1::StockRejected>)
      .Ignore<events::v1::StockReleased>();
}

messaging::Handlers CartHandlers(const rpc::Channel& cart, postgres::Pool& db) {
  const OrderedCarts carts(cart);
  return messaging::Handlers()
      .OnAsked<OrderCreatedEvent, UpdatedCarts>(
          [carts, &db](const auto& received) {
            const auto remove = [&](const OrderCreatedEvent& order, const Call& call) {
              return carts.RemoveItems(call, order.user_id(), order.cart_version(),
                                       order.order_uuid(), order.items());
            };
            return UpdateCarts(received, remove, UpdatedBefore(db, received));
          },
          RecordUpdates<OrderCreatedEvent>)
      .OnAsked<OrderCancelledEvent, UpdatedCarts>(
          [carts](const auto& received) {
            return UpdateCarts(received, [&](const OrderCancelledEvent& order, const Call& call) {
              return carts.PutBackItems(call, order.user_id(), order.order_uuid());
            });
          },
          RecordUpdates<OrderCancelledEvent>)
      .Ignore<events::v1::OrderConfirmed, events::v1::OrderShipped, events::v1::OrderDelivered,
              events::v1::OrderReturned>();
}

}  // namespace shop::orders
