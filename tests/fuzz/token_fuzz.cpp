// Tokens of any kind: common/auth/access_token.h, and common/auth/service_token.h.
//
// An input is a token as it stands, or after an S a header and, on the next line, claims, which are signed with the
// right key: so that nothing behind the signature stays untried.
#include <algorithm>
#include <boost/json/src.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>

#include "common/auth/access_token.h"
#include "common/auth/jose.h"
#include "common/auth/service_token.h"
#include "common/testing/service_keys.h"
#include "property.h"

namespace {

namespace json = boost::json;
using namespace shop;
using fuzz::Require;

constexpr int64_t kNow = 1'800'000'000;

std::chrono::system_clock::time_point Now() {
  return std::chrono::system_clock::from_time_t(kNow);
}

std::string Replaced(std::string text, const std::string& mark, const std::string& value) {
  for (size_t at = 0; (at = text.find(mark, at)) != text.npos; at += value.size()) {
    text.replace(at, mark.size(), value);
  }
  return text;
}

// One key for both kinds: what keeps them apart is what they say.
struct Keys {
  const auth::jose::Key key = auth::jose::PrivateKeyOf(testing::ServiceKeyOf("orders"));
  const auth::jose::Point point = auth::jose::PublicPoint(key.get());
  const std::string kid = auth::jose::Thumbprint(point);
  auth::TokenVerifier users{[this] {
                              return std::vector{auth::PublicKey{kid, point.x, point.y}};
                            },
                            Now, 64};
  auth::ServiceTokens services{testing::ServiceKeysOf("products"), Now};

  Keys() {
    users.Prepare();
    while (!users.HasKeys()) std::this_thread::yield();
  }

  std::string Token(std::string_view input) const {
    if (!input.starts_with('S')) return std::string(input);
    input.remove_prefix(1);
    const size_t line = std::min(input.find('\n'), input.size());
    const std::string header = Replaced(std::string(input.substr(0, line)), "KID", kid);
    const std::string_view claims = input.substr(std::min(line + 1, input.size()));
    return auth::jose::Assemble(header, claims, [this](std::string_view text) {
      return auth::jose::SignEs256(key.get(), text);
    });
  }
};

// A part of a token that was taken, by another reader; nothing where it is stricter than Protobuf's, which takes control
// characters in texts, for example. Only auth signs.
std::optional<json::object> Part(const std::string& token, int number) {
  size_t from = 0;
  for (int i = 0; i < number; ++i) from = token.find('.', from) + 1;
  const auto text =
      DecodeBase64Url(std::string_view(token).substr(from, token.find('.', from) - from));
  Require(text.has_value(), "what is taken is base64url", token);
  boost::system::error_code error;
  json::value value = json::parse(*text, error);
  if (error || !value.is_object()) return std::nullopt;
  return std::move(value.as_object());
}

void RequireClaims(const std::string& token, const char* type, const char* issuer,
                   const char* audience) {
  const auto header = Part(token, 0);
  const auto claims = Part(token, 1);
  if (!header || !claims) return;
  const auto is = [](const json::object& object, const char* name, const char* value) {
    const json::value* found = object.if_contains(name);
    return found != nullptr && found->is_string() && found->as_string() == value;
  };
  Require(is(*header, "alg", "ES256"), "the algorithm is the key's", token);
  Require(is(*header, "typ", type), "the type is this one's", token);
  Require(!header->contains("crit"), "nothing critical is passed over", token);
  Require(is(*claims, "iss", issuer) && is(*claims, "aud", audience), "it is from us and for us",
          token);
  const json::value* expires = claims->if_contains("exp");
  Require(expires != nullptr && expires->is_number() && expires->to_number<double>() > kNow,
          "it has not expired", token);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Keys keys;
  const std::string token = keys.Token({reinterpret_cast<const char*>(data), size});
  if (const auto caller = keys.users.Check(token); caller && *caller) {
    RequireClaims(token, "at+jwt", auth::kIssuer, auth::kAudience);
    Require((*caller)->user_id > 0 && (*caller)->role >= api::v1::ROLE_USER, "it is a user's",
            token);
  }
  if (const auto service = keys.services.Verify(token)) {
    RequireClaims(token, "svc+jwt", "shop-services", "products");
    Require(*service == "orders", "a key speaks for its own service", token);
  }
  return 0;
}
