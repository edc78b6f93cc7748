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
//
// Keys are fetched by a thread of its own, and a token whose key is at hand never waits for it:
// - when a token names an unknown key, at most once in five seconds, so that made-up keys cannot
//   turn into work for auth; until the first fetch has worked at most once a second;
// - every five minutes, while the keys at hand stay in use, and longer while auth is away. A key
//   that is no longer published ends what was remembered.
//
// A token that names an unknown key is UNAUTHENTICATED once auth has been asked, within the last
// five seconds, and does not publish it. It is UNAVAILABLE as long as nobody can tell: auth is
// away or slow. Auth therefore publishes a key before it signs with it.
class TokenVerifier {
 public:
  // Fetches the current key set; throws when that fails. May block for some seconds, which
  // the destructor waits for; never called at the same time from two threads.
  using FetchKeys = std::function<std::vector<PublicKey>()>;

  explicit TokenVerifier(FetchKeys fetch, Clock clock = SystemNow, size_t remembered = 16384);
  ~TokenVerifier();

  // Begins to fetch before anybody needs it, again once a second until it has worked.
  void Prepare();
  // Whether a fetch has worked, ever: before that no token can be checked.
  bool HasKeys() const;

  // The caller that `token` stands for. UNAUTHENTICATED says what is wrong with it (expired,
  // signature, issuer, …); UNAVAILABLE when it could not be checked. Waits up to a second for the
  // fetch of a key that is unknown.
  Result<Caller> Verify(std::string_view token);
  // How many calls of Verify may wait at the same time; the others are UNAVAILABLE at once. Two
  // unless told. A server sets it to less than it has threads, so that some are left for those
  // who need no key fetched.
  void LetWait(int most);

  // Like Verify without ever waiting: nothing while the key that the token names is being fetched.
  // Ask again a little later.
  std::optional<Result<Caller>> Check(std::string_view token);
  // From memory alone: nothing when the token is not known yet.
  std::optional<Caller> FindCached(std::string_view token);

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
  std::string OwnToken();
  // The name of the service that `token` stands for, or UNAUTHENTICATED.
  Result<std::string> Verify(std::string_view token);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::auth
