#include "auth/totp.h"

#include <gtest/gtest.h>

namespace shop::auth {
namespace {

// RFC 6238, appendix B, SHA-1.
constexpr char kSecret[] = "12345678901234567890";

TEST(Totp, IsWhatTheRfcSays) {
  const struct {
    int64_t time;
    const char* code;
  } vectors[] = {{59, "94287082"},         {1111111109, "07081804"}, {1111111111, "14050471"},
                 {1234567890, "89005924"}, {2000000000, "69279037"}, {20000000000, "65353130"}};
  for (const auto& [time, code] : vectors) {
    EXPECT_EQ(TotpCode(kSecret, time / 30, 8), code) << time;
    EXPECT_EQ(TotpCode(kSecret, time / 30), std::string(code).substr(2)) << time;
  }
}

TEST(Totp, ACodeIsGoodAStepEarlierAndLater) {
  constexpr int64_t kNow = 1111111111;
  constexpr int64_t kStep = kNow / 30;
  for (const int64_t drift : {-1, 0, 1}) {
    EXPECT_EQ(TotpStep(kSecret, TotpCode(kSecret, kStep + drift), kNow, 0), kStep + drift);
  }
  for (const int64_t drift : {-2, 2}) {
    EXPECT_FALSE(TotpStep(kSecret, TotpCode(kSecret, kStep + drift), kNow, 0)) << drift;
  }
}

TEST(Totp, ACodeIsGoodOnceAndNoneBeforeIt) {
  constexpr int64_t kNow = 1111111111;
  constexpr int64_t kStep = kNow / 30;
  EXPECT_FALSE(TotpStep(kSecret, TotpCode(kSecret, kStep), kNow, kStep));
  EXPECT_FALSE(TotpStep(kSecret, TotpCode(kSecret, kStep - 1), kNow, kStep));
  EXPECT_EQ(TotpStep(kSecret, TotpCode(kSecret, kStep + 1), kNow, kStep), kStep + 1);
}

TEST(Totp, OnlyAWholeCodeIsOne) {
  const std::string code = TotpCode(kSecret, 1111111111 / 30);
  for (const std::string& other : {std::string(), code.substr(1), code + "0", " " + code,
                                   TotpCode(kSecret, 1111111111 / 30, 8)}) {
    EXPECT_FALSE(TotpStep(kSecret, other, 1111111111, 0)) << other;
  }
}

// RFC 4648, section 10.
TEST(Base32, IsWhatTheRfcSays) {
  EXPECT_EQ(EncodeBase32(""), "");
  EXPECT_EQ(EncodeBase32("f"), "MY");
  EXPECT_EQ(EncodeBase32("fo"), "MZXQ");
  EXPECT_EQ(EncodeBase32("foo"), "MZXW6");
  EXPECT_EQ(EncodeBase32("foob"), "MZXW6YQ");
  EXPECT_EQ(EncodeBase32("fooba"), "MZXW6YTB");
  EXPECT_EQ(EncodeBase32("foobar"), "MZXW6YTBOI");
  EXPECT_EQ(EncodeBase32("\xff\xff\xff\xff\xff"), "77777777");
}

TEST(Totp, AnAppReadsTheSecretFromTheUri) {
  EXPECT_EQ(TotpUri(kSecret, "a+b@example.com"),
            "otpauth://totp/Shop:a%2Bb%40example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
            "&issuer=Shop&algorithm=SHA1&digits=6&period=30");
}

}  // namespace
}  // namespace shop::auth
