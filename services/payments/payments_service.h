// The rpcs of shop.payments.v1.PaymentsService.
#pragma once

#include <string>

#include "common/audit/audit.h"
#include "common/postgres/pool.h"
#include "common/rpc/service.h"
#include "shop/payments/v1/payments.pb.h"

namespace shop::payments {

class PaymentsService {
 public:
  // `webhook_secret` is what the provider signs with. The pool must outlive the service.
  PaymentsService(postgres::Pool& db, std::string webhook_secret)
      : db_(db), webhook_secret_(std::move(webhook_secret)) {}

  rpc::Service Methods();

  Result<v1::Payment> GetPayment(const Call& call, const v1::GetPaymentRequest& request);
  Result<v1::Refund> CreateRefund(const Call& call, const v1::CreateRefundRequest& request);
  Result<v1::ReceiveWebhookResponse> ReceiveWebhook(const Call& call,
                                                    const v1::ReceiveWebhookRequest& request);

 private:
  postgres::Pool& db_;
  audit::Reader audit_{db_};
  const std::string webhook_secret_;
};

}  // namespace shop::payments
