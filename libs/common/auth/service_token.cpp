#include "common/auth/service_token.h"

#include <fmt/format.h>

#include <mutex>
#include <stdexcept>
#include <utility>

#include "common/auth/jose.h"
#include "common/auth/token_cache.h"

namespace shop::auth {
namespace {

constexpr char kType[] = "svc+jwt";
constexpr char kIssuer[] = "shop-services";
constexpr char kAudience[] = "shop-internal";
constexpr std::chrono::seconds kLife{600};
constexpr std::chrono::seconds kRenewal{300};

}  // namespace

struct ServiceTokens::State {
  std::string name;
  std::string key;
  Clock clock;

  std::mutex mutex;
  std::string own_token;
  int64_t renew_at = 0;

  TokenCache<std::string> cache{1024};
};

ServiceTokens::ServiceTokens(std::string name, std::string key, Clock clock)
    : state_(std::make_unique<State>()) {
  if (key.size() < 32) throw std::invalid_argument("is shorter than 32 bytes");
  if (name.empty() ||
      name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") != name.npos) {
    throw std::invalid_argument("the service's name is not of a-z, 0-9 and -");
  }
  state_->name = std::move(name);
  state_->key = std::move(key);
  state_->clock = std::move(clock);
}

ServiceTokens::~ServiceTokens() = default;

std::string ServiceTokens::OwnToken() {
  const int64_t now = jose::ToUnix(state_->clock());
  const std::lock_guard lock(state_->mutex);
  if (now >= state_->renew_at) {
    state_->own_token = jose::Assemble(
        fmt::format(R"({{"alg":"HS256","typ":"{}"}})", kType),
        fmt::format(R"({{"iss":"{}","aud":"{}","sub":"{}","iat":{},"exp":{},"jti":"{}"}})", kIssuer,
                    kAudience, state_->name, now, now + kLife.count(), jose::NewTokenId()),
        [this](std::string_view text) { return jose::SignHs256(state_->key, text); });
    state_->renew_at = now + kRenewal.count();
  }
  return state_->own_token;
}

Result<std::string> ServiceTokens::Verify(std::string_view token) {
  const int64_t now = jose::ToUnix(state_->clock());
  if (std::optional<std::string> known = state_->cache.Find(token, now, 0)) {
    return std::move(*known);
  }
  Result<jose::Parts> parts = jose::Split(token);
  if (!parts) return parts.refusal();
  if (Result<void> good = jose::CheckHeader(parts->header, "HS256", kType); !good) {
    return good.refusal();
  }
  if (!jose::VerifyHs256(state_->key, parts->signed_text, parts->signature)) {
    return jose::Unauthenticated("the token's signature is wrong");
  }
  Result<jose::Subject> subject = jose::CheckClaims(parts->payload, kIssuer, kAudience, now);
  if (!subject) return subject.refusal();
  if (subject->sub.empty()) return jose::Unauthenticated("the token is malformed");
  state_->cache.Add(token, {subject->sub, subject->expires, 0});
  return std::move(subject->sub);
}

}  // namespace shop::auth
