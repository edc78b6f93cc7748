#include "common/rpc/identity.h"

#include "common/core/deadline.h"
#include "common/rpc/client.h"
#include "shop/auth/v1/auth.pb.h"

namespace shop::rpc {

Identity::Identity(const Settings& settings) : Identity(settings, Tls(settings.tls)) {
  users_.Prepare();
}

Identity::Identity(const Settings& settings, Tls tls)
    : tls_(std::move(tls)),
      users_(KeysFrom(settings.auth_address, tls_)),
      services_(settings.service) {}

Identity::Identity(const Settings& settings, auth::TokenVerifier::FetchKeys fetch)
    : tls_(settings.tls), users_(std::move(fetch)), services_(settings.service) {}

auth::TokenVerifier::FetchKeys KeysFrom(const std::string& address, const Tls& tls) {
  const auto channel = std::make_shared<Channel>("auth", address, tls);
  const ClientMethod<auth::v1::GetJwksRequest, auth::v1::Jwks> get_jwks(
      *channel, "shop.auth.v1.AuthService", "GetJwks");
  return [channel, get_jwks] {
    const Result<auth::v1::Jwks> jwks =
        get_jwks(BackgroundCall(TraceContext::New(), std::chrono::seconds(2)), {});
    if (!jwks) throw Unavailable("auth gives no keys: " + jwks.refusal().message);
    std::vector<auth::PublicKey> keys;
    for (const auth::v1::Jwk& key : jwks->keys()) keys.push_back({key.kid(), key.x(), key.y()});
    return keys;
  };
}

}  // namespace shop::rpc
