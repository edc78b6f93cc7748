// JSON Web Tokens in compact form (RFC 7515, 7518, 7519), as far as access tokens and service tokens
// need them: ES256, by the rules of RFC 8725. Of concern to this folder alone.
//
// On OpenSSL itself: the packaged libjwt 1.10 writes and accepts no `typ` but JWT, and the type is
// what keeps an access token and a service token apart (RFC 8725, 3.11).
#pragma once

#include <google/protobuf/struct.pb.h>
#include <openssl/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "common/core/result.h"

namespace shop::auth::jose {

using google::protobuf::Struct;
using google::protobuf::Value;

Refusal Unauthenticated(std::string message);

int64_t ToUnix(std::chrono::system_clock::time_point time);

// A token taken apart, nothing of it checked yet.
struct Parts {
  std::string_view signed_text;  // header.payload, in the token itself
  Struct header;
  std::string payload;
  std::string signature;
};
// UNAUTHENTICATED when the token has not the form of one, or is longer than 4096 bytes.
Result<Parts> Split(std::string_view token);

// The member `name`, or null when it is absent or of another kind.
const Value* Find(const Struct& object, const char* name, Value::KindCase kind);

// Refuses every header but the one that this kind of token is made with.
Result<void> CheckHeader(const Struct& header, const char* algorithm, const char* type);

struct Subject {
  std::string sub;
  int64_t expires;
  Struct claims;
};
// Refuses claims of another issuer or audience, expired ones, and those issued more than a minute
// after `now`.
Result<Subject> CheckClaims(const std::string& payload, const char* issuer, const char* audience,
                            int64_t now);

// A random `jti`.
std::string NewTokenId();
// The token of this header and these claims, both JSON; `sign` makes the signature's bytes.
std::string Assemble(std::string_view header, std::string_view claims,
                     const std::function<std::string(std::string_view)>& sign);

struct FreeKey {
  void operator()(EVP_PKEY* key) const;
};
using Key = std::unique_ptr<EVP_PKEY, FreeKey>;

// Coordinates of a P-256 point in base64url, as a JWK has them.
struct Point {
  std::string x;
  std::string y;
};

// A new P-256 private key, as PEM.
std::string NewPrivateKey();

// All throw std::invalid_argument: when the PEM is not of a P-256 private key, when the digits are not 64
// hexadecimal ones or not of such a key, and when there is no such point on the curve.
Key ReadPrivateKey(const std::string& pem);
Key PrivateKeyOf(const std::string& digits);
Key PublicKeyAt(const Point& point);
Point PublicPoint(EVP_PKEY* key);
// RFC 7638.
std::string Thumbprint(const Point& point);

std::string SignEs256(EVP_PKEY* key, std::string_view text);
bool VerifyEs256(EVP_PKEY* key, std::string_view text, const std::string& signature);

}  // namespace shop::auth::jose
