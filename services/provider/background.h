// What the provider does by itself: it decides what was left PENDING, and sends its messages to the
// shop, each again and again until it is answered with a 2xx. Both are kept in the database, so that
// nothing is forgotten when the process dies; a message may then arrive twice.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "provider/ledger.h"

namespace shop::provider {

struct WebhookSettings {
  std::string url;  // empty: none are sent
  std::string secret;
  std::string ca_file = {};  // whose certificates are trusted; empty: those that the system trusts
  std::chrono::milliseconds first_pause{500};  // after a failure; it doubles up to the longest
  std::chrono::milliseconds longest_pause{60'000};
};

// The header `Provider-Signature` of a message: t=<unix>,v1=<hex of the HMAC-SHA-256 of "t.body">.
std::string Signature(const std::string& secret, int64_t unix_seconds, std::string_view body);

class Background {
 public:
  // Starts its thread. `ledger` must outlive it.
  Background(Ledger& ledger, const WebhookSettings& webhooks,
             std::chrono::milliseconds poll = std::chrono::milliseconds(100));
  ~Background();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::provider
