#include "common/auth/service_token.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "common/auth/access_token.h"
#include "common/auth/jose.h"
#include "common/testing/keys.h"
#include "common/testing/service_keys.h"

namespace shop::auth {
namespace {

using shop::testing::Base64Url;
using shop::testing::Hs256;
using shop::testing::PublicServiceKey;
using shop::testing::ServiceKeyOf;
using shop::testing::ServiceKeysOf;
using std::chrono::seconds;
using ::testing::HasSubstr;

class ServiceTokenTest : public ::testing::Test {
 protected:
  Clock clock() {
    return [this] { return now; };
  }
  int64_t Unix() const {
    return std::chrono::duration_cast<seconds>(now.time_since_epoch()).count();
  }
  void ExpectRefused(const std::string& token, const std::string& why) {
    const Result<std::string> name = products.Verify(token);
    ASSERT_FALSE(name) << "was taken: " << token;
    EXPECT_EQ(name.refusal().code, Code::kUnauthenticated);
    EXPECT_THAT(name.refusal().message, HasSubstr(why));
  }
  // A token of orders for products, unless the claims say otherwise, signed by the service `signer`.
  std::string Signed(const std::string& signer, const std::string& claims,
                     const std::string& header = R"("alg":"ES256","typ":"svc+jwt")") {
    const jose::Key key = jose::PrivateKeyOf(ServiceKeyOf(signer));
    return jose::Assemble(
        fmt::format(R"({{{},"kid":"{}"}})", header, jose::Thumbprint(jose::PublicPoint(key.get()))),
        claims, [&](std::string_view text) { return jose::SignEs256(key.get(), text); });
  }
  std::string Claims(const std::string& subject, const std::string& audience = "products",
                     const std::string& issuer = "shop-services") const {
    return fmt::format(R"({{"iss":"{}","aud":"{}","sub":"{}","iat":{},"exp":{}}})", issuer,
                       audience, subject, Unix(), Unix() + 60);
  }

