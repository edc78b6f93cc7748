#include "common/auth/service_token.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <utility>

#include "common/auth/jose.h"
#include "common/crypto/base64.h"

namespace shop::auth {
namespace {

constexpr char kType[] = "svc+jwt";
constexpr char kIssuer[] = "shop-services";
constexpr std::chrono::seconds kLife{600};
constexpr std::chrono::seconds kRenewal{300};
constexpr size_t kCoordinateBytes = 32;

void RequireName(std::string_view name) {
  if (name.empty() ||
      name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") != name.npos) {
    throw std::invalid_argument("the service's name is not of a-z, 0-9 and -");
  }
}

jose::Point ReadPoint(std::string_view text) {
  const std::optional<std::string> bytes = DecodeBase64Url(text);
  if (!bytes || bytes->size() != 2 * kCoordinateBytes) {
    throw std::invalid_argument("has a key that is not 64 bytes in base64url");
  }
  return {EncodeBase64Url(bytes->substr(0, kCoordinateBytes)),
          EncodeBase64Url(bytes->substr(kCoordinateBytes))};
}

}  // namespace

struct ServiceTokens::Keys {
  struct Public {
    std::string name;
    jose::Key key;
  };

  explicit Keys(const Settings& settings)
      : own(jose::PrivateKeyOf(settings.key)), own_id(IdOf(own.get())) {
    std::string_view rest = settings.keys;
    while (!rest.empty()) {
      const std::string_view entry = rest.substr(0, rest.find(','));
      rest.remove_prefix(std::min(entry.size() + 1, rest.size()));
      Add(entry);
    }
    const auto found = all.find(own_id);
    if (found == all.end() || found->second.name != settings.name) {
      throw std::invalid_argument("does not have the public part of SERVICE_KEY for " +
                                  settings.name);
    }
  }

  void Add(std::string_view entry) {
    const size_t colon = entry.find(':');
    if (colon == entry.npos) throw std::invalid_argument("is not a list of NAME:KEY");
    const std::string_view name = entry.substr(0, colon);
    RequireName(name);
    const jose::Point point = ReadPoint(entry.substr(colon + 1));
    Public known{std::string(name), jose::PublicKeyAt(point)};
    if (!all.try_emplace(jose::Thumbprint(point), std::move(known)).second) {
      throw std::invalid_argument("has a key twice");
    }
  }

  static std::string IdOf(EVP_PKEY* key) { return jose::Thumbprint(jose::PublicPoint(key)); }

  const jose::Key own;
  const std::string own_id;
  std::map<std::string, Public, std::less<>> all;  // by kid
};

void ServiceTokens::RequireKey(const std::string& key) {
  jose::PrivateKeyOf(key);
}

void ServiceTokens::RequireKeys(const Settings& settings) {
  const Keys good(settings);
}

ServiceTokens::ServiceTokens(const Settings& settings, Clock clock)
    : name_(settings.name),
      keys_(std::make_unique<const Keys>(settings)),
      clock_(std::move(clock)) {
  RequireName(name_);
}

ServiceTokens::~ServiceTokens() = default;

std::string ServiceTokens::OwnToken(std::string_view receiver) {
  const int64_t now = jose::ToUnix(clock_());
  const std::lock_guard lock(mutex_);
  auto found = own_.find(receiver);
  if (found == own_.end()) found = own_.emplace(receiver, Own()).first;
  Own& own = found->second;
  if (now >= own.renew_at) {
    own.token = jose::Assemble(
        fmt::format(R"({{"alg":"ES256","typ":"{}","kid":"{}"}})", kType, keys_->own_id),
        fmt::format(R"({{"iss":"{}","aud":"{}","sub":"{}","iat":{},"exp":{},"jti":"{}"}})", kIssuer,
                    receiver, name_, now, now + kLife.count(), jose::NewTokenId()),
        [this](std::string_view text) { return jose::SignEs256(keys_->own.get(), text); });
    own.renew_at = now + kRenewal.count();
  }
  return own.token;
}

Result<std::string> ServiceTokens::Verify(std::string_view token) {
  const int64_t now = jose::ToUnix(clock_());
  if (std::optional<std::string> known = cache_.Find(token, now, 0)) {
    return std::move(*known);
  }
  Result<jose::Parts> parts = jose::Split(token);
  if (!parts) return parts.refusal();
  if (Result<void> good = jose::CheckHeader(parts->header, "ES256", kType); !good) {
    return good.refusal();
  }
  const jose::Value* kid = jose::Find(parts->header, "kid", jose::Value::kStringValue);
  const auto signer = kid == nullptr ? keys_->all.end() : keys_->all.find(kid->string_value());
  if (signer == keys_->all.end()) return jose::Unauthenticated("the token's key is unknown");
  if (!jose::VerifyEs256(signer->second.key.get(), parts->signed_text, parts->signature)) {
    return jose::Unauthenticated("the token's signature is wrong");
  }
  Result<jose::Subject> subject = jose::CheckClaims(parts->payload, kIssuer, name_.c_str(), now);
  if (!subject) return subject.refusal();
  // A key speaks for its own service alone.
  if (subject->sub != signer->second.name) {
    return jose::Unauthenticated("the token's key is another service's");
  }
  cache_.Add(token, {subject->sub, subject->expires, 0});
  return std::move(subject->sub);
}

}  // namespace shop::auth
