#include "common/auth/access_token.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>

#include <atomic>
#include <map>
#include <stdexcept>
#include <thread>
#include <vector>

#include "common/testing/servers.h"

namespace shop::auth {
namespace {

using shop::testing::Eventually;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

constexpr char kServiceKey[] = "0123456789abcdef0123456789abcdef";

std::string Pem(EVP_PKEY* key, bool private_part) {
  BIO* bio = BIO_new(BIO_s_mem());
  if (private_part) {
    PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
  } else {
    PEM_write_bio_PUBKEY(bio, key);
  }
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string pem(data, static_cast<size_t>(size));
  BIO_free(bio);
  return pem;
}

struct KeyPair {
  explicit KeyPair(const char* curve = "P-256") {
    EVP_PKEY* key = EVP_EC_gen(curve);
    private_pem = Pem(key, true);
    public_pem = Pem(key, false);
    EVP_PKEY_free(key);
  }
  std::string private_pem;
  std::string public_pem;
};

const KeyPair& Pair() {
  static const KeyPair pair;
  return pair;
}

// Base64url by OpenSSL's own encoder, so that it is not checked against itself.
std::string Encode(const std::string& bytes) {
  std::string text(bytes.size() * 2 + 4, '\0');
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                     reinterpret_cast<const unsigned char*>(bytes.data()),
                                     static_cast<int>(bytes.size()));
  text.resize(static_cast<size_t>(length));
  while (!text.empty() && text.back() == '=') text.pop_back();
  for (char& c : text) c = c == '+' ? '-' : c == '/' ? '_' : c;
  return text;
}

std::string Hs256(const std::string& key, const std::string& text) {
  unsigned char mac[32];
  unsigned length = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), mac, &length);
  return Encode(std::string(reinterpret_cast<char*>(mac), length));
}

// r and s of an ECDSA signature, out of its DER form.
std::string Es256(const std::string& private_pem, const std::string& text) {
  BIO* bio = BIO_new_mem_buf(private_pem.data(), static_cast<int>(private_pem.size()));
  EVP_PKEY* key = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  EVP_DigestSignInit(context, nullptr, EVP_sha256(), nullptr, key);
  unsigned char der[128];
  size_t length = sizeof der;
  EVP_DigestSign(context, der, &length, reinterpret_cast<const unsigned char*>(text.data()),
                 text.size());
  EVP_MD_CTX_free(context);
  EVP_PKEY_free(key);
  BIO_free(bio);
  const auto integer = [&](size_t at) {
    std::string bytes(reinterpret_cast<char*>(der) + at + 2, der[at + 1]);
    while (bytes.size() > 32) bytes.erase(0, 1);
    return std::string(32 - bytes.size(), '\0') + bytes;
  };
  return Encode(integer(2) + integer(4 + der[3]));
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

class Tokens : public ::testing::Test {
 protected:
  ~Tokens() override { auth_is_slow = false; }

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
    const std::string text = Encode(header) + "." + Encode(claims);
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
  ServiceTokens services{"orders", kServiceKey, clock()};
};

TEST_F(Tokens, ASignedTokenStandsForItsUser) {
  const Result<Caller> caller =
      verifier.Verify(signer.Sign(42, api::v1::ROLE_SELLER, seconds(900)));
  ASSERT_TRUE(caller) << caller.refusal().message;
  EXPECT_EQ(caller->user_id, 42);
  EXPECT_EQ(caller->role, api::v1::ROLE_SELLER);
  EXPECT_FALSE(caller->is_service());
}

TEST_F(Tokens, TheTestsOwnTokensAreGood) {
  // Without this every refusal below could be due to the test's signing.
  const Result<Caller> caller = verifier.Verify(Signed(Header(), Claims()));
  ASSERT_TRUE(caller) << caller.refusal().message;
  EXPECT_EQ(caller->user_id, 7);
}

TEST_F(Tokens, AClaimThatStandsTwiceIsRefused) {
  std::string twice = Claims();
  twice.insert(1, R"("sub":"1",)");
  ExpectRefused(Signed(Header(), twice), "malformed");
}

TEST_F(Tokens, EveryTokenIsUnique) {
  EXPECT_NE(Split(signer.Sign(1, api::v1::ROLE_USER, seconds(900)))[1],
            Split(signer.Sign(1, api::v1::ROLE_USER, seconds(900)))[1]);
}

TEST_F(Tokens, TheKeyIdIsTheThumbprint) {
  // The example of RFC 7638 is an RSA key; this is its recipe on the published coordinates.
  const PublicKey& key = signer.public_key();
  const std::string text =
      R"({"crv":"P-256","kty":"EC","x":")" + key.x + R"(","y":")" + key.y + "\"}";
  unsigned char digest[32];
  EVP_Digest(text.data(), text.size(), digest, nullptr, EVP_sha256(), nullptr);
  EXPECT_EQ(key.kid, Encode(std::string(reinterpret_cast<char*>(digest), 32)));
}

