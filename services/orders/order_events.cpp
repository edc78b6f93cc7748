#include "orders/order_events.h"

#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/core/amount.h"
#include "common/messaging/erasure.h"
#include "common/messaging/handlers.h"
#include "common/messaging/outbox.h"
#include "common/telemetry/metrics.h"
#include "shop/events/v1/payments.pb.h"
#include "shop/events/v1/shipments.pb.h"
#include "shop/events/v1/stock.pb.h"

namespace shop::orders {
namespace {

constexpr std::chrono::seconds kCartLimit{5};

// Counted as it is decided: again when the transaction has to be.
void CountDecided(const LockedOrder& order) {
  static auto& family =
      HistogramFamily("orders_decided_seconds", "Time from an order's placing to its decision");
  static const prometheus::Histogram::BucketBoundaries buckets{0.05, 0.1, 0.25, 0.5, 1,   2.5,
                                                               5,    10,  30,   60,  300, 900};
  static auto& processing = family.Add({{"outcome", "processing"}}, buckets);
  static auto& cancelled = family.Add({{"outcome", "cancelled"}}, buckets);
  const bool is_cancelled = StatusOf(order.facts) == v1::ORDER_STATUS_CANCELLED;
  (is_cancelled ? cancelled : processing).Observe(order.age_seconds);
}

Fact FactOf(const events::v1::StockReserved&) {
  return StockDecided{StockFact::kReserved};
}

Fact FactOf(const events::v1::StockRejected& event) {
  return StockDecided{StockFact::kRejected, RejectionReason(event.shortages())};
}

Fact FactOf(const events::v1::StockReleased&) {
  return Noted{"STOCK_RELEASED"};
}

Fact FactOf(const events::v1::PaymentCompleted&) {
  return PaymentDecided{PaymentFact::kCompleted};
}

Fact FactOf(const events::v1::PaymentFailed& event) {
  const std::string& why = event.reason().empty() ? event.code() : event.reason();
  return PaymentDecided{PaymentFact::kFailed, "the payment failed: " + why};
}

Fact FactOf(const events::v1::PaymentRefunded& event) {
  return Noted{"PAYMENT_REFUNDED", AmountText(event.amount()) + " " + event.currency()};
}

Fact FactOf(const events::v1::ShipmentDispatched& event) {
  return ShipmentMoved{ShipmentFact::kDispatched, event.tracking_number()};
}

Fact FactOf(const events::v1::ShipmentDelivered&) {
  return ShipmentMoved{ShipmentFact::kDelivered};
}

template <typename Event>
void Consume(messaging::Handlers* handlers, const Deadlines& deadlines) {
  handlers->OnBatch<Event>(
      [deadlines](postgres::Tx& tx, const std::vector<messaging::Received<Event>>& received) {
        std::vector<OrderFact> facts;
        for (const auto& [event, envelope] : received) {
          facts.push_back({event.order_id(),
                           FactOf(event),
                           {.source = "orders", .trace = envelope.trace, .cause_id = envelope.id}});
        }
        return ApplyFacts(tx, facts, deadlines);
      });
}

using OrderCreatedEvent = events::v1::OrderCreated;
using OrderCancelledEvent = events::v1::OrderCancelled;
using UpdatedCarts = std::vector<int64_t>;  // the orders whose cart is updated now

bool AffectsCart(const OrderCreatedEvent& order) {
  return order.has_cart_version();
}

bool AffectsCart(const OrderCancelledEvent& order) {
  return order.from_cart() && (order.cause() == events::v1::CANCEL_CAUSE_OUT_OF_STOCK ||
                               order.cause() == events::v1::CANCEL_CAUSE_PAYMENT_FAILED);
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

events::v1::OrderCreated OrderCreated(const v1::Order& order, const std::optional<CartState>& cart,
                                      const std::string& payment_token) {
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
  event.set_payment_token(payment_token);
  event.set_seq(1);
  return event;
}

Result<void> ApplyFacts(postgres::Tx& tx, const std::vector<OrderFact>& facts,
                        const Deadlines& deadlines) {
  std::vector<int64_t> ids;
  for (const OrderFact& fact : facts) ids.push_back(fact.order_id);
  return ApplyFacts(tx, FindForUpdate(tx, ids), facts, deadlines);
}

Result<void> ApplyFacts(postgres::Tx& tx, std::map<int64_t, LockedOrder> orders,
                        const std::vector<OrderFact>& facts, const Deadlines& deadlines) {
  std::set<int64_t> changed;
  std::vector<messaging::DecidedOrder> decided;  // no longer PENDING
  std::vector<NewEntry> entries;
  std::vector<messaging::Envelope> events;
  for (const auto& [order_id, fact, context, by] : facts) {
    const auto found = orders.find(order_id);
    if (found == orders.end()) {
      return Refusal{Code::kNotFound, "there is no order " + std::to_string(order_id)};
    }
    LockedOrder& order = found->second;
    const bool pending = StatusOf(order.facts) == v1::ORDER_STATUS_PENDING;
    const Result<Transition> applied = Apply(&order, fact);
    if (!applied) return applied.refusal();
    if (!applied->changed) continue;
    changed.insert(order_id);
    if (pending && StatusOf(order.facts) != v1::ORDER_STATUS_PENDING) {
      decided.push_back({order_id, order.user_id});
      CountDecided(order);
    }
    const auto enter = [&](std::string what, std::string detail) {
      entries.push_back(
          {.order_id = order_id,
           .sequence = ++order.entries,
           .what = std::move(what),
           .status = StatusOf(order.facts),
           .cause = context.cause_id.empty() ? std::string(FactText(by)) : context.cause_id,
           .trace_id = context.trace.trace_id,
           .detail = std::move(detail)});
    };
    enter(NameOf(fact), DetailOf(fact));
    for (const auto& event : applied->events) {
      events.push_back(messaging::MakeEvent(*event, context));
      enter(events.back().type, "");
    }
  }
  std::vector<LockedOrder> stored;
  for (const int64_t id : changed) stored.push_back(orders.at(id));
  Update(tx, stored, entries, deadlines);
  messaging::Publish(tx, events);
  messaging::ForgetTokens(tx, "ORDER_CREATED", decided);
  return kDone;
}

messaging::Handlers EventHandlers(const Deadlines& deadlines) {
  messaging::Handlers handlers;
  Consume<events::v1::StockReserved>(&handlers, deadlines);
  Consume<events::v1::StockRejected>(&handlers, deadlines);
  Consume<events::v1::StockReleased>(&handlers, deadlines);
  Consume<events::v1::PaymentCompleted>(&handlers, deadlines);
  Consume<events::v1::PaymentFailed>(&handlers, deadlines);
  Consume<events::v1::PaymentRefunded>(&handlers, deadlines);
  Consume<events::v1::ShipmentDispatched>(&handlers, deadlines);
  Consume<events::v1::ShipmentDelivered>(&handlers, deadlines);
  handlers.Ignore<events::v1::ShipmentCreated, events::v1::ShipmentCancelled>();
  return messaging::WithErasure(std::move(handlers));
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
