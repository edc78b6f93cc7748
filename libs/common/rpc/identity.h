// Who this process is among the services, and how it knows its callers.
#pragma once

#include <memory>
#include <string>

#include "common/auth/access_token.h"
#include "common/auth/service_token.h"
#include "common/core/tls_files.h"
#include "common/rpc/tls.h"

namespace shop::rpc {

class Identity {
 public:
  struct Settings {
    auth::ServiceTokens::Settings service;
    std::string auth_address = {};  // where the keys of access tokens are
    TlsFiles tls = {};
  };

  // Checks users' tokens with the keys that auth publishes over gRPC, and begins to fetch them.
  explicit Identity(const Settings& settings);
  // Checks them with keys from elsewhere; auth has its own.
  Identity(const Settings& settings, auth::TokenVerifier::FetchKeys fetch);

  auth::TokenVerifier& users() { return users_; }
  auth::ServiceTokens& services() { return services_; }
  const Tls& tls() const { return tls_; }

 private:
  Identity(const Settings& settings, Tls tls);

  Tls tls_;
  auth::TokenVerifier users_;
  auth::ServiceTokens services_;
};

// The keys that the auth service at `address` publishes.
auth::TokenVerifier::FetchKeys KeysFrom(const std::string& address, const Tls& tls);

}  // namespace shop::rpc
