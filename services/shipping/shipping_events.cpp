#include "shipping/shipping_events.h"

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

template <typename Event>
Result<void> Take(postgres::Tx& tx, const Event& order, Fact fact,
                  const messaging::Envelope& event) {
  Result<Shipment> fresh = FreshShipment(order);
  if (!fresh) return fresh.refusal();
  // As it was written: a newer version's may have more than this one knows. Of ORDER_CREATED alone.
  fresh->address = json::ObjectMember(event.value, "shippingAddress");
  const Result<Shipment> moved =
      Move(tx, *fresh, fact, {.source = "shipping", .trace = event.trace, .cause_id = event.id});
  if (!moved) return moved.refusal();
  return kDone;
}

Result<void> OnOrderCreated(postgres::Tx& tx, const events::v1::OrderCreated& order,
                            const messaging::Envelope& event) {
  return Take(tx, order, Fact::kPlaced, event);
}

// Without a shipment it is refused, and a person has to see why ORDER_CREATED was discarded.
Result<void> OnOrderConfirmed(postgres::Tx& tx, const events::v1::OrderConfirmed& order,
                              const messaging::Envelope& event) {
  return Take(tx, order, Fact::kConfirmed, event);
}

// Orders cancels nothing before it has asked, so a parcel that is on its way all the same goes on,
// and somebody has to look.
Result<void> OnOrderCancelled(postgres::Tx& tx, const events::v1::OrderCancelled& order,
                              const messaging::Envelope& event) {
  const Result<void> taken = Take(tx, order, Fact::kCancelled, event);
  if (taken || taken.refusal().reason != "SHIPMENT_DISPATCHED") return taken;
  log::Error("an order was cancelled whose shipment is on its way",
             {{"orderId", order.order_id()}});
  return kDone;
}

}  // namespace

messaging::Handlers EventHandlers() {
  return messaging::WithErasure(messaging::Handlers()
                                    .On<events::v1::OrderCreated>(OnOrderCreated)
                                    .On<events::v1::OrderConfirmed>(OnOrderConfirmed)
                                    .On<events::v1::OrderCancelled>(OnOrderCancelled)
                                    .Ignore<events::v1::OrderShipped, events::v1::OrderDelivered,
                                            events::v1::OrderReturned>());
}

}  // namespace shop::shipping
