// What payments needs of a payment provider. Another provider is another implementation of this.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>
#include <variant>

#include "payments/payment.h"

namespace shop::payments {

// No answer, or one that does not say what has become of the money: the call may have had its effect.
struct NoAnswer {
  std::string why;  // for the log; contains no secret
};

// What the provider has said. Only a definite answer is anything but NoAnswer, and NotFound is one to a
// query alone: any other call that finds nothing has come to nothing.
using ChargeAnswer = std::variant<Reported, NotFound, NoAnswer>;

struct RefundAccepted {};
struct RefundRejected {
  std::string reason;  // for people
};
using RefundAnswer = std::variant<RefundAccepted, RefundRejected, NoAnswer>;

struct ChargeRequest {
  std::string key;  // identifies the payment; the same key never charges twice
  int64_t amount = 0;
  std::string currency;
  std::string token;
};

// Each operation carries an idempotency key that follows from `key` (a refund's from `refund`) and the
// operation: repeated, it has one effect and gets the first answer. None throws. Each gives up after the
// time-out of its implementation, or soon after `stop`, with NoAnswer. Thread-safe.
class PaymentProvider {
 public:
  virtual ~PaymentProvider() = default;

  // Reserves the amount. PENDING where the provider decides later.
  virtual ChargeAnswer Authorize(const ChargeRequest& request, const std::stop_token& stop) = 0;
  // Takes the whole amount that is authorized.
  virtual ChargeAnswer Capture(const std::string& key, int64_t amount,
                               const std::stop_token& stop) = 0;
  // Makes sure that nothing is charged under the key, now or later, known or not; CAPTURED where it is
  // too late for that.
  virtual ChargeAnswer Void(const std::string& key, const std::stop_token& stop) = 0;
  virtual RefundAnswer Refund(const std::string& key, const std::string& refund, int64_t amount,
                              const std::stop_token& stop) = 0;
  virtual ChargeAnswer Query(const std::string& key, const std::stop_token& stop) = 0;
};

}  // namespace shop::payments
