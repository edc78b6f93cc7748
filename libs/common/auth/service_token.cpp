#include "common/auth/service_token.h"

#include <fmt/format.h>

#include <stdexcept>
#include <utility>

#include "common/auth/jose.h"
#include "common/crypto/sha256.h"

namespace shop::auth {
namespace {

constexpr char kType[] = "svc+jwt";
constexpr char kIssuer[] = "shop-services";
constexpr char kAudience[] = "shop-internal";
constexpr std::chrono::seconds kLife{600};
constexpr std::chrono::seconds kRenewal{300};

}  // namespace

ServiceTokens::ServiceTokens(std::string name, std::string key, Clock clock)
    : name_(std::move(name)), key_(std::move(key)), clock_(std::move(clock)) {
  if (key_.size() < 32) throw std::invalid_argument("is shorter than 32 bytes");
  if (name_.empty() ||
      name_.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") != name_.npos) {
    throw std::invalid_argument("the service's name is not of a-z, 0-9 and -");
  }
}

std::string ServiceTokens::OwnToken() {
  const int64_t now = jose::ToUnix(clock_());
  const std::lock_guard lock(mutex_);
  if (now >= renew_at_) {
    own_token_ = jose::Assemble(
        fmt::format(R"({{"alg":"HS256","typ":"{}"}})", kType),
        fmt::format(R"({{"iss":"{}","aud":"{}","sub":"{}","iat":{},"exp":{},"jti":"{}"}})", kIssuer,
                    kAudience, name_, now, now + kLife.count(), jose::NewTokenId()),
        [this](std::string_view text) { return HmacSha256(key_, text); });
    renew_at_ = now + kRenewal.count();
  }
  return own_token_;
}

Result<std::string> ServiceTokens::Verify(std::string_view token) {
  const int64_t now = jose::ToUnix(clock_());
  if (std::optional<std::string> known = cache_.Find(token, now, 0)) {
    return std::move(*known);
  }
  Result<jose::Parts> parts = jose::Split(token);
  if (!parts) return parts.refusal();
  if (Result<void> good = jose::CheckHeader(parts->header, "HS256", kType); !good) {
    return good.refusal();
  }
  if (!EqualInConstantTime(parts->signature, HmacSha256(key_, parts->signed_text))) {
    return jose::Unauthenticated("the token's signature is wrong");
  }
  Result<jose::Subject> subject = jose::CheckClaims(parts->payload, kIssuer, kAudience, now);
  if (!subject) return subject.refusal();
  if (subject->sub.empty()) return jose::Unauthenticated("the token is malformed");
  cache_.Add(token, {subject->sub, subject->expires, 0});
  return std::move(subject->sub);
}

}  // namespace shop::auth
