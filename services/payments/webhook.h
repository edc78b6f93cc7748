// Whether a message comes from the payment provider.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/core/result.h"

namespace shop::payments {

// How old a signature may be, and how far ahead the provider's clock.
inline constexpr int64_t kWebhookSeconds = 300;

// `signature` has to be t=<unix seconds>,v1=<hex of the HMAC-SHA-256 of "t.body">, of this very body,
// made within kWebhookSeconds of `now`. Other parts of it, such as v0=…, and further v1 are allowed: while
// the provider changes its secret, it signs with both. UNAUTHENTICATED otherwise. Compares in constant
// time.
Result<void> CheckSignature(const std::string& secret, std::string_view signature,
                            std::string_view body, int64_t now);

}  // namespace shop::payments
