#include "common/auth/access_token.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/bn.h>
#include <openssl/evp.h>

#include <atomic>
#include <map>
#include <stdexcept>
#include <thread>
#include <vector>

#include "common/auth/service_token.h"
#include "common/crypto/base64.h"
#include "common/testing/keys.h"
#include "common/testing/servers.h"
#include "common/testing/service_keys.h"

namespace shop::auth {
namespace {

using shop::testing::Base64Url;
using shop::testing::Es256;
using shop::testing::Eventually;
using shop::testing::Hs256;
using shop::testing::KeyPair;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

const KeyPair& Pair() {
  static const KeyPair pair;
  return pair;
}

std::vector<std::string> Split(const std::string& token) {
  std::vector<std::string> parts{""};
  for (const char c : token) {
    if (c == '.') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

class AccessTokenTest : public ::testing::Test {
 protected:
  ~AccessTokenTest() override { auth_is_slow = false; }

  Clock clock() {
    return [this] { return now.load(); };
  }
  int64_t Unix() const {
    return std::chrono::duration_cast<seconds>(now.load().time_since_epoch()).count();
  }

  // A good payload, with `changes` ("name":value) in the place of claims of the same names.
  std::string Claims(const std::vector<std::pair<std::string, std::string>>& changes = {}) {
    std::map<std::string, std::string> claims = {{"iss", "\"shop-auth\""},
                                                 {"aud", "\"shop\""},
                                                 {"sub", "\"7\""},
                                                 {"roles", "[\"USER\"]"},
                                                 {"iat", std::to_string(Unix())},
                                                 {"exp", std::to_string(Unix() + 900)}};
    for (const auto& [name, value] : changes) claims[name] = value;
    std::string text;
    for (const auto& [name, value] : claims) {
      text += (text.empty() ? "{" : ",") + ("\"" + name + "\":" + value);
    }
    return text + "}";
  }
  std::string Header(const std::string& changes = "") {
    return R"({"alg":"ES256","typ":"at+jwt","kid":")" + signer.public_key().kid + "\"" +
           (changes.empty() ? "" : "," + changes) + "}";
  }
  // A token signed with the right key, whatever it says.
  std::string Signed(const std::string& header, const std::string& claims) {
    const std::string text = Base64Url(header) + "." + Base64Url(claims);
    return text + "." + Es256(Pair().private_pem, text);
  }
  void ExpectRefused(const std::string& token, const std::string& why) {
    const Result<Caller> caller = verifier.Verify(token);
    ASSERT_FALSE(caller) << "was taken: " << token;
    EXPECT_EQ(caller.refusal().code, Code::kUnauthenticated);
    EXPECT_THAT(caller.refusal().message, HasSubstr(why));
    EXPECT_FALSE(verifier.FindCached(token));
  }

  // Signs with a key that auth does not publish.
  std::string Strangers() {
    static const KeyPair other;
    return TokenSigner(other.private_pem, clock()).Sign(7, api::v1::ROLE_USER, seconds(900));
  }

  std::atomic<std::chrono::system_clock::time_point> now{
      std::chrono::system_clock::time_point(seconds(1'800'000'000))};
  TokenSigner signer{Pair().private_pem, clock()};
  std::vector<PublicKey> published{signer.public_key()};
  std::atomic<bool> auth_is_away = false;
  std::atomic<bool> auth_is_slow = false;  // answers once this is over
  std::atomic<int> fetches = 0;
  TokenVerifier verifier{[this]() -> std::vector<PublicKey> {
                           ++fetches;
                           while (auth_is_slow) std::this_thread::sleep_for(milliseconds(1));
                           if (auth_is_away) throw std::runtime_error("connection refused");
                           return published;
                         },
                         clock()};
};

TEST_F(AccessTokenTest, ASignedTokenStandsForItsUser) {
  const Result<Caller> caller =
      verifier.Verify(signer.Sign(42, api::v1::ROLE_SELLER, seconds(900)));
  ASSERT_TRUE(caller) << caller.refusal().message;
  EXPECT_EQ(caller->user_id, 42);
  EXPECT_EQ(caller->role, api::v1::ROLE_SELLER);
  EXPECT_FALSE(caller->is_service());
  EXPECT_EQ(caller->session, "");
}

TEST_F(AccessTokenTest, ATokenNamesItsSession) {
  const Result<Caller> caller =
      verifier.Verify(signer.Sign(42, api::v1::ROLE_SELLER, seconds(900), "kTz-9_aQ"));
  ASSERT_TRUE(caller) << caller.refusal().message;
  EXPECT_EQ(caller->session, "kTz-9_aQ");
}

TEST_F(AccessTokenTest, TheTokensOfARevokedSessionAreRefusedAndNoOthers) {
  const auto sign = [&](std::string_view session) {
    return signer.Sign(42, api::v1::ROLE_USER, seconds(900), session);
  };
  const std::string cached = sign("mine");
  ASSERT_TRUE(verifier.Verify(cached));
  EXPECT_TRUE(verifier.Revoke("mine", clock()() + seconds(900)));
  EXPECT_FALSE(verifier.FindCached(cached));
  ExpectRefused(cached, "session of this token has ended");
  ExpectRefused(sign("mine"), "session of this token has ended");
  EXPECT_TRUE(verifier.Verify(sign("yours")));
  EXPECT_TRUE(verifier.Verify(sign("")));
}

TEST_F(AccessTokenTest, TheTestsOwnTokensAreGood) {
  // Without this every refusal below could be due to the test's signing.
  const Result<Caller> caller = verifier.Verify(Signed(Header(), Claims()));
  ASSERT_TRUE(caller) << caller.refusal().message;
  EXPECT_EQ(caller->user_id, 7);
}

TEST_F(AccessTokenTest, AClaimThatStandsTwiceIsRefused) {
  std::string twice = Claims();
  twice.insert(1, R"("sub":"1",)");
  ExpectRefused(Signed(Header(), twice), "malformed");
}

TEST_F(AccessTokenTest, EveryTokenIsUnique) {
  EXPECT_NE(Split(signer.Sign(1, api::v1::ROLE_USER, seconds(900)))[1],
            Split(signer.Sign(1, api::v1::ROLE_USER, seconds(900)))[1]);
}

TEST_F(AccessTokenTest, TheKeyIdIsTheThumbprint) {
  // The example of RFC 7638 is an RSA key; this is its recipe on the published coordinates.
  const PublicKey& key = signer.public_key();
  const std::string text =
      R"({"crv":"P-256","kty":"EC","x":")" + key.x + R"(","y":")" + key.y + "\"}";
  unsigned char digest[32];
  EVP_Digest(text.data(), text.size(), digest, nullptr, EVP_sha256(), nullptr);
  EXPECT_EQ(key.kid, Base64Url(std::string(reinterpret_cast<char*>(digest), 32)));
}

TEST_F(AccessTokenTest, AlgorithmNoneIsRefused) {
  const std::string unsigned_text =
      Base64Url(R"({"alg":"none","typ":"at+jwt","kid":")" + signer.public_key().kid + "\"}") + "." +
      Base64Url(Claims()) + ".";
  ExpectRefused(unsigned_text, "algorithm");
  ExpectRefused(unsigned_text + Split(signer.Sign(7, api::v1::ROLE_USER, seconds(900)))[2],
                "algorithm");
}

TEST_F(AccessTokenTest, ThePublicKeyIsNoSecret) {
  const std::string text =
      Base64Url(R"({"alg":"HS256","typ":"at+jwt","kid":")" + signer.public_key().kid + "\"}") +
      "." + Base64Url(Claims());
  ExpectRefused(text + "." + Hs256(Pair().public_pem, text), "algorithm");
}

TEST_F(AccessTokenTest, AnEmptySignatureIsRefused) {
  ExpectRefused(Base64Url(Header()) + "." + Base64Url(Claims()) + ".", "signature");
}

TEST_F(AccessTokenTest, ASignatureOfZeroesIsRefused) {
  ExpectRefused(
      Base64Url(Header()) + "." + Base64Url(Claims()) + "." + Base64Url(std::string(64, '\0')),
      "signature");
}

TEST_F(AccessTokenTest, AnotherKeysSignatureIsRefused) {
  const KeyPair other;
  const std::string text = Base64Url(Header()) + "." + Base64Url(Claims());
  ExpectRefused(text + "." + Es256(other.private_pem, text), "signature");
}

TEST_F(AccessTokenTest, AChangedPayloadIsRefused) {
  std::vector<std::string> parts = Split(signer.Sign(7, api::v1::ROLE_USER, seconds(900)));
  ExpectRefused(
      parts[0] + "." + Base64Url(Claims({{"roles", R"(["SUPER_ADMIN"])"}})) + "." + parts[2],
      "signature");
}

TEST_F(AccessTokenTest, AnyChangedCharacterIsRefused) {
  const std::string token = signer.Sign(7, api::v1::ROLE_USER, seconds(900));
  // The neighbour in the alphabet: in the last character of a part that changes only bits that no
  // byte is made of.
  const std::string alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  for (size_t i = 0; i < token.size(); ++i) {
    std::string changed = token;
    changed[i] = token[i] == '.' ? 'A' : alphabet[alphabet.find(token[i]) ^ 1];
    EXPECT_FALSE(verifier.Verify(changed)) << "at " << i;
  }
}

// (r, n - s) is a good signature wherever (r, s) is.
TEST_F(AccessTokenTest, TheOtherSignatureOfTheSameTextIsRefused) {
  BIGNUM* order = nullptr;
  BN_hex2bn(&order, "FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551");
  for (int i = 0; i < 20; ++i) {  // about half of what OpenSSL signs has a high s
    const std::string token = signer.Sign(7, api::v1::ROLE_USER, seconds(900));
    EXPECT_TRUE(verifier.Verify(token)) << token;
    const auto parts = Split(token);
    std::string signature = *DecodeBase64Url(parts[2]);
    BIGNUM* s =
        BN_bin2bn(reinterpret_cast<const unsigned char*>(signature.data()) + 32, 32, nullptr);
    BN_sub(s, order, s);
    BN_bn2binpad(s, reinterpret_cast<unsigned char*>(signature.data()) + 32, 32);
    BN_free(s);
    ExpectRefused(parts[0] + "." + parts[1] + "." + Base64Url(signature), "signature");
  }
  BN_free(order);
}

TEST_F(AccessTokenTest, AnotherTypeIsRefused) {
  const std::string kid = signer.public_key().kid;
  ExpectRefused(Signed(R"({"alg":"ES256","typ":"JWT","kid":")" + kid + "\"}", Claims()), "type");
  ExpectRefused(Signed(R"({"alg":"ES256","kid":")" + kid + "\"}", Claims()), "type");
}

TEST_F(AccessTokenTest, CriticalExtensionsAreRefused) {
  ExpectRefused(Signed(Header(R"("crit":["b64"],"b64":false)"), Claims()), "malformed");
}

TEST_F(AccessTokenTest, AKeyInTheTokenIsNotUsed) {
  const KeyPair attacker;
  const TokenSigner theirs(attacker.private_pem, clock());
  const std::string header =
      Header(R"("jwk":{"kty":"EC","crv":"P-256","x":")" + theirs.public_key().x + R"(","y":")" +
             theirs.public_key().y + "\"}");
  const std::string text = Base64Url(header) + "." + Base64Url(Claims());
  ExpectRefused(text + "." + Es256(attacker.private_pem, text), "signature");
}