TEST_F(Tokens, AlgorithmNoneIsRefused) {
  const std::string unsigned_text =
      Encode(R"({"alg":"none","typ":"at+jwt","kid":")" + signer.public_key().kid + "\"}") + "." +
      Encode(Claims()) + ".";
  ExpectRefused(unsigned_text, "algorithm");
  ExpectRefused(unsigned_text + Split(signer.Sign(7, api::v1::ROLE_USER, seconds(900)))[2],
                "algorithm");
}

TEST_F(Tokens, ThePublicKeyIsNoSecret) {
  const std::string text =
      Encode(R"({"alg":"HS256","typ":"at+jwt","kid":")" + signer.public_key().kid + "\"}") + "." +
      Encode(Claims());
  ExpectRefused(text + "." + Hs256(Pair().public_pem, text), "algorithm");
}

TEST_F(Tokens, AnEmptySignatureIsRefused) {
  ExpectRefused(Encode(Header()) + "." + Encode(Claims()) + ".", "signature");
}

TEST_F(Tokens, ASignatureOfZeroesIsRefused) {
  ExpectRefused(Encode(Header()) + "." + Encode(Claims()) + "." + Encode(std::string(64, '\0')),
                "signature");
}

TEST_F(Tokens, AnotherKeysSignatureIsRefused) {
  const KeyPair other;
  const std::string text = Encode(Header()) + "." + Encode(Claims());
  ExpectRefused(text + "." + Es256(other.private_pem, text), "signature");
}

TEST_F(Tokens, AChangedPayloadIsRefused) {
  std::vector<std::string> parts = Split(signer.Sign(7, api::v1::ROLE_USER, seconds(900)));
  ExpectRefused(parts[0] + "." + Encode(Claims({{"roles", R"(["SUPER_ADMIN"])"}})) + "." + parts[2],
                "signature");
}

TEST_F(Tokens, AnyChangedCharacterIsRefused) {
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

TEST_F(Tokens, AnotherTypeIsRefused) {
  const std::string kid = signer.public_key().kid;
  ExpectRefused(Signed(R"({"alg":"ES256","typ":"JWT","kid":")" + kid + "\"}", Claims()), "type");
  ExpectRefused(Signed(R"({"alg":"ES256","kid":")" + kid + "\"}", Claims()), "type");
}

TEST_F(Tokens, CriticalExtensionsAreRefused) {
  ExpectRefused(Signed(Header(R"("crit":["b64"],"b64":false)"), Claims()), "malformed");
}

TEST_F(Tokens, AKeyInTheTokenIsNotUsed) {
  const KeyPair attacker;
  const TokenSigner theirs(attacker.private_pem, clock());
  const std::string header =
      Header(R"("jwk":{"kty":"EC","crv":"P-256","x":")" + theirs.public_key().x + R"(","y":")" +
             theirs.public_key().y + "\"}");
  const std::string text = Encode(header) + "." + Encode(Claims());
  ExpectRefused(text + "." + Es256(attacker.private_pem, text), "signature");
}

TEST_F(Tokens, AnotherIssuerIsRefused) {
  ExpectRefused(Signed(Header(), Claims({{"iss", R"("someone")"}})), "issuer");
}

TEST_F(Tokens, AnotherAudienceIsRefused) {
  ExpectRefused(Signed(Header(), Claims({{"aud", R"("bank")"}})), "audience");
}

TEST_F(Tokens, AnExpiredTokenIsRefused) {
  const std::string token = signer.Sign(7, api::v1::ROLE_USER, seconds(900));
  now = now.load() + seconds(900);
  ExpectRefused(token, "expired");
}

