// Access tokens of users: JWTs, made and checked by the rules of RFC 8725. The algorithm follows from
// the key, never from the token.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/auth/caller.h"
#include "common/auth/clock.h"
#include "common/core/result.h"

namespace shop::auth {

inline constexpr char kIssuer[] = "shop-auth";
inline constexpr char kAudience[] = "shop";

// No access token is good for longer than this, whatever the settings of auth are.
inline constexpr std::chrono::seconds kLongestTokenLife{7200};

// A public key as a JWK has it: base64url coordinates of a P-256 point.
struct PublicKey {
  std::string kid;
  std::string x;
  std::string y;
};

// A new EC P-256 private key, as PEM.
std::string NewPrivateKey();

// Signs access tokens with one EC P-256 private key. Thread-safe.
class TokenSigner {
 public:
  // Throws std::invalid_argument when the PEM is not a P-256 private key. The key's id is its RFC
  // 7638 thumbprint.
  explicit TokenSigner(const std::string& private_key_pem, Clock clock = SystemNow);
  ~TokenSigner();

  // An ES256 JWT with iss, aud, sub, roles, iat, exp, a random jti and the session as sid, and `kid` and
  // `typ: at+jwt` (RFC 9068) in its header. Without a session there is no sid.
  std::string Sign(int64_t user_id, api::v1::Role role, std::chrono::seconds life,
                   std::string_view session = {}) const;
  const PublicKey& public_key() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Checks access tokens against the keys that auth publishes. Thread-safe. A token that was found good
// is cached until it expires (at most `cached` of them), so that a repeat costs a hash look-up.
//
// The verifier's own thread fetches the keys; a token whose key is at hand never waits for it.
// - When a token names an unknown key it fetches at most once in five seconds, so that made-up keys
//   cannot turn into work for auth; until the first fetch has succeeded, at most once a second.
// - It fetches every five minutes. While auth is away the keys at hand stay in use. When a key is no
//   longer published, the cache is emptied.
//
// The tokens of a session that was revoked are refused from then on, cached or not.
//
// A token that names an unknown key is UNAUTHENTICATED when auth was asked within the last five
// seconds and does not publish that key. While auth is away or slow it is UNAVAILABLE. Auth therefore
// publishes a key before it signs with it.
class TokenVerifier {
 public:
  // Fetches the current key set; throws when that fails. May block for some seconds, for which the
  // destructor waits. Never called from two threads at the same time.
  using FetchKeys = std::function<std::vector<PublicKey>()>;

  explicit TokenVerifier(FetchKeys fetch, Clock clock = SystemNow, size_t cached = 16384);
  ~TokenVerifier();

  // Starts fetching now rather than with the first token, again every second until it succeeds.
  void Prepare();
  // Whether a fetch has ever succeeded: before that no token can be checked.
  bool HasKeys() const;

  // The caller that `token` stands for. UNAUTHENTICATED says what is wrong with it (expired,
  // signature, issuer, …); UNAVAILABLE when it could not be checked. Waits up to a second for the
  // fetch of a key that is unknown.
  Result<Caller> Verify(std::string_view token);
  // How many calls of Verify may wait at the same time, two by default; the others are UNAVAILABLE at
  // once. A server sets it to less than it has threads, so that some are left for tokens whose key
  // is at hand.
  void SetMaxWaiting(int most);

  // Like Verify, but never waits: nothing while the key that the token names is being fetched. Ask
  // again a little later.
  std::optional<Result<Caller>> Check(std::string_view token);
  // From the cache alone: nothing when the token is not in it, or its session was revoked.
  std::optional<Caller> FindCached(std::string_view token);

  // Refuses the access tokens of this session, of which the last has expired by `until`. False when
  // there are too many to remember: then another one was forgotten.
  bool Revoke(const std::string& session, std::chrono::system_clock::time_point until);
  bool IsRevoked(const std::string& session) const;
  // How many sessions are remembered as revoked.
  size_t revoked() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::auth