TEST_F(AccessTokenTest, AnotherIssuerIsRefused) {
  ExpectRefused(Signed(Header(), Claims({{"iss", R"("someone")"}})), "issuer");
}

TEST_F(AccessTokenTest, AnotherAudienceIsRefused) {
  ExpectRefused(Signed(Header(), Claims({{"aud", R"("bank")"}})), "audience");
}

TEST_F(AccessTokenTest, AnExpiredTokenIsRefused) {
  const std::string token = signer.Sign(7, api::v1::ROLE_USER, seconds(900));
  now = now.load() + seconds(900);
  ExpectRefused(token, "expired");
}

TEST_F(AccessTokenTest, ATokenWithoutExpiryIsRefused) {
  ExpectRefused(Signed(Header(), R"({"iss":"shop-auth","aud":"shop","sub":"7","roles":["USER"]})"),
                "malformed");
  ExpectRefused(Signed(Header(), Claims({{"exp", R"("9999999999")"}})), "malformed");
}

TEST_F(AccessTokenTest, AMinuteOfClockSkewIsTaken) {
  const std::string skewed = Signed(Header(), Claims({{"iat", std::to_string(Unix() + 60)}}));
  EXPECT_TRUE(verifier.Verify(skewed));
  ExpectRefused(Signed(Header(), Claims({{"iat", std::to_string(Unix() + 61)}})), "future");
}

