#include "shipping/shipping_events.h"

#include "common/json/codec.h"
#include "common/messaging/handlers.h"
#include "common/telemetry/log.h"
#include "shipping/shipment.h"
#include "shipping/shipment_store.h"
#include "shop/events/v1/orders.pb.h"

namespace shop::shipping {
namespace {

Result<void> OnOrderCreated(postgres::Tx& tx, const events::v1::OrderCreated& order,
                            const messaging::Envelope& event) {
  // The address as it was written: a newer version's may have more than this one knows.
  const Result<NewShipment> shipment =
      MakeShipment(order, json::ObjectMember(event.value, "shippingAddress"));
  if (!shipment) return shipment.refusal();
  if (!InsertOnce(tx, *shipment)) {
    log::Info("the order has a shipment already", {{"orderId", order.order_id()}});
  }
  return kDone;
}

}  // namespace

messaging::Handlers EventHandlers() {
  return messaging::Handlers()
      .On<events::v1::OrderCreated>(OnOrderCreated)
      .Ignore<events::v1::OrderConfirmed, events::v1::OrderCancelled, events::v1::OrderShipped,
              events::v1::OrderDelivered, events::v1::OrderReturned>();
}

}  // namespace shop::shipping
