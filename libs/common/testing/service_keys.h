// Keys of services for tests: each has one of its own, the same at every call.
#pragma once

#include <string>

#include "common/auth/jose.h"
#include "common/auth/service_token.h"
#include "common/crypto/base64.h"
#include "common/crypto/sha256.h"

namespace shop::testing {

// SERVICE_KEY of the service.
inline std::string ServiceKeyOf(const std::string& name) {
  return Sha256Hex("the key of " + name + " in tests");
}

// What SERVICE_KEYS has of a service with this key.
inline std::string PublicServiceKey(const std::string& name, const std::string& key) {
  const auth::jose::Point point = auth::jose::PublicPoint(auth::jose::PrivateKeyOf(key).get());
  return name + ":" + EncodeBase64Url(*DecodeBase64Url(point.x) + *DecodeBase64Url(point.y));
}

// Of a service that knows all those of deploy/services, and `watch`.
inline auth::ServiceTokens::Settings ServiceKeysOf(const std::string& name) {
  static const std::string all = [] {
    std::string list;
    for (const char* service : {"auth", "users", "products", "cart", "orders", "payments", "stock",
                                "shipping", "notification", "watch"}) {
      list += (list.empty() ? "" : ",") + PublicServiceKey(service, ServiceKeyOf(service));
    }
    return list;
  }();
  return {name, ServiceKeyOf(name), all};
}

}  // namespace shop::testing