TEST_F(AccessTokenTest, ATokenIsRefusedBeforeItsTime) {
  const auto from = [&](const std::string& nbf) {
    return Signed(Header(), Claims({{"nbf", nbf}}));
  };
  EXPECT_TRUE(verifier.Verify(from(std::to_string(Unix() + 60))));
  ExpectRefused(from(std::to_string(Unix() + 61)), "not valid yet");
  ExpectRefused(from("\"now\""), "malformed");
}

TEST_F(AccessTokenTest, OnlyPositiveDecimalIdsAreUsers) {
  for (const char* sub :
       {"0", "-1", "+1", "01", "1.0", "1e3", " 1", "1 ", "", "abc", "9223372036854775808"}) {
    ExpectRefused(Signed(Header(), Claims({{"sub", std::string("\"") + sub + "\""}})), "malformed");
  }
  ExpectRefused(Signed(Header(), Claims({{"sub", R"(7)"}})), "malformed");
}

TEST_F(AccessTokenTest, TheHighestKnownRoleCounts) {
  const Result<Caller> caller = verifier.Verify(
      Signed(Header(), Claims({{"roles", R"(["USER","ADMIN","SELLER","AUDITOR"])"}})));
  ASSERT_TRUE(caller);
  EXPECT_EQ(caller->role, api::v1::ROLE_ADMIN);
}

