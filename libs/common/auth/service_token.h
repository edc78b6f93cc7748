// Identity tokens of services: short JWTs, made and checked by the rules of RFC 8725.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "common/auth/clock.h"
#include "common/auth/token_cache.h"
#include "common/core/result.h"

namespace shop::auth {

// How a service says to another who it is: an ES256 JWT of ten minutes, signed with a private key that no
// other process has, for that other service alone. So whoever takes a service over passes for no other
// one, and what others send it is of no use elsewhere. Thread-safe.
class ServiceTokens {
 public:
  struct Settings {
    std::string name;  // this service: [a-z0-9-]+
    std::string key;   // SERVICE_KEY, its private key: a number of P-256, in 64 hexadecimal digits
    // SERVICE_KEYS, the public keys of all services: NAME:POINT, comma-separated. A point is its x and
    // its y, 64 bytes in base64url. A service that gets another key has two for a while.
    std::string keys;
  };

  // Both throw std::invalid_argument, which says what is wrong with SERVICE_KEY or SERVICE_KEYS.
  static void RequireKey(const std::string& key);
  static void RequireKeys(const Settings& settings);

  // std::invalid_argument as above, and when the name is none.
  explicit ServiceTokens(const Settings& settings, Clock clock = SystemNow);
  ~ServiceTokens();

  // A token for the header x-service-token of calls to the service `receiver`, made anew every few minutes.
  std::string OwnToken(std::string_view receiver);
  // The name of the service that `token` was made by, for this one; or UNAUTHENTICATED.
  Result<std::string> Verify(std::string_view token);

 private:
  struct Keys;
  struct Own {
    std::string token;
    int64_t renew_at = 0;
  };

  const std::string name_;
  const std::unique_ptr<const Keys> keys_;
  const Clock clock_;

  std::mutex mutex_;
  std::map<std::string, Own, std::less<>> own_;  // by receiver

  TokenCache<std::string> cache_{1024};
};

}  // namespace shop::auth
