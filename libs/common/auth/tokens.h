// Access tokens of users and identity tokens of services: JWTs, made and checked by the rules of
// RFC 8725. The algorithm follows from the key, never from the token.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/core/result.h"
#include "common/rpc/call.h"

namespace shop::auth {

inline constexpr char kIssuer[] = "shop-auth";
inline constexpr char kAudience[] = "shop";

using Clock = std::function<std::chrono::system_clock::time_point()>;
inline std::chrono::system_clock::time_point SystemNow() {
  return std::chrono::system_clock::now();
}

// A public key as a JWK has it: base64url coordinates of a P-256 point.
struct PublicKey {
  std::string kid;
  std::string x;
  std::string y;
};

// Signs access tokens with one EC P-256 private key. Thread-safe.
class TokenSigner {
 public:
  // Throws std::invalid_argument when the PEM is not a P-256 private key. The key's id is its RFC
  // 7638 thumbprint.
  explicit TokenSigner(const std::string& private_key_pem, Clock clock = SystemNow);
  ~TokenSigner();

  // An ES256 JWT with iss, aud, sub, roles, iat, exp and a random jti, and `kid` and
  // `typ: at+jwt` (RFC 9068) in its header.
  std::string Sign(int64_t user_id, api::v1::Role role, std::chrono::seconds life) const;
  const PublicKey& public_key() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Checks access tokens against the keys that auth publishes. Thread-safe; a token that was found
// good is remembered until it expires (at most `remembered` of them), so that a repeat costs a hash
// look-up.
class TokenVerifier {
 public:
  // Fetches the current key set; throws when it cannot be had. May block; never called at the same
  // time from two threads.
  using FetchKeys = std::function<std::vector<PublicKey>()>;

  // Fetches the keys at the first use (and until that works, at most once a second), when a token
  // names an unknown key (at most once in five seconds) and every five minutes. The keys at hand
  // stay in use while a fetch fails. A key that is no longer published ends what was remembered.
  explicit TokenVerifier(FetchKeys fetch, Clock clock = SystemNow, size_t remembered = 16384);
  ~TokenVerifier();

  // The caller that `token` stands for. UNAUTHENTICATED says what is wrong with it (expired,
  // signature, issuer, …); UNAVAILABLE when no key could be fetched yet.
  Result<Caller> Verify(std::string_view token);
  // Like Verify, from memory alone: nothing when it is not known yet. Never blocks on I/O.
  std::optional<Caller> Recall(std::string_view token);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Identity of services among themselves: a short HS256 JWT under the key that all services share
// (SERVICE_TOKEN_KEY), with its own issuer and audience. Thread-safe.
class ServiceTokens {
 public:
  // `name` is this process's own name ([a-z0-9-]+); `key` is at least 32 bytes, else
  // std::invalid_argument.
  ServiceTokens(std::string name, std::string key, Clock clock = SystemNow);
  ~ServiceTokens();

  // A token for the header x-service-token, made anew every few minutes.
  std::string Mine();
  // The name of the service that `token` stands for, or UNAUTHENTICATED.
  Result<std::string> Verify(std::string_view token);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::auth