TEST_F(AccessTokenTest, ATokenWithoutAKnownRoleIsRefused) {
  for (const char* roles :
       {"[]", R"(["AUDITOR"])", R"(["GUEST"])", R"(["UNSPECIFIED"])", "[5]", R"("ADMIN")"}) {
    ExpectRefused(Signed(Header(), Claims({{"roles", roles}})), "malformed");
  }
}

TEST_F(AccessTokenTest, GarbageIsRefused) {
  for (const std::string& token :
       {std::string(), std::string("."), std::string(".."), std::string("..."),
        std::string("a.b.c"), std::string("Bearer x"), std::string("\0.\0.\0", 5),
        std::string(100, '.'), std::string("ey\xff.ey\xff.\xff"),
        Base64Url("[]") + "." + Base64Url("[]") + "." + Base64Url("x"),
        Base64Url(R"({"alg":1,"typ":null,"kid":[]})") + "." + Base64Url("{}") + "." +
            Base64Url("x"),
        Base64Url(std::string(500, '[')) + ".e30.AAAA"}) {
    ExpectRefused(token, "");
  }
  EXPECT_EQ(fetches, 0);
}

TEST_F(AccessTokenTest, TextAfterAGoodTokenIsRefused) {
  const std::string token = signer.Sign(7, api::v1::ROLE_USER, seconds(900));
  for (const std::string& tail : {std::string("="), std::string("."), std::string(1, '\0'),
                                  std::string(" "), std::string("\n")}) {
    ExpectRefused(token + tail, "malformed");
  }
}