  std::chrono::system_clock::time_point now{seconds(1'800'000'000)};
  ServiceTokens orders{ServiceKeysOf("orders"), clock()};
  ServiceTokens products{ServiceKeysOf("products"), clock()};
};

TEST_F(ServiceTokenTest, AnAccessTokenIsNoServiceToken) {
  const TokenSigner signer(shop::testing::KeyPair().private_pem, clock());
  ExpectRefused(signer.Sign(7, api::v1::ROLE_SUPER_ADMIN, seconds(900)), "another type");
}

TEST_F(ServiceTokenTest, NamesItsService) {
  const std::string token = orders.OwnToken("products");
  for (int i = 0; i < 2; ++i) {  // the second answer comes from the cache
    const Result<std::string> name = products.Verify(token);
    ASSERT_TRUE(name) << name.refusal().message;
    EXPECT_EQ(*name, "orders");
  }
}

TEST_F(ServiceTokenTest, IsOfNoUseAtAnyOtherService) {
  EXPECT_NE(orders.OwnToken("cart"), orders.OwnToken("products"));
  ExpectRefused(orders.OwnToken("cart"), "audience");
  EXPECT_FALSE(orders.Verify(orders.OwnToken("products")));
}

TEST_F(ServiceTokenTest, IsMadeAnewBeforeItExpires) {
  const std::string first = orders.OwnToken("products");
  EXPECT_EQ(orders.OwnToken("products"), first);
  now = now + seconds(300);
  EXPECT_NE(orders.OwnToken("products"), first);
  EXPECT_TRUE(products.Verify(first));
  now = now + seconds(300);
  ExpectRefused(first, "expired");
}

TEST_F(ServiceTokenTest, OfAServiceThatWasTakenOverPassesForNoOther) {
  EXPECT_TRUE(products.Verify(Signed("cart", Claims("cart"))));
  ExpectRefused(Signed("cart", Claims("stock")), "another service's");
  ExpectRefused(Signed("cart", Claims("")), "another service's");
}

TEST_F(ServiceTokenTest, UnderAKeyThatIsNotListedIsRefused) {
  ServiceTokens::Settings strange = ServiceKeysOf("orders");
  strange.key = ServiceKeyOf("a stranger");
  strange.keys = PublicServiceKey("orders", strange.key);
  ServiceTokens stranger(strange, clock());
  ExpectRefused(stranger.OwnToken("products"), "key is unknown");
}

TEST_F(ServiceTokenTest, UnderTheKeyOfBeforeIsTakenAsLongAsThatIsListed) {
  ServiceTokens::Settings renewed = ServiceKeysOf("orders");
  renewed.key = ServiceKeyOf("orders, the next");
  renewed.keys += "," + PublicServiceKey("orders", renewed.key);
  ServiceTokens next(renewed, clock());
  ServiceTokens::Settings receiving = ServiceKeysOf("products");
  receiving.keys = renewed.keys;
  ServiceTokens receiver(receiving, clock());
  for (const std::string& token : {orders.OwnToken("products"), next.OwnToken("products")}) {
    const Result<std::string> name = receiver.Verify(token);
    ASSERT_TRUE(name) << name.refusal().message;
    EXPECT_EQ(*name, "orders");
  }
}

TEST_F(ServiceTokenTest, ForgedOnesAreRefused) {
  const std::string good = Signed("orders", Claims("orders"));
  EXPECT_TRUE(products.Verify(good));
  ExpectRefused(Signed("orders", Claims("orders"), R"("alg":"none","typ":"svc+jwt")"), "algorithm");
  ExpectRefused(Signed("orders", Claims("orders"), R"("alg":"ES256","typ":"at+jwt")"), "type");
  ExpectRefused(Signed("orders", Claims("orders", "products", "shop-auth")), "issuer");
  ExpectRefused(good.substr(0, good.rfind('.') + 1), "signature");
  ExpectRefused(good.substr(0, good.size() - 1), "malformed");
  ExpectRefused("", "malformed");
  // The public key, which everybody knows, as the secret of an HMAC.
  const std::string key = PublicServiceKey("orders", ServiceKeyOf("orders")).substr(7);
  const std::string text =
      Base64Url(R"({"alg":"HS256","typ":"svc+jwt"})") + "." + Base64Url(Claims("orders"));
  ExpectRefused(text + "." + Hs256(key, text), "algorithm");
}

TEST_F(ServiceTokenTest, WrongSettingsAreRefusedByName) {
  const auto refusal = [](const std::string& key, const std::string& keys) -> std::string {
    try {
      ServiceTokens::RequireKey(key);
      ServiceTokens::RequireKeys({"orders", key, keys});
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "";
  };
  const auto [name, key, keys] = ServiceKeysOf("orders");
  EXPECT_EQ(refusal(key, keys), "");
  EXPECT_THAT(refusal(key.substr(1), keys), HasSubstr("64 hexadecimal digits"));
  EXPECT_THAT(refusal(std::string(64, 'x'), keys), HasSubstr("64 hexadecimal digits"));
  EXPECT_THAT(refusal(std::string(64, '0'), keys), HasSubstr("not a number of P-256"));
  EXPECT_THAT(refusal(std::string(64, 'f'), keys), HasSubstr("not a number of P-256"));
  EXPECT_THAT(refusal(key, "orders"), HasSubstr("NAME:KEY"));
  EXPECT_THAT(refusal(key, "orders:AAAA"), HasSubstr("64 bytes"));
  EXPECT_THAT(refusal(key, "orders:" + std::string(86, 'A')), HasSubstr("not a point"));
  EXPECT_THAT(refusal(key, keys + "," + PublicServiceKey("orders", key)), HasSubstr("twice"));
  EXPECT_THAT(refusal(key, PublicServiceKey("cart", key)), HasSubstr("public part"));
  EXPECT_THAT(refusal(ServiceKeyOf("cart"), keys), HasSubstr("public part"));
}

}  // namespace
}  // namespace shop::auth
