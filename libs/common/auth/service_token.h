// Identity tokens of services: short JWTs, made and checked by the rules of RFC 8725.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

#include "common/auth/clock.h"
#include "common/auth/token_cache.h"
#include "common/core/result.h"

namespace shop::auth {

// Identity of services among themselves: a short HS256 JWT under the key that all services share
// (SERVICE_TOKEN_KEY), with its own issuer and audience. Thread-safe.
class ServiceTokens {
 public:
  // `name` is this process's own name ([a-z0-9-]+); `key` is at least 32 bytes, else
  // std::invalid_argument.
  ServiceTokens(std::string name, std::string key, Clock clock = SystemNow);

  // A token for the header x-service-token, made anew every few minutes.
  std::string OwnToken();
  // The name of the service that `token` stands for, or UNAUTHENTICATED.
  Result<std::string> Verify(std::string_view token);

 private:
  const std::string name_;
  const std::string key_;
  const Clock clock_;

  std::mutex mutex_;
  std::string own_token_;
  int64_t renew_at_ = 0;

  TokenCache<std::string> cache_{1024};
};

}  // namespace shop::auth
