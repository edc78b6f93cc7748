#include "notification/notification_events.h"

#include "common/messaging/handlers.h"
#include "notification/mail_jobs.h"
#include "shop/events/v1/orders.pb.h"

namespace shop::notification {
namespace {

Result<void> OnOrderCreated(postgres::Tx& tx, const events::v1::OrderCreated& order,
                            const messaging::Envelope& event) {
  if (order.order_id() <= 0 || order.order_uuid().empty() || order.user_id() <= 0) {
    return Refusal{Code::kInvalidArgument, "the event names no order or no user"};
  }
  Insert(tx, {.order_uuid = order.order_uuid(),
              .order_id = order.order_id(),
              .kind = event.type,
              .user_id = order.user_id(),
              .event = event.value,
              .traceparent = event.trace.Header()});
  return kDone;
}

}  // namespace

messaging::Handlers EventHandlers() {
  return messaging::Handlers()
      .On<events::v1::OrderCreated>(OnOrderCreated)
      .Ignore<events::v1::OrderConfirmed, events::v1::OrderCancelled, events::v1::OrderShipped,
              events::v1::OrderDelivered, events::v1::OrderReturned>();
}

}  // namespace shop::notification