TEST_F(AccessTokenTest, AnOversizedTokenIsRefusedUnread) {
  ExpectRefused(Signed(Header(), Claims({{"pad", "\"" + std::string(4096, 'x') + "\""}})), "long");
  EXPECT_EQ(fetches, 0);
}

TEST_F(AccessTokenTest, AServiceTokenIsNoAccessToken) {
  ServiceTokens services(shop::testing::ServiceKeysOf("orders"), clock());
  ExpectRefused(services.OwnToken("products"), "another type");
}

TEST_F(AccessTokenTest, AGoodTokenIsCached) {
  const std::string token = signer.Sign(7, api::v1::ROLE_USER, seconds(900));
  EXPECT_FALSE(verifier.FindCached(token));
  ASSERT_TRUE(verifier.Verify(token));
  ASSERT_TRUE(verifier.FindCached(token));
  EXPECT_EQ(verifier.FindCached(token)->user_id, 7);
}

TEST_F(AccessTokenTest, ACachedTokenExpiresOnTime) {
  const std::string token = signer.Sign(7, api::v1::ROLE_USER, seconds(10));
  ASSERT_TRUE(verifier.Verify(token));
  now = now.load() + seconds(9);
  EXPECT_TRUE(verifier.FindCached(token));
  now = now.load() + seconds(1);
  EXPECT_FALSE(verifier.FindCached(token));
  ExpectRefused(token, "expired");
}

TEST_F(AccessTokenTest, TheCacheIsBounded) {
  TokenVerifier small([this] { return published; }, clock(), 64);
  const std::string first = signer.Sign(1, api::v1::ROLE_USER, seconds(900));
  ASSERT_TRUE(small.Verify(first));
  ASSERT_TRUE(small.FindCached(first));
  for (int i = 0; i < 500; ++i) {
    ASSERT_TRUE(small.Verify(signer.Sign(2, api::v1::ROLE_USER, seconds(900))));
  }
  EXPECT_FALSE(small.FindCached(first));
  EXPECT_TRUE(small.Verify(first));
}

TEST_F(AccessTokenTest, WhatIsUsedStaysCached) {
  TokenVerifier small([this] { return published; }, clock(), 64);
  const std::string used = signer.Sign(1, api::v1::ROLE_USER, seconds(900));
  ASSERT_TRUE(small.Verify(used));
  for (int i = 0; i < 500; ++i) {
    ASSERT_TRUE(small.Verify(signer.Sign(2, api::v1::ROLE_USER, seconds(900))));
    ASSERT_TRUE(small.FindCached(used)) << "after " << i;
  }
}

TEST_F(AccessTokenTest, AnUnknownKeyIsAskedForOnceInFiveSeconds) {
  ASSERT_TRUE(verifier.Verify(signer.Sign(7, api::v1::ROLE_USER, seconds(900))));
  ASSERT_EQ(fetches, 1);
  const KeyPair other;
  const TokenSigner stranger(other.private_pem, clock());
  now = now.load() + seconds(5);
  for (int i = 0; i < 100; ++i) {
    ExpectRefused(stranger.Sign(7, api::v1::ROLE_USER, seconds(900)), "key is unknown");
  }
  EXPECT_EQ(fetches, 2);
  now = now.load() + seconds(5);
  ExpectRefused(stranger.Sign(7, api::v1::ROLE_USER, seconds(900)), "key is unknown");
  EXPECT_EQ(fetches, 3);
}

