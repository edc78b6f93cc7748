#include <absl/strings/escaping.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <thread>

#include "common/crypto/base64.h"
#include "common/crypto/random.h"
#include "common/crypto/seal.h"
#include "common/crypto/sha256.h"

namespace shop {
namespace {

TEST(Base64, IsWrittenInEitherAlphabet) {
  EXPECT_EQ(EncodeBase64(""), "");
  EXPECT_EQ(EncodeBase64("f"), "Zg==");
  EXPECT_EQ(EncodeBase64("\xff\xfe\xfd"), "//79");
  EXPECT_EQ(EncodeBase64Url("f"), "Zg");
  EXPECT_EQ(EncodeBase64Url("\xff\xfe\xfd"), "__79");
}

TEST(Base64, IsReadInEitherAlphabetWithOrWithoutPadding) {
  for (const char* text : {"_-8", "_-8=", "/+8", "/+8=", "/-8"}) {
    EXPECT_EQ(DecodeBase64(text), "\xff\xef") << text;
  }
  EXPECT_EQ(DecodeBase64("Zh"), "f");  // bits left over do not count
  for (const char* text : {"Z", "Zm 8", " Zm8", "Zm8\n", "Zm8.", "Zg=a", "Zm8*", "Zm\xc3\xa4"}) {
    EXPECT_FALSE(DecodeBase64(text)) << text;
  }
}

TEST(Base64, OfTheUrlAlphabetIsReadStrictly) {
  EXPECT_EQ(DecodeBase64Url(""), "");
  EXPECT_EQ(DecodeBase64Url("_-8"), "\xff\xef");
  for (const char* text : {"_-8=", "/+8", "_-9", "_", "_- 8", "_-8.", "_-8\n"}) {
    EXPECT_FALSE(DecodeBase64Url(text)) << text;
  }
}

TEST(Hmac, IsTheStandardsOwnExample) {  // RFC 4231, test case 2
  EXPECT_EQ(absl::BytesToHexString(HmacSha256("Jefe", "what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

TEST(EqualInConstantTime, IsEquality) {
  EXPECT_TRUE(EqualInConstantTime("", ""));
  EXPECT_TRUE(EqualInConstantTime("abc", "abc"));
  for (const char* other : {"", "ab", "abd", "abcd"})
    EXPECT_FALSE(EqualInConstantTime("abc", other));
}

TEST(Sha256, IsTheStandardsOwnExample) {
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256("abc").substr(0, 2), "\xba\x78");
}

TEST(Random, ThreadsHaveNumbersOfTheirOwn) {
  std::set<uint64_t> numbers = {ThreadRandom()(), ThreadRandom()()};
  std::thread([&] { numbers.insert(ThreadRandom()()); }).join();
  EXPECT_EQ(numbers.size(), 3u);
  EXPECT_NE(RandomBytes<16>(), RandomBytes<16>());
}

TEST(Seal, IsOpenedByTheSameSecretForTheSameThingAlone) {
  const std::string sealed = Seal("secret", "key 1", "text");
  EXPECT_EQ(Unseal("secret", "key 1", sealed), "text");
  EXPECT_EQ(Unseal("another", "key 1", sealed), std::nullopt);
  EXPECT_EQ(Unseal("secret", "key 2", sealed), std::nullopt);
  EXPECT_NE(Seal("secret", "key 1", "text"), sealed);
  EXPECT_EQ(Unseal("secret", "", Seal("secret", "", "")), "");
}

TEST(Seal, NotesEveryChange) {
  const std::string sealed = Seal("secret", "key 1", "text");
  for (size_t i = 0; i < sealed.size(); ++i) {
    std::string changed = sealed;
    changed[i] = changed[i] == 'A' ? 'B' : 'A';
    EXPECT_EQ(Unseal("secret", "key 1", changed), std::nullopt) << i;
    EXPECT_EQ(Unseal("secret", "key 1", sealed.substr(0, i)), std::nullopt) << i;
  }
}

}  // namespace
}  // namespace shop
