// Who this process is among the services, and how it knows its callers.
#pragma once

#include <memory>
#include <string>

#include "common/auth/access_token.h"
#include "common/auth/service_token.h"

namespace shop::rpc {

class Identity {
 public:
  struct Settings {
    auth::ServiceTokens::Settings service;
    std::string auth_address = {};  // where the keys of access tokens are
  };

  // Checks users' tokens with the keys that auth publishes over gRPC, and begins to fetch them.
  explicit Identity(const Settings& settings);
  // Checks them with keys from elsewhere; auth has its own.
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