TEST_F(AccessTokenTest, ManyThreadsFetchOnce) {
  verifier.SetMaxWaiting(16);
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([&, i] {
      if (verifier.Verify(signer.Sign(i + 1, api::v1::ROLE_USER, seconds(900)))) ++good;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 16);
  EXPECT_EQ(fetches, 1);
}

TEST_F(AccessTokenTest, ANewKeyIsFoundWithinSeconds) {
  ASSERT_TRUE(verifier.Verify(signer.Sign(7, api::v1::ROLE_USER, seconds(900))));
  const KeyPair next;
  const TokenSigner next_signer(next.private_pem, clock());
  published.push_back(next_signer.public_key());
  now = now.load() + seconds(5);
  EXPECT_TRUE(verifier.Verify(next_signer.Sign(7, api::v1::ROLE_USER, seconds(900))));
  EXPECT_TRUE(verifier.Verify(signer.Sign(8, api::v1::ROLE_USER, seconds(900))));
}

TEST_F(AccessTokenTest, AWithdrawnKeyEndsCachedTokens) {
  const std::string token = signer.Sign(7, api::v1::ROLE_USER, seconds(3600));
  ASSERT_TRUE(verifier.Verify(token));
  const KeyPair next;
  const TokenSigner next_signer(next.private_pem, clock());
  published = {next_signer.public_key()};
  now = now.load() + seconds(300);
  ASSERT_TRUE(Eventually([&] { return !verifier.Verify(token); }));
  ExpectRefused(token, "key is unknown");
}

TEST_F(AccessTokenTest, OldKeysServeWhileAuthIsAway) {
  const std::string token = signer.Sign(7, api::v1::ROLE_USER, seconds(7200));
  ASSERT_TRUE(verifier.Verify(token));
  auth_is_away = true;
  now = now.load() + seconds(3600);
  EXPECT_TRUE(verifier.Verify(token));
  EXPECT_TRUE(verifier.Verify(signer.Sign(8, api::v1::ROLE_USER, seconds(900))));
  EXPECT_TRUE(Eventually([&] { return fetches == 2; }));
}

TEST_F(AccessTokenTest, WithoutAnyKeyNobodyCanTell) {
  auth_is_away = true;
  const std::string token = signer.Sign(7, api::v1::ROLE_USER, seconds(900));
  for (int i = 0; i < 10; ++i) {
    const Result<Caller> caller = verifier.Verify(token);
    ASSERT_FALSE(caller);
    EXPECT_EQ(caller.refusal().code, Code::kUnavailable);
  }
  EXPECT_EQ(fetches, 1);
  auth_is_away = false;
  now = now.load() + seconds(1);
  EXPECT_TRUE(verifier.Verify(token));
}

TEST_F(AccessTokenTest, AKnownKeyNeverWaitsForAnUnknownOne) {
  ASSERT_TRUE(verifier.Verify(signer.Sign(7, api::v1::ROLE_USER, seconds(900))));
  now = now.load() + seconds(5);
  auth_is_slow = true;
  const std::string strange = Strangers();
  EXPECT_FALSE(verifier.Check(strange));
  ASSERT_TRUE(Eventually([&] { return fetches == 2; }));
  for (int64_t user = 1; user <= 20; ++user) {
    const auto known = verifier.Check(signer.Sign(user, api::v1::ROLE_USER, seconds(900)));
    ASSERT_TRUE(known && *known);
    EXPECT_TRUE(verifier.Verify(signer.Sign(user, api::v1::ROLE_USER, seconds(900))));
  }
  EXPECT_FALSE(verifier.Check(strange));
  auth_is_slow = false;
  std::optional<Result<Caller>> decided;
  ASSERT_TRUE(Eventually([&] { return (decided = verifier.Check(strange)).has_value(); }));
  EXPECT_EQ(decided->refusal().code, Code::kUnauthenticated);
}

TEST_F(AccessTokenTest, WhoNamesAnUnknownKeyWaitsForABoundedTime) {
  ASSERT_TRUE(verifier.Verify(signer.Sign(7, api::v1::ROLE_USER, seconds(900))));
  now = now.load() + seconds(5);
  auth_is_slow = true;
  const Result<Caller> caller = verifier.Verify(Strangers());
  auth_is_slow = false;
  ASSERT_FALSE(caller);
  EXPECT_EQ(caller.refusal().code, Code::kUnavailable);
}

TEST_F(AccessTokenTest, ABoundedNumberMayWait) {
  verifier.SetMaxWaiting(0);
  auth_is_slow = true;
  const Result<Caller> caller = verifier.Verify(Strangers());
  EXPECT_EQ(caller.refusal().code, Code::kUnavailable);
  // Nobody waits, and still the fetch has begun: it is good for whoever comes after.
  EXPECT_TRUE(Eventually([&] { return fetches == 1; }));
  auth_is_slow = false;
  EXPECT_TRUE(Eventually([&] { return verifier.HasKeys(); }));
}

TEST_F(AccessTokenTest, AnUnknownKeyIsNoForgeryWhileAuthIsAway) {
  ASSERT_TRUE(verifier.Verify(signer.Sign(7, api::v1::ROLE_USER, seconds(900))));
  now = now.load() + seconds(5);
  auth_is_away = true;
  const Result<Caller> caller = verifier.Verify(Strangers());
  ASSERT_FALSE(caller);
  EXPECT_EQ(caller.refusal().code, Code::kUnavailable);
  auth_is_away = false;
  now = now.load() + seconds(5);
  ExpectRefused(Strangers(), "key is unknown");
}

TEST_F(AccessTokenTest, MadeUpKeysAreNoWorkForAuth) {
  ASSERT_TRUE(verifier.Verify(signer.Sign(7, api::v1::ROLE_USER, seconds(900))));
  now = now.load() + seconds(4);
  for (int i = 0; i < 50; ++i) {
    ExpectRefused(
        Signed(R"({"alg":"ES256","typ":"at+jwt","kid":"made-up-)" + std::to_string(i) + "\"}",
               Claims()),
        "key is unknown");
  }
  EXPECT_EQ(fetches, 1);
}

