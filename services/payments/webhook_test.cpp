#include "payments/webhook.h"

#include <gtest/gtest.h>

#include "provider/background.h"

namespace shop::payments {
namespace {

constexpr char kSecret[] = "whsec_test";
constexpr char kBody[] = R"({"id":"evt_1"})";
constexpr int64_t kNow = 1'800'000'000;

std::string Signed(int64_t time = kNow, const std::string& secret = kSecret) {
  return provider::Signature(secret, time, kBody);
}

Code Refused(std::string_view signature, std::string_view body = kBody) {
  const Result<void> checked = CheckSignature(kSecret, signature, body, kNow);
  return checked ? Code{} : checked.refusal().code;
}

TEST(WebhookSignature, OfTheProviderIsGood) {
  EXPECT_TRUE(CheckSignature(kSecret, Signed(), kBody, kNow));
}

TEST(WebhookSignature, IsOfTheVeryBytes) {
  EXPECT_EQ(Refused(Signed(), R"({"id": "evt_1"})"), Code::kUnauthenticated);
  EXPECT_EQ(Refused(Signed(), ""), Code::kUnauthenticated);
}

TEST(WebhookSignature, IsOfTheSecretAndOfItsTime) {
  EXPECT_EQ(Refused(Signed(kNow, "another")), Code::kUnauthenticated);
  const std::string signature = Signed();
  EXPECT_EQ(Refused("t=" + std::to_string(kNow + 1) + signature.substr(signature.find(','))),
            Code::kUnauthenticated);
}

TEST(WebhookSignature, IsGoodForFiveMinutes) {
  for (const int64_t age : {-300, 300}) EXPECT_EQ(Refused(Signed(kNow - age)), Code{});
  for (const int64_t age : {-301, 301}) {
    EXPECT_EQ(Refused(Signed(kNow - age)), Code::kUnauthenticated);
  }
}

TEST(WebhookSignature, MayBeOneOfSeveral) {
  const std::string good = Signed();
  EXPECT_EQ(Refused(good + ",v0=abc,v1=abc"), Code{});
  EXPECT_EQ(Refused("v1=abc," + good), Code{});
}

TEST(WebhookSignature, ThatIsNoneIsRefused) {
  for (const char* text : {"", ",", "t=", "v1=", "t=1", "v1=ab", "t=x,v1=ab", "t=1 ,v1=ab",
                           "t=99999999999999999999,v1=ab", "=,=,t", "v1=,t=1800000000"}) {
    EXPECT_EQ(Refused(text), Code::kUnauthenticated) << text;
  }
}

}  // namespace
}  // namespace shop::payments