TEST_F(Tokens, ATokenWithoutExpiryIsRefused) {
  ExpectRefused(Signed(Header(), R"({"iss":"shop-auth","aud":"shop","sub":"7","roles":["USER"]})"),
                "malformed");
  ExpectRefused(Signed(Header(), Claims({{"exp", R"("9999999999")"}})), "malformed");
}

TEST_F(Tokens, AMinuteOfClockSkewIsTaken) {
  const std::string skewed = Signed(Header(), Claims({{"iat", std::to_string(Unix() + 60)}}));
  EXPECT_TRUE(verifier.Verify(skewed));
  ExpectRefused(Signed(Header(), Claims({{"iat", std::to_string(Unix() + 61)}})), "future");
}

TEST_F(Tokens, OnlyPositiveDecimalIdsAreUsers) {
  for (const char* sub :
       {"0", "-1", "+1", "01", "1.0", "1e3", " 1", "1 ", "", "abc", "9223372036854775808"}) {
    ExpectRefused(Signed(Header(), Claims({{"sub", std::string("\"") + sub + "\""}})), "malformed");
  }
  ExpectRefused(Signed(Header(), Claims({{"sub", R"(7)"}})), "malformed");
}

TEST_F(Tokens, TheHighestKnownRoleCounts) {
  const Result<Caller> caller = verifier.Verify(
      Signed(Header(), Claims({{"roles", R"(["USER","ADMIN","SELLER","AUDITOR"])"}})));
  ASSERT_TRUE(caller);
  EXPECT_EQ(caller->role, api::v1::ROLE_ADMIN);
}

TEST_F(Tokens, ATokenWithoutAKnownRoleIsRefused) {
  for (const char* roles :
       {"[]", R"(["AUDITOR"])", R"(["GUEST"])", R"(["UNSPECIFIED"])", "[5]", R"("ADMIN")"}) {
    ExpectRefused(Signed(Header(), Claims({{"roles", roles}})), "malformed");
  }
}

TEST_F(Tokens, GarbageIsRefused) {
  for (const std::string& token :
       {std::string(), std::string("."), std::string(".."), std::string("..."),
        std::string("a.b.c"), std::string("Bearer x"), std::string("\0.\0.\0", 5),
        std::string(100, '.'), std::string("ey\xff.ey\xff.\xff"),
        Encode("[]") + "." + Encode("[]") + "." + Encode("x"),
        Encode(R"({"alg":1,"typ":null,"kid":[]})") + "." + Encode("{}") + "." + Encode("x"),
        Encode(std::string(500, '[')) + ".e30.AAAA"}) {
    ExpectRefused(token, "");
  }
  EXPECT_EQ(fetches, 0);
}

TEST_F(Tokens, TextAfterAGoodTokenIsRefused) {
  const std::string token = signer.Sign(7, api::v1::ROLE_USER, seconds(900));
  for (const std::string& tail : {std::string("="), std::string("."), std::string(1, '\0'),
                                  std::string(" "), std::string("\n")}) {
    ExpectRefused(token + tail, "malformed");
  }
}

TEST_F(Tokens, AnOversizedTokenIsRefusedUnread) {
  ExpectRefused(Signed(Header(), Claims({{"pad", "\"" + std::string(4096, 'x') + "\""}})), "long");
  EXPECT_EQ(fetches, 0);
}

TEST_F(Tokens, AServiceTokenIsNoAccessToken) {
  ExpectRefused(services.OwnToken(), "algorithm");
}

TEST_F(Tokens, AnAccessTokenIsNoServiceToken) {
  const Result<std::string> name =
      services.Verify(signer.Sign(7, api::v1::ROLE_SUPER_ADMIN, seconds(900)));
  ASSERT_FALSE(name);
  EXPECT_EQ(name.refusal().code, Code::kUnauthenticated);
}

TEST_F(Tokens, AGoodTokenIsRemembered) {
  const std::string token = signer.Sign(7, api::v1::ROLE_USER, seconds(900));
  EXPECT_FALSE(verifier.FindCached(token));
  ASSERT_TRUE(verifier.Verify(token));
  ASSERT_TRUE(verifier.FindCached(token));
  EXPECT_EQ(verifier.FindCached(token)->user_id, 7);
}

