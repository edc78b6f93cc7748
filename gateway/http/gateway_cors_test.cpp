// What browsers are told of which pages may read an answer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "gateway/testing/fixture.h"

namespace shop::gateway {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Key;
using ::testing::Not;

TEST_F(GatewayTest, APreflightIsAnswered) {
  settings_.cors_origins = {"*"};
  const Response response =
      Exchange(Get("/api/v1/books",
                   "Origin: https://a.example\r\nAccess-Control-Request-Method: POST\r\n"
                   "Access-Control-Request-Headers: authorization\r\n",
                   "OPTIONS"));
  EXPECT_EQ(response.status, 204);
  EXPECT_EQ(response.headers.at("access-control-allow-origin"), "*");
  EXPECT_EQ(response.headers.at("access-control-allow-methods"), "GET, HEAD, POST, OPTIONS");
  EXPECT_THAT(response.headers.at("access-control-allow-headers"),
              AllOf(HasSubstr("Authorization"), HasSubstr("Idempotency-Key"), HasSubstr("If-Match"),
                    HasSubstr("If-None-Match")));
}

TEST_F(GatewayTest, NoOtherPageMayReadAnswersUnlessItIsListed) {
  const std::string origin = "Origin: https://a.example\r\n";
  for (const std::string& request :
       {Get("/api/v1/books/1", origin), Get("/nothing", origin),
        Get("/api/v1/books", origin + "Access-Control-Request-Method: POST\r\n", "OPTIONS")}) {
    EXPECT_THAT(Exchange(request).headers, Not(Contains(Key("access-control-allow-origin"))));
  }
}

TEST_F(GatewayTest, EveryAnswerSaysWhoMayReadIt) {
  settings_.cors_origins = {"*"};
  const std::string origin = "Origin: https://a.example\r\n";
  const Response response = Exchange(Get("/api/v1/books/1", origin));
  EXPECT_EQ(response.headers.at("access-control-allow-origin"), "*");
  EXPECT_THAT(response.headers.at("access-control-expose-headers"), HasSubstr("ETag"));
  EXPECT_EQ(Exchange(Get("/nothing", origin)).headers.at("access-control-allow-origin"), "*");
  EXPECT_THAT(Exchange(Get("/api/v1/books/1")).headers,
              Not(Contains(Key("access-control-allow-origin"))));
}

TEST_F(GatewayTest, OnlyTheListedOriginsMayReadWhereThereIsAList) {
  settings_.cors_origins = {"https://a.example", "https://b.example"};
  const Response listed = Exchange(Get("/api/v1/books/1", "Origin: https://b.example\r\n"));
  EXPECT_EQ(listed.headers.at("access-control-allow-origin"), "https://b.example");
  EXPECT_EQ(listed.headers.at("vary"), "Accept-Encoding, Origin");
  const Response other = Exchange(Get("/api/v1/books/1", "Origin: https://c.example\r\n"));
  EXPECT_THAT(other.headers, Not(Contains(Key("access-control-allow-origin"))));
}

}  // namespace
}  // namespace shop::gateway
