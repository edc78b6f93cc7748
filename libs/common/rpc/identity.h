// Who this process is among the services, and how it knows its callers.
#pragma once

#include <memory>
#include <string>

#include "common/auth/access_token.h"
#include "common/auth/service_token.h"
#include "common/core/env.h"

namespace shop::rpc {

class Identity {
 public:
  struct Settings {
    std::string name;          // this service
    std::string auth_address;  // where the keys of access tokens are: AUTH_ADDR
    std::string key;           // SERVICE_TOKEN_KEY, at least 32 bytes

    static Settings Read(Env& env, const std::string& name);
  };

  // Checks users' tokens with the keys that auth publishes over gRPC, and begins to fetch them.
  explicit Identity(const Settings& settings);
  // Checks them with keys from elsewhere: auth itself, and tests.
  Identity(const Settings& settings, auth::TokenVerifier::FetchKeys fetch);

  auth::TokenVerifier& users() { return users_; }
  auth::ServiceTokens& services() { return services_; }

 private:
  auth::TokenVerifier users_;
  auth::ServiceTokens services_;
};

// The keys that the auth service at `address` publishes.
auth::TokenVerifier::FetchKeys KeysFrom(const std::string& address);

}  // namespace shop::rpc
