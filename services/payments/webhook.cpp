#include "payments/webhook.h"

#include <absl/strings/escaping.h>

#include <algorithm>
#include <charconv>
#include <vector>

#include "common/crypto/sha256.h"

namespace shop::payments {

Result<void> CheckSignature(const std::string& secret, std::string_view signature,
                            std::string_view body, int64_t now) {
  const auto refuse = [](const char* why) { return Refusal{Code::kUnauthenticated, why}; };
  std::string_view time;
  std::vector<std::string_view> signatures;
  while (!signature.empty()) {
    const std::string_view part = signature.substr(0, signature.find(','));
    signature.remove_prefix(std::min(part.size() + 1, signature.size()));
    if (part.starts_with("t=")) time = part.substr(2);
    if (part.starts_with("v1=")) signatures.push_back(part.substr(3));
  }
  int64_t seconds = 0;
  const char* end = time.data() + time.size();
  const auto [stop, error] = std::from_chars(time.data(), end, seconds);
  if (error != std::errc() || stop != end || signatures.empty()) {
    return refuse("Provider-Signature is not like t=<seconds>,v1=<hex>");
  }
  const std::string expected =
      absl::BytesToHexString(HmacSha256(secret, std::string(time) + "." + std::string(body)));
  bool good = false;
  for (const std::string_view given : signatures) good |= EqualInConstantTime(given, expected);
  if (!good) return refuse("Provider-Signature is not of this body");
  if (seconds < now - kWebhookSeconds || seconds > now + kWebhookSeconds) {
    return refuse("Provider-Signature is too old");
  }
  return kDone;
}

}  // namespace shop::payments
