// The built-in payment provider (services/provider) over HTTP.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "common/http/http_client.h"
#include "payments/payment_provider.h"

namespace shop::payments {

struct ProviderSettings {
  std::string url;  // http://host:port, without a path
  std::string api_key;
  std::chrono::milliseconds connect_timeout{2'000};
  std::chrono::milliseconds timeout{5'000};  // of a whole call
};

// A payment as the provider's JSON has it: in an answer, and in a webhook.
struct ProviderReport {
  std::string key;
  Reported reported;
};
// Nothing for a text that is none, or whose status is not known here.
std::optional<ProviderReport> ReadReport(std::string_view json);

class HttpPaymentProvider : public PaymentProvider {
 public:
  explicit HttpPaymentProvider(ProviderSettings settings);

  ChargeAnswer Authorize(const ChargeRequest& request, const std::stop_token& stop) override;
  ChargeAnswer Capture(const std::string& key, int64_t amount,
                       const std::stop_token& stop) override;
  ChargeAnswer Void(const std::string& key, const std::stop_token& stop) override;
  RefundAnswer Refund(const std::string& key, const std::string& refund, int64_t amount,
                      const std::stop_token& stop) override;
  ChargeAnswer Query(const std::string& key, const std::stop_token& stop) override;

 private:
  HttpReply Post(const char* path, const std::string& idempotency_key, std::string body,
                 const std::stop_token& stop);

  const ProviderSettings settings_;
  HttpClient client_;
};

}  // namespace shop::payments
