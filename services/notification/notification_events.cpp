#include "notification/notification_events.h"

#include <algorithm>

#include "common/messaging/erasure.h"
#include "common/messaging/handlers.h"
#include "notification/mail_jobs.h"
#include "shop/events/v1/accounts.pb.h"
#include "shop/events/v1/orders.pb.h"
#include "shop/events/v1/payments.pb.h"

namespace shop::notification {
namespace {

template <typename Event>
Result<void> WriteJob(postgres::Tx& tx, const Event& order, const messaging::Envelope& event,
                      std::string kind) {
  if (order.order_id() <= 0 || order.order_uuid().empty() || order.user_id() <= 0) {
    return Refusal{Code::kInvalidArgument, "the event names no order or no user"};
  }
  Insert(tx, {.order_uuid = order.order_uuid(),
              .order_id = order.order_id(),
              .kind = std::move(kind),
              .user_id = order.user_id(),
              .event = event.value,
              .traceparent = event.trace.Header()});
  return kDone;
}

template <typename Event>
Result<void> OnChange(postgres::Tx& tx, const Event& order, const messaging::Envelope& event) {
  return WriteJob(tx, order, event, event.type);
}

// The UUID becomes a part of the Message-ID.
bool IsUuid(const std::string& text) {
  return text.size() == 36 && std::ranges::all_of(text, [](unsigned char c) {
           return std::isxdigit(c) != 0 || c == '-';
         });
}

// An order may have several refunds.
Result<void> OnRefund(postgres::Tx& tx, const events::v1::PaymentRefunded& refund,
                      const messaging::Envelope& event) {
  if (!IsUuid(refund.refund_uuid())) {
    return Refusal{Code::kInvalidArgument, "the event names no refund"};
  }
  return WriteJob(tx, refund, event, event.type + " " + refund.refund_uuid());
}

// The job is nobody's, as it is no notification, and who has the address is known when the mail is to be sent.
template <typename Event>
Result<void> AboutAccount(postgres::Tx& tx, const Event& asked, const messaging::Envelope& event) {
  if (!IsUuid(asked.request())) {
    return Refusal{Code::kInvalidArgument, "the event names no request"};
  }
  Insert(tx, {.order_uuid = asked.request(),
              .kind = event.type,
              .event = event.value,
              .traceparent = event.trace.Header()});
  return kDone;
}

}  // namespace

messaging::Handlers EventHandlers() {
  return messaging::WithErasure(
      messaging::Handlers()
          .On<events::v1::OrderCreated>(OnChange<events::v1::OrderCreated>)
          .On<events::v1::OrderConfirmed>(OnChange<events::v1::OrderConfirmed>)
          .On<events::v1::OrderCancelled>(OnChange<events::v1::OrderCancelled>)
          .On<events::v1::OrderShipped>(OnChange<events::v1::OrderShipped>)
          .On<events::v1::OrderDelivered>(OnChange<events::v1::OrderDelivered>)
          .On<events::v1::PaymentRefunded>(OnRefund)
          .On<events::v1::PasswordResetRequested>(AboutAccount<events::v1::PasswordResetRequested>)
          .On<events::v1::EmailConfirmationRequested>(
              AboutAccount<events::v1::EmailConfirmationRequested>)
          .On<events::v1::RegistrationRepeated>(AboutAccount<events::v1::RegistrationRepeated>)
          .Ignore<events::v1::OrderReturned, events::v1::PaymentCompleted,
                  events::v1::PaymentFailed>());
}

}  // namespace shop::notification
