// What is answered to clients that ask for too much.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "gateway/testing/fixture.h"

namespace shop::gateway {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Key;
using ::testing::Not;
using ::testing::StartsWith;

constexpr char kBook[] = "/api/v1/books/12";

class GatewayRateLimitsTest : public GatewayTest {
 protected:
  GatewayRateLimitsTest() {
    settings_.rate = {.enabled = true, .user_quota = 3, .address_quota = 5};
  }
};

TEST_F(GatewayRateLimitsTest, AnAddressThatAsksForTooMuchHasToWait) {
  const std::string known = User();
  EXPECT_EQ(Exchange(Get(kBook, known)).status, 200);
  for (int left = 4; left >= 0; --left) {
    const Response response = Exchange(Get(kBook));
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.headers.at("ratelimit-policy"), "\"address\";q=5;w=60");
    EXPECT_THAT(response.headers.at("ratelimit"),
                StartsWith("\"address\";r=" + std::to_string(left) + ";t="));
  }
  const Response refused = Exchange(Get(kBook));
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(refused.text("/error/code"), "RESOURCE_EXHAUSTED");
  EXPECT_GT(std::stoi(refused.headers.at("retry-after")), 0);
  EXPECT_THAT(refused.headers.at("ratelimit"), HasSubstr(";r=0;"));
  EXPECT_EQ(library_.read, 6) << "the service was asked";
  EXPECT_EQ(Exchange(Get("/nothing")).status, 429);
  EXPECT_EQ(Exchange(Get("/healthz")).status, 200) << "a probe is never refused";
  EXPECT_EQ(Exchange(Get(kBook, known)).status, 200) << "a user has a quota of their own";
}

TEST_F(GatewayRateLimitsTest, AUserHasAQuotaWhereverTheyAre) {
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Exchange(Get(kBook, User())).status, 200);
  const Response refused = Exchange(Get(kBook, User()));
  EXPECT_EQ(refused.status, 429);
  EXPECT_THAT(refused.headers.at("ratelimit"), StartsWith("\"user\";r=0;"));
  EXPECT_EQ(Exchange(Get(kBook, Token(api::v1::ROLE_USER, 8))).status, 200);
  EXPECT_EQ(Exchange(Get(kBook)).status, 200);
}

TEST_F(GatewayRateLimitsTest, WhatAnybodyMayChangeIsTakenFromTheAddressWhoeverAsks) {
  const std::string known = User();
  EXPECT_EQ(Exchange(Get(kBook, known)).status, 200);
  const auto send = [this](int64_t user) {
    return Exchange(
        Post("/api/v1/shelves/a/letters", "Dear all", Token(api::v1::ROLE_USER, user) + kJson));
  };
  for (int64_t user = 1; user <= 5; ++user) {
    const Response response = send(user);
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.headers.at("ratelimit-policy"), "\"address\";q=5;w=60");
  }
  EXPECT_EQ(send(6).status, 429);
  EXPECT_EQ(Exchange(Get(kBook)).status, 429);
  EXPECT_EQ(Exchange(Get(kBook, known)).status, 200) << "what they read is their own";
}

TEST_F(GatewayRateLimitsTest, TokensThatAreNotGoodAreTakenFromTheAddress) {
  const std::string forged = "Authorization: Bearer a.b.c\r\n";
  for (int i = 0; i < 5; ++i) EXPECT_EQ(Exchange(Get(kBook, forged)).status, 401);
  EXPECT_EQ(Exchange(Get(kBook, forged)).status, 429);
}

TEST_F(GatewayRateLimitsTest, ForgedTokensAreNotCheckedOnceTheirAddressHasNothingLeft) {
  const std::string known = User();
  EXPECT_EQ(Exchange(Get(kBook, known)).status, 200);
  // Of a key that is known; each is another one.
  const auto forged = [this](int64_t user) {
    std::string token = Token(api::v1::ROLE_USER, user);
    char& byte = token[token.size() - 20];  // of the signature
    byte = byte == 'A' ? 'B' : 'A';
    return Exchange(Get(kBook, token)).status;
  };
  const double before = Counted("http_token_checks_total");
  for (int i = 0; i < 5; ++i) EXPECT_EQ(forged(100 + i), 401);
  EXPECT_EQ(Counted("http_token_checks_total") - before, 5);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(forged(200 + i), 429);
  EXPECT_EQ(Counted("http_token_checks_total") - before, 5);

  EXPECT_EQ(Exchange(Get(kBook, known)).status, 200) << "it needs no check";
  Client other(port(), 2);
  other.Send(Get(kBook, Token(api::v1::ROLE_USER, 9)));
  EXPECT_EQ(other.Receive().status, 200);
}

TEST_F(GatewayRateLimitsTest, ATokenThatIsGoodTakesNothingFromTheAddress) {
  for (int64_t user = 1; user <= 10; ++user) {
    EXPECT_EQ(Exchange(Get(kBook, Token(api::v1::ROLE_USER, user))).status, 200);
  }
  EXPECT_THAT(Exchange(Get(kBook)).headers.at("ratelimit"), StartsWith("\"address\";r=4;"));
}

TEST_F(GatewayRateLimitsTest, AProxysWordCountsWhereItIsTrusted) {
  const auto ask = [this](const std::string& client) {
    return Exchange(Get(kBook, "X-Forwarded-For: " + client + "\r\n")).status;
  };
  settings_.proxies = *TrustedProxies::Parse("127.0.0.0/8");
  for (int i = 0; i < 5; ++i) EXPECT_EQ(ask("198.51.100.1"), 200);
  EXPECT_EQ(ask("198.51.100.1"), 429);
  EXPECT_EQ(ask("203.0.113.9, 198.51.100.1"), 429) << "what a client has made up";
  EXPECT_EQ(ask("198.51.100.2"), 200);
}

TEST_F(GatewayRateLimitsTest, NobodysWordCountsOtherwise) {
  for (int i = 0; i < 5; ++i) {
    const std::string made_up = "X-Forwarded-For: 198.51.100." + std::to_string(i) + "\r\n";
    EXPECT_EQ(Exchange(Get(kBook, made_up)).status, 200);
  }
  EXPECT_EQ(Exchange(Get(kBook, "X-Forwarded-For: 198.51.100.99\r\n")).status, 429);
}

TEST_F(GatewayRateLimitsTest, InShadowModeTheHeadersAreAllThatIsSeen) {
  settings_.rate.shadow = true;
  for (int i = 0; i < 10; ++i) EXPECT_EQ(Exchange(Get(kBook)).status, 200);
  EXPECT_THAT(Exchange(Get(kBook)).headers.at("ratelimit"), HasSubstr(";r=0;"));
}

TEST_F(GatewayRateLimitsTest, SwitchedOffNothingIsSaid) {
  settings_.rate.enabled = false;
  EXPECT_THAT(Exchange(Get(kBook)).headers, Not(Contains(Key("ratelimit"))));
}

}  // namespace
}  // namespace shop::gateway
