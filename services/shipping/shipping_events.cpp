#include "shipping/shipping_events.h"

#include <type_traits>
#include <utility>
#include <vector>

#include "common/json/codec.h"
#include "common/messaging/erasure.h"
#include "common/messaging/handlers.h"
#include "common/telemetry/log.h"
#include "shipping/shipment.h"
#include "shipping/shipment_store.h"
#include "shop/events/v1/orders.pb.h"

namespace shop::shipping {
namespace {

// The shipment of the order that an event is about, for the case that there is none yet.
template <typename Event>
Result<Shipment> FreshShipment(const Event& order) {
  if (order.order_id() <= 0 || order.order_uuid().empty() || order.user_id() <= 0) {
    return Refusal{Code::kInvalidArgument, "the event names no order or no user"};
  }
  return Shipment{.order_uuid = order.order_uuid(),
                  .order_id = order.order_id(),
                  .user_id = order.user_id(),
                  .tracking_number = NewTrackingNumber()};
}

// Applies the fact to the shipments of all of the orders, and then looks at what became of each.
template <typename Event, typename Look>
Result<void> Take(postgres::Tx& tx, const std::vector<messaging::Received<Event>>& received,
                  Fact fact, const Look& look) {
  std::vector<Step> steps;
  for (const auto& [order, event] : received) {
    Result<Shipment> fresh = FreshShipment(order);
    if (!fresh) return fresh.refusal();
    if constexpr (std::is_same_v<Event, events::v1::OrderCreated>) {
      // As it was written: a newer version's may have more than this one knows.
      fresh->address = json::ObjectMember(event.value, "shippingAddress");
    }
    steps.push_back(
        {*std::move(fresh), {.source = "shipping", .trace = event.trace, .cause_id = event.id}});
  }
  const std::vector<Result<Shipment>> moved = MoveAll(tx, steps, fact);
  for (size_t i = 0; i < moved.size(); ++i) {
    Result<void> looked = look(received[i].message, moved[i]);
    if (!looked) return looked;
  }
  return kDone;
}

template <typename Event>
Result<void> IsDone(const Event&, const Result<Shipment>& moved) {
  if (!moved) return moved.refusal();
  return kDone;
}

Result<void> OnOrderCreated(
    postgres::Tx& tx, const std::vector<messaging::Received<events::v1::OrderCreated>>& received) {
  return Take(tx, received, Fact::kPlaced, IsDone<events::v1::OrderCreated>);
}

// Without a shipment it is refused, and a person has to see why ORDER_CREATED was discarded.
Result<void> OnOrderConfirmed(
    postgres::Tx& tx,
    const std::vector<messaging::Received<events::v1::OrderConfirmed>>& received) {
  return Take(tx, received, Fact::kConfirmed, IsDone<events::v1::OrderConfirmed>);
}

// Orders cancels nothing before it has asked, so a parcel that is on its way all the same goes on,
// and somebody has to look.
Result<void> OnOrderCancelled(
    postgres::Tx& tx,
    const std::vector<messaging::Received<events::v1::OrderCancelled>>& received) {
  return Take(tx, received, Fact::kCancelled,
              [](const events::v1::OrderCancelled& order, const Result<Shipment>& moved) {
                if (moved || moved.refusal().reason != "SHIPMENT_DISPATCHED") {
                  return IsDone(order, moved);
                }
                log::Error("an order was cancelled whose shipment is on its way",
                           {{"orderId", order.order_id()}});
                return Result<void>(kDone);
              });
}

}  // namespace

messaging::Handlers EventHandlers() {
  return messaging::WithErasure(messaging::Handlers()
                                    .OnBatch<events::v1::OrderCreated>(OnOrderCreated)
                                    .OnBatch<events::v1::OrderConfirmed>(OnOrderConfirmed)
                                    .OnBatch<events::v1::OrderCancelled>(OnOrderCancelled)
                                    .Ignore<events::v1::OrderShipped, events::v1::OrderDelivered,
                                            events::v1::OrderReturned>());
}

}  // namespace shop::shipping