TEST_F(AccessTokenTest, PreparedKeysAreThereBeforeTheFirstToken) {
  auth_is_away = true;
  verifier.Prepare();
  ASSERT_TRUE(Eventually([&] { return fetches > 0; }));
  EXPECT_FALSE(verifier.HasKeys());
  auth_is_away = false;
  EXPECT_TRUE(Eventually([&] { return verifier.HasKeys(); }));
}

TEST_F(AccessTokenTest, AnEmptyKeySetIsNone) {
  published.clear();
  const Result<Caller> caller = verifier.Verify(signer.Sign(7, api::v1::ROLE_USER, seconds(900)));
  ASSERT_FALSE(caller);
  EXPECT_EQ(caller.refusal().code, Code::kUnavailable);
}

TEST_F(AccessTokenTest, APointOffTheCurveIsNoKey) {
  published[0].y = published[0].x;
  const Result<Caller> caller = verifier.Verify(signer.Sign(7, api::v1::ROLE_USER, seconds(900)));
  ASSERT_FALSE(caller);
  EXPECT_EQ(caller.refusal().code, Code::kUnavailable);
}

TEST_F(AccessTokenTest, OnlyP256PrivateKeysSign) {
  EXPECT_THROW(TokenSigner(KeyPair("P-384").private_pem), std::invalid_argument);
  EXPECT_THROW(TokenSigner(Pair().public_pem), std::invalid_argument);
  EXPECT_THROW(TokenSigner("not a key"), std::invalid_argument);
  EXPECT_THROW(TokenSigner(""), std::invalid_argument);
}

}  // namespace
}  // namespace shop::auth
