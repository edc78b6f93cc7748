// Attacks on access tokens, a line each: whatever of a token its owner or a stranger may change, the verifier refuses
// it. After the attacks of RFC 8725 and those that JWT libraries fell for.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/auth/access_token.h"
#include "common/auth/jose.h"
#include "common/crypto/base64.h"
#include "common/testing/keys.h"
#include "common/testing/service_keys.h"

namespace shop::auth {
namespace {

using shop::testing::Hs256;
using shop::testing::KeyPair;
using Pairs = std::vector<std::pair<std::string, std::string>>;  // names and JSON

constexpr int64_t kNow = 1'800'000'000;

std::chrono::system_clock::time_point Now() {
  return std::chrono::system_clock::from_time_t(kNow);
}

std::string Text(const std::string& text) {
  return "\"" + text + "\"";
}

class TokenAttacks : public ::testing::Test {
 protected:
  TokenAttacks() {
    verifier_.Prepare();
    while (!verifier_.HasKeys()) std::this_thread::yield();
  }

  // A JSON object of the good members, with `changes` in the place of those of the same names; an empty one is left out.
  static std::string Object(const Pairs& good, const Pairs& changes) {
    std::map<std::string, std::string> members(good.begin(), good.end());
    for (const auto& [name, value] : changes) members[name] = value;
    std::string text;
    for (const auto& [name, value] : members) {
      if (!value.empty()) text += (text.empty() ? "" : ",") + Text(name) + ":" + value;
    }
    return "{" + text + "}";
  }
  std::string Header(const Pairs& changes = {}) const {
    return Object({{"alg", Text("ES256")}, {"typ", Text("at+jwt")}, {"kid", Text(Kid())}}, changes);
  }
  static std::string Claims(const Pairs& changes = {}) {
    return Object({{"iss", Text("shop-auth")},
                   {"aud", Text("shop")},
                   {"sub", Text("7")},
                   {"roles", R"(["USER"])"},
                   {"iat", std::to_string(kNow)},
                   {"exp", std::to_string(kNow + 900)},
                   {"jti", Text("x")}},
                  changes);
  }
  const std::string& Kid() const { return signer_.public_key().kid; }
  // Signed with the right key, whatever it says.
  std::string Signed(const std::string& header, const std::string& claims) const {
    return jose::Assemble(header, claims, [this](std::string_view text) {
      return jose::SignEs256(key_.get(), text);
    });
  }
  std::string Good() const { return Signed(Header(), Claims()); }
  // The three parts of a good token.
  std::vector<std::string> Parts() const {
    const std::string good = Good();
    const size_t first = good.find('.');
    const size_t second = good.rfind('.');
    return {good.substr(0, first), good.substr(first + 1, second - first - 1),
            good.substr(second + 1)};
  }

  void Refused(const std::string& attack, const std::string& token) {
    ++attacks_;
    const auto outcome = verifier_.Check(token);
    EXPECT_TRUE(!outcome || !*outcome) << attack << " was taken: " << token;
    EXPECT_FALSE(verifier_.FindCached(token)) << attack;
  }
  // Each value in the place of the member's, in a header or in claims that are signed with the right key.
  void HeadersRefused(const std::string& member, const std::vector<std::string>& values) {
    for (const std::string& value : values) {
      Refused(member + " is " + value, Signed(Header({{member, value}}), Claims()));
    }
  }
  void ClaimsRefused(const std::string& member, const std::vector<std::string>& values) {
    for (const std::string& value : values) {
      Refused(member + " is " + value, Signed(Header(), Claims({{member, value}})));
    }
  }

