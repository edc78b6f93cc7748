#include "payments/payments_service.h"

#include <ctime>
#include <optional>
#include <utility>
#include <vector>

#include "common/core/amount.h"
#include "common/crypto/random.h"
#include "common/idempotency/idempotency.h"
#include "common/telemetry/log.h"
#include "payments/payment_store.h"
#include "payments/provider_client.h"
#include "payments/webhook.h"

namespace shop::payments {
namespace {

Refusal NoPayment() {
  return {Code::kNotFound, "there is no payment of such an order"};
}

std::vector<RefundLine> LinesOf(const v1::CreateRefundRequest& request) {
  std::vector<RefundLine> lines;
  for (const v1::RefundLine& item : request.items()) {
    lines.push_back({item.product_id(), item.quantity()});
  }
  return MergeLines(lines);
}

std::string RandomUuid() {
  const auto bytes = RandomBytes<16>();
  return DerivedUuid({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

}  // namespace

rpc::Service PaymentsService::Methods() {
  return rpc::Service("shop.payments.v1.PaymentsService")
      .On("GetPayment", this, &PaymentsService::GetPayment)
      .On("CreateRefund", this, &PaymentsService::CreateRefund)
      .On("ReceiveWebhook", this, &PaymentsService::ReceiveWebhook)
      .On("ListPaymentAudit", &audit_, &audit::Reader::ListAudit);
}

Result<v1::Payment> PaymentsService::GetPayment(const Call& call,
                                                const v1::GetPaymentRequest& request) {
  const std::optional<int64_t> owner =
      call.caller.is_admin() ? std::nullopt : std::optional(call.caller.user_id);
  std::optional<v1::Payment> payment = FindPayment(db_, request.order_id(), owner);
  if (!payment) return NoPayment();
  if (owner) {
    for (v1::PaymentAttempt& attempt : *payment->mutable_attempts()) attempt.clear_detail();
  }
  return *std::move(payment);
}

Result<v1::Refund> PaymentsService::CreateRefund(const Call& call,
                                                 const v1::CreateRefundRequest& request) {
  return idempotency::Once(db_, call, request, [&](idempotency::Attempt& attempt) {
    return attempt.InTransaction([&](postgres::Tx& tx) -> Result<v1::Refund> {
      std::optional<StoredPayment> stored = LockByOrder(tx, request.order_id());
      if (!stored || !stored->payment.wanted) return NoPayment();
      const std::string uuid = RandomUuid();
      Result<Refund> refund = PlanRefund(stored->payment, uuid, "hand:" + uuid, LinesOf(request));
      if (!refund) return refund.refusal();
      const std::string amount = AmountText(refund->amount);
      const Step step = Apply(&stored->payment, RefundRequested{*std::move(refund)});
      Save(tx, *stored, step.events, {Schedule::Kind::kNews});
      audit::Record(tx, call,
                    {"REFUND_REQUESTED",
                     "order " + std::to_string(request.order_id()),
                     {{"refund", uuid}, {"amount", amount}}});
      return FindRefund(tx, uuid);
    });
  });
}

Result<v1::ReceiveWebhookResponse> PaymentsService::ReceiveWebhook(
    const Call&, const v1::ReceiveWebhookRequest& request) {
  const Result<void> genuine =
      CheckSignature(webhook_secret_, request.signature(), request.body(), std::time(nullptr));
  if (!genuine) return genuine.refusal();
  const std::optional<ProviderReport> report = ReadReport(request.body());
  if (!report) return InvalidField("body", "is no payment");
  postgres::InTransaction(db_, [&](postgres::Tx& tx) {
    std::optional<StoredPayment> stored = LockByKey(tx, report->key);
    if (!stored) {
      log::Warning("a webhook is about no payment of ours", {{"key", report->key}});
      return;
    }
    const Step step = Apply(&stored->payment, report->reported);
    if (!step.changed) return;
    stored->failures = 0;
    Save(tx, *stored, step.events, {Schedule::Kind::kNews});
    NoteWebhook(tx, stored->payment.order.uuid,
                {std::string(Text(report->reported.charge)), report->reported.message});
  });
  return v1::ReceiveWebhookResponse();
}

}  // namespace shop::payments