TEST_F(Tokens, ARememberedTokenExpiresOnTime) {
  const std::string token = signer.Sign(7, api::v1::ROLE_USER, seconds(10));
  ASSERT_TRUE(verifier.Verify(token));
  now = now.load() + seconds(9);
  EXPECT_TRUE(verifier.FindCached(token));
  now = now.load() + seconds(1);
  EXPECT_FALSE(verifier.FindCached(token));
  ExpectRefused(token, "expired");
}

TEST_F(Tokens, TheMemoryIsBounded) {
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

TEST_F(Tokens, WhatIsUsedStaysRemembered) {
  TokenVerifier small([this] { return published; }, clock(), 64);
  const std::string used = signer.Sign(1, api::v1::ROLE_USER, seconds(900));
  ASSERT_TRUE(small.Verify(used));
  for (int i = 0; i < 500; ++i) {
    ASSERT_TRUE(small.Verify(signer.Sign(2, api::v1::ROLE_USER, seconds(900))));
    ASSERT_TRUE(small.FindCached(used)) << "after " << i;
  }
}

TEST_F(Tokens, AnUnknownKeyIsAskedForOnceInFiveSeconds) {
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

TEST_F(Tokens, ManyThreadsFetchOnce) {
  verifier.LetWait(16);
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

TEST_F(Tokens, ANewKeyIsFoundWithinSeconds) {
  ASSERT_TRUE(verifier.Verify(signer.Sign(7, api::v1::ROLE_USER, seconds(900))));
  const KeyPair next;
  const TokenSigner next_signer(next.private_pem, clock());
  published.push_back(next_signer.public_key());
  now = now.load() + seconds(5);
  EXPECT_TRUE(verifier.Verify(next_signer.Sign(7, api::v1::ROLE_USER, seconds(900))));
  EXPECT_TRUE(verifier.Verify(signer.Sign(8, api::v1::ROLE_USER, seconds(900))));
}

TEST_F(Tokens, AWithdrawnKeyEndsRememberedTokens) {
  const std::string token = signer.Sign(7, api::v1::ROLE_USER, seconds(3600));
  ASSERT_TRUE(verifier.Verify(token));
  const KeyPair next;
  const TokenSigner next_signer(next.private_pem, clock());
  published = {next_signer.public_key()};
  now = now.load() + seconds(300);
  ASSERT_TRUE(Eventually([&] { return !verifier.Verify(token); }));
  ExpectRefused(token, "key is unknown");
}

TEST_F(Tokens, OldKeysServeWhileAuthIsAway) {
  const std::string token = signer.Sign(7, api::v1::ROLE_USER, seconds(7200));
  ASSERT_TRUE(verifier.Verify(token));
  auth_is_away = true;
  now = now.load() + seconds(3600);
  EXPECT_TRUE(verifier.Verify(token));
  EXPECT_TRUE(verifier.Verify(signer.Sign(8, api::v1::ROLE_USER, seconds(900))));
  EXPECT_TRUE(Eventually([&] { return fetches == 2; }));
}

TEST_F(Tokens, WithoutAnyKeyNobodyCanTell) {
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

TEST_F(Tokens, AKnownKeyNeverWaitsForAnUnknownOne) {
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

TEST_F(Tokens, WhoNamesAnUnknownKeyWaitsForABoundedTime) {
  ASSERT_TRUE(verifier.Verify(signer.Sign(7, api::v1::ROLE_USER, seconds(900))));
  now = now.load() + seconds(5);
  auth_is_slow = true;
  const Result<Caller> caller = verifier.Verify(Strangers());
  auth_is_slow = false;
  ASSERT_FALSE(caller);
  EXPECT_EQ(caller.refusal().code, Code::kUnavailable);
}

TEST_F(Tokens, OnlySoManyMayWait) {
  verifier.LetWait(0);
  auth_is_slow = true;
  const Result<Caller> caller = verifier.Verify(Strangers());
  EXPECT_EQ(caller.refusal().code, Code::kUnavailable);
  // Nobody waits, and still the fetch has begun: it is good for whoever comes after.
  EXPECT_TRUE(Eventually([&] { return fetches == 1; }));
  auth_is_slow = false;
  EXPECT_TRUE(Eventually([&] { return verifier.HasKeys(); }));
}

TEST_F(Tokens, AnUnknownKeyIsNoForgeryWhileAuthIsAway) {
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

TEST_F(Tokens, MadeUpKeysAreNoWorkForAuth) {
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

TEST_F(Tokens, PreparedKeysAreThereBeforeTheFirstToken) {
  auth_is_away = true;
  verifier.Prepare();
  ASSERT_TRUE(Eventually([&] { return fetches > 0; }));
  EXPECT_FALSE(verifier.HasKeys());
  auth_is_away = false;
  EXPECT_TRUE(Eventually([&] { return verifier.HasKeys(); }));
}

TEST_F(Tokens, AnEmptyKeySetIsNone) {
  published.clear();
  const Result<Caller> caller = verifier.Verify(signer.Sign(7, api::v1::ROLE_USER, seconds(900)));
  ASSERT_FALSE(caller);
  EXPECT_EQ(caller.refusal().code, Code::kUnavailable);
}

TEST_F(Tokens, APointOffTheCurveIsNoKey) {
  published[0].y = published[0].x;
  const Result<Caller> caller = verifier.Verify(signer.Sign(7, api::v1::ROLE_USER, seconds(900)));
  ASSERT_FALSE(caller);
  EXPECT_EQ(caller.refusal().code, Code::kUnavailable);
}

TEST_F(Tokens, OnlyP256PrivateKeysSign) {
  EXPECT_THROW(TokenSigner(KeyPair("P-384").private_pem), std::invalid_argument);
  EXPECT_THROW(TokenSigner(Pair().public_pem), std::invalid_argument);
  EXPECT_THROW(TokenSigner("not a key"), std::invalid_argument);
  EXPECT_THROW(TokenSigner(""), std::invalid_argument);
}

TEST_F(Tokens, AServiceTokenNamesItsService) {
  ServiceTokens receiver("products", kServiceKey, clock());
  const std::string token = services.OwnToken();
  for (int i = 0; i < 2; ++i) {  // the second answer comes from memory
    const Result<std::string> name = receiver.Verify(token);
    ASSERT_TRUE(name) << name.refusal().message;
    EXPECT_EQ(*name, "orders");
  }
}

TEST_F(Tokens, AServiceTokenIsMadeAnewBeforeItExpires) {
  const std::string first = services.OwnToken();
  EXPECT_EQ(services.OwnToken(), first);
  now = now.load() + seconds(300);
  EXPECT_NE(services.OwnToken(), first);
  EXPECT_TRUE(services.Verify(first));
  now = now.load() + seconds(300);
  EXPECT_FALSE(services.Verify(first));
}

TEST_F(Tokens, AServiceTokenUnderAnotherKeyIsRefused) {
  ServiceTokens stranger("orders", std::string(32, 'k'), clock());
  const Result<std::string> name = services.Verify(stranger.OwnToken());
  ASSERT_FALSE(name);
  EXPECT_EQ(name.refusal().code, Code::kUnauthenticated);
  EXPECT_THAT(name.refusal().message, HasSubstr("signature"));
}

TEST_F(Tokens, ForgedServiceTokensAreRefused) {
  const std::string claims =
      R"({"iss":"shop-services","aud":"shop-internal","sub":"stock","iat":)" +
      std::to_string(Unix()) + R"(,"exp":)" + std::to_string(Unix() + 60) + "}";
  const auto token = [&](const std::string& header, const std::string& payload) {
    const std::string text = Encode(header) + "." + Encode(payload);
    return text + "." + Hs256(kServiceKey, text);
  };
  EXPECT_TRUE(services.Verify(token(R"({"alg":"HS256","typ":"svc+jwt"})", claims)));
  EXPECT_FALSE(services.Verify(token(R"({"alg":"none","typ":"svc+jwt"})", claims)));
  EXPECT_FALSE(services.Verify(token(R"({"alg":"HS256","typ":"at+jwt"})", claims)));
  EXPECT_FALSE(services.Verify(token(R"({"alg":"HS256","typ":"svc+jwt"})", Claims())));
  EXPECT_FALSE(
      services.Verify(Encode(R"({"alg":"HS256","typ":"svc+jwt"})") + "." + Encode(claims) + "."));
  EXPECT_FALSE(services.Verify(""));
}

TEST_F(Tokens, AShortServiceKeyIsRefused) {
  EXPECT_THROW(ServiceTokens("orders", std::string(31, 'k')), std::invalid_argument);
}

}  // namespace
}  // namespace shop::auth
