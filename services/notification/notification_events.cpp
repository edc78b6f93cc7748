#include "notification/notification_events.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "common/messaging/erasure.h"
#include "common/messaging/handlers.h"
#include "notification/mail_jobs.h"
#include "shop/events/v1/accounts.pb.h"
#include "shop/events/v1/orders.pb.h"
#include "shop/events/v1/payments.pb.h"

namespace shop::notification {
namespace {

template <typename Event>
using Several = std::vector<messaging::Received<Event>>;

// The UUID becomes a part of the Message-ID.
bool IsUuid(const std::string& text) {
  return text.size() == 36 && std::ranges::all_of(text, [](unsigned char c) {
           return std::isxdigit(c) != 0 || c == '-';
         });
}

// One job for each of the events; `job_of` refuses those that it cannot read.
template <typename Event, typename JobOf>
Result<void> WriteJobs(postgres::Tx& tx, const Several<Event>& received, const JobOf& job_of) {
  std::vector<NewMailJob> jobs;
  for (const auto& [message, event] : received) {
    Result<NewMailJob> job = job_of(message, event);
    if (!job) return job.refusal();
    jobs.push_back(*std::move(job));
  }
  Insert(tx, jobs);
  return kDone;
}

template <typename Event>
Result<NewMailJob> AboutOrder(const Event& order, const messaging::Envelope& event) {
  if (order.order_id() <= 0 || order.order_uuid().empty() || order.user_id() <= 0) {
    return Refusal{Code::kInvalidArgument, "the event names no order or no user"};
  }
  return NewMailJob{.order_uuid = order.order_uuid(),
                    .order_id = order.order_id(),
                    .kind = event.type,
                    .user_id = order.user_id(),
                    .event = event.value,
                    .traceparent = event.trace.Header()};
}

template <typename Event>
Result<void> OnChanges(postgres::Tx& tx, const Several<Event>& received) {
  return WriteJobs(tx, received, AboutOrder<Event>);
}

// An order may have several refunds.
Result<void> OnRefunds(postgres::Tx& tx, const Several<events::v1::PaymentRefunded>& received) {
  return WriteJobs(tx, received,
                   [](const events::v1::PaymentRefunded& refund,
                      const messaging::Envelope& event) -> Result<NewMailJob> {
                     if (!IsUuid(refund.refund_uuid())) {
                       return Refusal{Code::kInvalidArgument, "the event names no refund"};
                     }
                     Result<NewMailJob> job = AboutOrder(refund, event);
                     if (job) job->kind += " " + refund.refund_uuid();
                     return job;
                   });
}

// The job is nobody's, as it is no notification, and who has the address is known when the mail is to be sent.
template <typename Event>
Result<void> AboutAccounts(postgres::Tx& tx, const Several<Event>& received) {
  return WriteJobs(tx, received,
                   [](const Event& asked, const messaging::Envelope& event) -> Result<NewMailJob> {
                     if (!IsUuid(asked.request())) {
                       return Refusal{Code::kInvalidArgument, "the event names no request"};
                     }
                     return NewMailJob{.order_uuid = asked.request(),
                                       .kind = event.type,
                                       .event = event.value,
                                       .traceparent = event.trace.Header()};
                   });
}

}  // namespace

messaging::Handlers EventHandlers() {
  return messaging::WithErasure(
      messaging::Handlers()
          .OnBatch<events::v1::OrderCreated>(OnChanges<events::v1::OrderCreated>)
          .OnBatch<events::v1::OrderConfirmed>(OnChanges<events::v1::OrderConfirmed>)
          .OnBatch<events::v1::OrderCancelled>(OnChanges<events::v1::OrderCancelled>)
          .OnBatch<events::v1::OrderShipped>(OnChanges<events::v1::OrderShipped>)
          .OnBatch<events::v1::OrderDelivered>(OnChanges<events::v1::OrderDelivered>)
          .OnBatch<events::v1::PaymentRefunded>(OnRefunds)
          .OnBatch<events::v1::PasswordResetRequested>(
              AboutAccounts<events::v1::PasswordResetRequested>)
          .OnBatch<events::v1::EmailConfirmationRequested>(
              AboutAccounts<events::v1::EmailConfirmationRequested>)
          .OnBatch<events::v1::RegistrationRepeated>(
              AboutAccounts<events::v1::RegistrationRepeated>)
          .Ignore<events::v1::OrderReturned, events::v1::PaymentCompleted,
                  events::v1::PaymentFailed>());
}

}  // namespace shop::notification
