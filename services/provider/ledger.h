// All SQL of the provider: its ledger, the answers that idempotency keys have got, and the messages to
// the shop that wait.
//
// Each of the operations is one transaction with the answer that its idempotency key gets from then on,
// so that a repeat has one effect and the same bytes, whenever the process dies.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/postgres/pool.h"

namespace shop::provider {

struct Answer {
  enum class Delivery {
    kSent,
    kNever,  // the connection is held and nothing is sent
    kReset,  // the connection is reset
  };
  int status = 200;
  std::string body = {};  // JSON
  Delivery delivery = Delivery::kSent;
};

Answer Error(int status, std::string_view code, std::string_view message);

// What a POST says, of whichever operation.
struct Request {
  std::string idempotency_key;
  std::string fingerprint;  // equal for equal requests
  std::string key;
  int64_t amount = 0;  // minor units
  std::string currency = {};
  std::string token = {};
};

// A message that waits to be sent.
struct Webhook {
  int64_t id = 0;
  int attempt = 0;  // counted from 1
  std::string body;
};

class Ledger {
 public:
  // `decide_after`: how long what is decided late stays PENDING. The pool must outlive the ledger.
  Ledger(postgres::Pool& db, std::chrono::milliseconds decide_after)
      : db_(db), decide_after_(decide_after) {}

  Answer Authorize(const Request& request);
  // All that is authorized; `amount` has to say the same.
  Answer Capture(const Request& request);
  Answer Void(const Request& request);
  Answer Refund(const Request& request);
  Answer Find(const std::string& key);
  // A page of all payments with an id above `after`, by id.
  Answer List(int64_t after, int limit);

  // Decides what is due, and writes the messages about it. Returns how many.
  int DecideDue();
  // Takes messages that are due, for `lease`.
  std::vector<Webhook> TakeWebhooks(int most, std::chrono::milliseconds lease);
  void MarkSent(const Webhook& webhook);
  void SendLater(const Webhook& webhook, std::chrono::milliseconds pause);

 private:
  postgres::Pool& db_;
  const std::chrono::milliseconds decide_after_;
};

}  // namespace shop::provider