  const std::string pem_ = KeyPair().private_pem;
  const jose::Key key_ = jose::ReadPrivateKey(pem_);
  const TokenSigner signer_{pem_, Now};
  TokenVerifier verifier_{[this] { return std::vector{signer_.public_key()}; }, Now};
  int attacks_ = 0;
};

TEST_F(TokenAttacks, TheTokenThatTheyStartFromIsGood) {
  const auto outcome = verifier_.Check(Good());
  ASSERT_TRUE(outcome && *outcome);
  EXPECT_EQ((*outcome)->user_id, 7);
}

TEST_F(TokenAttacks, OnTheHeader) {
  HeadersRefused("alg", {Text("none"),   Text("None"),         Text("NONE"),     Text("nOnE"),
                         Text(""),       Text("HS256"),        Text("HS384"),    Text("HS512"),
                         Text("RS256"),  Text("PS256"),        Text("ES384"),    Text("ES512"),
                         Text("ES256K"), Text("EdDSA"),        Text("es256"),    Text("ES256 "),
                         Text(" ES256"), Text("ES256\\u0000"), "null",           "256",
                         "true",         R"(["ES256"])",       R"({"ES256":1})", ""});
  HeadersRefused("typ", {Text("JWT"), Text("jwt"), Text("svc+jwt"), Text("application/at+jwt"),
                         Text("AT+JWT"), Text("at+jwt "), Text(""), "null", "1", ""});
  HeadersRefused("kid", {Text(""), Text("../../../../dev/null"), Text("' OR '1'='1"),
                         Text("key; DROP TABLE signing_keys"), Text("http://127.0.0.1/key"),
                         Text("file:///dev/null"), Text(std::string(1000, 'k')), Text("\\u0000"),
                         "null", "0", "[]", "{}", ""});
  for (const char* unknown : {"b64", "exp", "http://example.com/critical"}) {
    HeadersRefused("crit", {R"([")" + std::string(unknown) + R"("])"});
  }
  HeadersRefused("crit", {"[]", "null", Text("b64"), "true"});
  // Two values of one name: which of them counts is nobody's choice.
  Refused("two algorithms", Signed(R"({"alg":"none",)" + Header().substr(1), Claims()));
  Refused("two types", Signed(R"({"typ":"svc+jwt",)" + Header().substr(1), Claims()));
  EXPECT_GE(attacks_, 55);
}

TEST_F(TokenAttacks, WithAKeyThatTheyBring) {
  const KeyPair attacker;
  const TokenSigner theirs(attacker.private_pem, Now);
  const jose::Key key = jose::ReadPrivateKey(attacker.private_pem);
  const std::string jwk = fmt::format(R"({{"kty":"EC","crv":"P-256","x":"{}","y":"{}"}})",
                                      theirs.public_key().x, theirs.public_key().y);
  const auto sign = [&](const std::string& header) {
    return jose::Assemble(header, Claims(),
                          [&](std::string_view text) { return jose::SignEs256(key.get(), text); });
  };
  Refused("their own key", sign(Header()));
  Refused("their own key under its name", sign(Header({{"kid", Text(theirs.public_key().kid)}})));
  Refused("a key in the token", sign(Header({{"jwk", jwk}})));
  Refused("a key in the token alone", sign(Header({{"jwk", jwk}, {"kid", ""}})));
  Refused("an address of keys", sign(Header({{"jku", Text("http://127.0.0.1:1/jwks.json")}})));
  Refused("an address of a certificate", sign(Header({{"x5u", Text("http://127.0.0.1:1/x.pem")}})));
  Refused("a certificate", sign(Header({{"x5c", R"(["MIIB"])"}})));
  Refused("another service's key", jose::Assemble(Header(), Claims(), [](std::string_view text) {
            return jose::SignEs256(jose::PrivateKeyOf(shop::testing::ServiceKeyOf("orders")).get(),
                                   text);
          }));
  // Everybody knows the public key: it is the secret of no HMAC.
  const std::string text =
      EncodeBase64Url(Header({{"alg", Text("HS256")}})) + "." + EncodeBase64Url(Claims());
  for (const std::string& secret :
       {signer_.public_key().x, signer_.public_key().x + signer_.public_key().y, Kid(),
        std::string("secret"), std::string()}) {
    Refused("an HMAC under what everybody knows", text + "." + Hs256(secret, text));
  }
}

TEST_F(TokenAttacks, OnTheSignature) {
  const std::vector<std::string> parts = Parts();
  const std::string text = parts[0] + "." + parts[1] + ".";
  const std::string signature = *DecodeBase64Url(parts[2]);
  const auto refused = [&](const char* attack, const std::string& bytes) {
    Refused(attack, text + EncodeBase64Url(bytes));
  };
  const std::string zero(32, '\0');
  const std::string order(
      "\xff\xff\xff\xff\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xbc\xe6\xfa\xad\xa7\x17\x9e\x84"
      "\xf3\xb9\xca\xc2\xfc\x63\x25\x51",
      32);
  const std::string other = Signed(Header(), Claims({{"sub", Text("8")}}));
  refused("no signature", "");
  refused("zeroes", zero + zero);  // CVE-2022-21449
  refused("r is zero", zero + signature.substr(32));
  refused("s is zero", signature.substr(0, 32) + zero);
  refused("r and s are the order", order + order);
  refused("r is the order", order + signature.substr(32));
  refused("ones", std::string(64, '\xff'));
  refused("a byte less", signature.substr(0, 63));
  refused("a byte more", signature + '\0');
  refused("half of it", signature.substr(0, 32));
  refused("twice", signature + signature);
  refused("r and s changed places", signature.substr(32) + signature.substr(0, 32));
  refused("in DER",
          "\x30\x44\x02\x20" + signature.substr(0, 32) + "\x02\x20" + signature.substr(32));
  refused("a zero before each number",
          '\0' + signature.substr(0, 32) + '\0' + signature.substr(32));
  refused("of another text", *DecodeBase64Url(other.substr(other.rfind('.') + 1)));
  for (size_t bit = 0; bit < signature.size() * 8; bit += 37) {
    std::string changed = signature;
    changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << bit % 8));
    refused("a bit changed", changed);
  }
}

