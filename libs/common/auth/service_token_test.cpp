#include "common/auth/service_token.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "common/auth/access_token.h"
#include "common/testing/keys.h"

namespace shop::auth {
namespace {

using shop::testing::Base64Url;
using shop::testing::Hs256;
using std::chrono::seconds;
using ::testing::HasSubstr;

constexpr char kServiceKey[] = "0123456789abcdef0123456789abcdef";

class ServiceTokenTest : public ::testing::Test {
 protected:
  Clock clock() {
    return [this] { return now; };
  }
  int64_t Unix() const {
    return std::chrono::duration_cast<seconds>(now.time_since_epoch()).count();
  }

  std::chrono::system_clock::time_point now{seconds(1'800'000'000)};
  ServiceTokens services{"orders", kServiceKey, clock()};
};

TEST_F(ServiceTokenTest, AnAccessTokenIsNoServiceToken) {
  const TokenSigner signer(shop::testing::KeyPair().private_pem, clock());
  const Result<std::string> name =
      services.Verify(signer.Sign(7, api::v1::ROLE_SUPER_ADMIN, seconds(900)));
  ASSERT_FALSE(name);
  EXPECT_EQ(name.refusal().code, Code::kUnauthenticated);
}

TEST_F(ServiceTokenTest, NamesItsService) {
  ServiceTokens receiver("products", kServiceKey, clock());
  const std::string token = services.OwnToken();
  for (int i = 0; i < 2; ++i) {  // the second answer comes from the cache
    const Result<std::string> name = receiver.Verify(token);
    ASSERT_TRUE(name) << name.refusal().message;
    EXPECT_EQ(*name, "orders");
  }
}

TEST_F(ServiceTokenTest, IsMadeAnewBeforeItExpires) {
  const std::string first = services.OwnToken();
  EXPECT_EQ(services.OwnToken(), first);
  now = now + seconds(300);
  EXPECT_NE(services.OwnToken(), first);
  EXPECT_TRUE(services.Verify(first));
  now = now + seconds(300);
  EXPECT_FALSE(services.Verify(first));
}

TEST_F(ServiceTokenTest, UnderAnotherKeyIsRefused) {
  ServiceTokens stranger("orders", std::string(32, 'k'), clock());
  const Result<std::string> name = services.Verify(stranger.OwnToken());
  ASSERT_FALSE(name);
  EXPECT_EQ(name.refusal().code, Code::kUnauthenticated);
  EXPECT_THAT(name.refusal().message, HasSubstr("signature"));
}

TEST_F(ServiceTokenTest, ForgedOnesAreRefused) {
  const std::string times =
      std::to_string(Unix()) + R"(,"exp":)" + std::to_string(Unix() + 60) + "}";
  const std::string claims =
      R"({"iss":"shop-services","aud":"shop-internal","sub":"stock","iat":)" + times;
  const auto token = [&](const std::string& header, const std::string& payload) {
    const std::string text = Base64Url(header) + "." + Base64Url(payload);
    return text + "." + Hs256(kServiceKey, text);
  };
  EXPECT_TRUE(services.Verify(token(R"({"alg":"HS256","typ":"svc+jwt"})", claims)));
  EXPECT_FALSE(services.Verify(token(R"({"alg":"none","typ":"svc+jwt"})", claims)));
  EXPECT_FALSE(services.Verify(token(R"({"alg":"HS256","typ":"at+jwt"})", claims)));
  EXPECT_FALSE(services.Verify(
      token(R"({"alg":"HS256","typ":"svc+jwt"})",
            R"({"iss":"shop-auth","aud":"shop","sub":"7","roles":["USER"],"iat":)" + times)));
  EXPECT_FALSE(services.Verify(Base64Url(R"({"alg":"HS256","typ":"svc+jwt"})") + "." +
                               Base64Url(claims) + "."));
  EXPECT_FALSE(services.Verify(""));
}

TEST_F(ServiceTokenTest, AShortKeyIsRefused) {
  EXPECT_THROW(ServiceTokens("orders", std::string(31, 'k')), std::invalid_argument);
}

}  // namespace
}  // namespace shop::auth