TEST_F(TokenAttacks, OnTheClaims) {
  ClaimsRefused("iss", {Text("shop-services"), Text("shop-auth "), Text("SHOP-AUTH"), Text(""),
                        Text("shop-auth\\u0000"), R"(["shop-auth"])", "null", "1", ""});
  ClaimsRefused("aud", {Text("products"), Text("shop-internal"), Text("shop "), Text("*"), Text(""),
                        R"(["shop"])", R"(["shop","other"])", "null", "1", ""});
  ClaimsRefused("sub", {Text("0"),        Text("-7"),
                        Text("+7"),       Text("07"),
                        Text("7.0"),      Text("7e0"),
                        Text("0x7"),      Text(" 7"),
                        Text("7 "),       Text("7\\u0000"),
                        Text("٧"),        Text("seven"),
                        Text("7 OR 1=1"), Text("9223372036854775808"),
                        Text(""),         "7",
                        "null",           R"(["7"])",
                        R"({"$gt":0})",   ""});
  ClaimsRefused("roles", {Text("SUPER_ADMIN"), "[]", "{}", "null", R"(["super_admin"])",
                          R"(["ROLE_SUPER_ADMIN"])", R"(["GUEST"])", R"(["UNSPECIFIED"])", "[4]",
                          R"([["SUPER_ADMIN"]])", R"([null])", R"({"0":"SUPER_ADMIN"})", ""});
  ClaimsRefused("exp", {std::to_string(kNow), std::to_string(kNow - 1), "0", "-1", "1e999", "1e400",
                        "9000000000", "99999999999999999999", Text(std::to_string(kNow + 900)),
                        "null", "true", "[1800000900]", ""});
  ClaimsRefused("iat", {std::to_string(kNow + 61), "1e999", "-1", Text("now"), "null", ""});
  ClaimsRefused("nbf", {std::to_string(kNow + 61), Text("0"), "null", "true", "1e999"});
  Refused("two subjects", Signed(Header(), R"({"sub":"1",)" + Claims().substr(1)));
  Refused("two lists of roles",
          Signed(Header(), R"({"roles":["SUPER_ADMIN"],)" + Claims().substr(1)));
  EXPECT_GE(attacks_, 75);
}

TEST_F(TokenAttacks, OnTheForm) {
  const std::vector<std::string> parts = Parts();
  const std::string good = Good();
  const std::string &header = parts[0], &claims = parts[1], &signature = parts[2];
  for (const std::string& token :
       {std::string(),
        std::string("."),
        std::string(".."),
        std::string("..."),
        header,
        header + "." + claims,
        header + "." + claims + ".",
        "." + claims + "." + signature,
        header + ".." + signature,
        good + ".",
        "." + good,
        good + "." + signature,
        header + "." + claims + "." + claims + "." + claims + "." + signature,  // five parts: JWE
        header + "=." + claims + "." + signature,
        header + "." + claims + "=." + signature,
        good + "=",
        good + "==",
        good + " ",
        " " + good,
        good + "\n",
        good + "\r\nX: y",
        good + std::string(1, '\0'),
        "Bearer " + good,
        good + "," + good,
        header + " ." + claims + "." + signature,
        header + "." + claims + " ." + signature,
        R"({"payload":")" + claims + R"(","signature":")" + signature + "\"}",
        std::string(5000, 'a'),
        std::string(5000, '.'),
        good + std::string(5000, 'A'),
        Signed("[]", Claims()),
        Signed("null", Claims()),
        Signed("", Claims()),
        Signed(Header(), "[]"),
        Signed(Header(), "null"),
        Signed(Header(), ""),
        Signed(Header(), Text("sub")),
        Signed(Header() + "x", Claims()),
        Signed(Header(), Claims() + "x"),
        Signed(Header(), Claims().substr(0, Claims().size() - 1)),
        Signed(Header(), std::string(2000, '[')),
        Signed(std::string(2000, '{'), Claims()),
        Signed(Header(), Claims({{"pad", Text(std::string(5000, 'x'))}})),
        Signed(Header(), "{\"sub\":\"\xff\xfe\"}")}) {
    Refused("a token of another form", token);
  }
  EXPECT_GE(attacks_, 40);
}

}  // namespace
}  // namespace shop::auth
