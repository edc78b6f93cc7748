#include "common/auth/jose.h"

#include <google/protobuf/util/json_util.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>

#include <array>
#include <optional>
#include <stdexcept>
#include <utility>

#include "common/core/freed.h"
#include "common/crypto/base64.h"
#include "common/crypto/random.h"
#include "common/crypto/sha256.h"

namespace shop::auth::jose {
namespace {

using std::chrono::seconds;

constexpr size_t kLongestToken = 4096;
constexpr size_t kCoordinateBytes = 32;
constexpr seconds kClockLeeway{60};
// The order n of P-256 (SEC 2, 2.4.2), and n / 2.
constexpr char kOrder[] = "FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551";
constexpr char kHalfOrder[] = "7FFFFFFF800000007FFFFFFFFFFFFFFFDE737D56D38BCF4279DCE5617E3192A8";

using KeyContext = std::unique_ptr<EVP_PKEY_CTX, Freed<EVP_PKEY_CTX_free>>;
using DigestContext = std::unique_ptr<EVP_MD_CTX, Freed<EVP_MD_CTX_free>>;
using BigNumber = std::unique_ptr<BIGNUM, Freed<BN_free>>;
using Signature = std::unique_ptr<ECDSA_SIG, Freed<ECDSA_SIG_free>>;
using Params = std::unique_ptr<OSSL_PARAM, Freed<OSSL_PARAM_free>>;
using ParamBuilder = std::unique_ptr<OSSL_PARAM_BLD, Freed<OSSL_PARAM_BLD_free>>;
using Bio = std::unique_ptr<BIO, Freed<BIO_free_all>>;

// What OpenSSL notes about a failure must not be found later by gRPC's TLS on the same thread.
struct ErrorsCleared {
  ~ErrorsCleared() { ERR_clear_error(); }
};

[[noreturn]] void OpenSslFailed(const char* what) {
  throw std::runtime_error(std::string("OpenSSL: ") + what + " failed");
}

BigNumber FromHex(const char* digits) {
  BIGNUM* number = nullptr;
  if (BN_hex2bn(&number, digits) == 0) OpenSslFailed("BN_hex2bn");
  return BigNumber(number);
}

// To every signature (r, s) there is a second one, (r, n - s). Only that with the lower s is taken, so
// that nobody makes another token of a token.
bool IsHigh(const BIGNUM* s) {
  static const BigNumber half = FromHex(kHalfOrder);
  return BN_cmp(s, half.get()) > 0;
}

BigNumber Lower(const BIGNUM* s) {
  BigNumber lower(BN_dup(s));
  if (lower == nullptr) OpenSslFailed("BN_dup");
  if (IsHigh(s) && BN_sub(lower.get(), FromHex(kOrder).get(), s) != 1) OpenSslFailed("BN_sub");
  return lower;
}

const unsigned char* Bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

std::optional<Struct> ParseObject(const std::string& json) {
  Struct object;
  if (!google::protobuf::util::JsonStringToMessage(json, &object).ok()) return std::nullopt;
  return object;
}

bool TextIs(const Struct& object, const char* name, std::string_view expected) {
  const Value* value = Find(object, name, Value::kStringValue);
  return value != nullptr && value->string_value() == expected;
}

// The clock counts nanoseconds, which end in the year 2262.
constexpr double kLastTime = 9e9;

// Seconds since 1970, or nothing where the claim is absent or no time that the clock can have.
std::optional<int64_t> TimeClaim(const Struct& claims, const char* name) {
  const Value* value = Find(claims, name, Value::kNumberValue);
  if (value == nullptr || !(value->number_value() >= 0 && value->number_value() < kLastTime)) {
    return std::nullopt;
  }
  return static_cast<int64_t>(value->number_value());
}

std::string Coordinate(EVP_PKEY* key, const char* name) {
  BIGNUM* number = nullptr;
  if (EVP_PKEY_get_bn_param(key, name, &number) != 1) OpenSslFailed("EVP_PKEY_get_bn_param");
  const BigNumber freed(number);
  std::array<unsigned char, kCoordinateBytes> bytes;
  BN_bn2binpad(number, bytes.data(), bytes.size());
  return EncodeBase64Url({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

}  // namespace

Refusal Unauthenticated(std::string message) {
  return Refusal{Code::kUnauthenticated, std::move(message)};
}

int64_t ToUnix(std::chrono::system_clock::time_point time) {
  return std::chrono::duration_cast<seconds>(time.time_since_epoch()).count();
}

Result<Parts> Split(std::string_view token) {
  if (token.size() > kLongestToken) return Unauthenticated("the token is too long");
  const Refusal malformed = Unauthenticated("the token is malformed");
  const size_t first = token.find('.');
  const size_t second = first == token.npos ? token.npos : token.find('.', first + 1);
  if (second == token.npos) return malformed;
  const std::optional<std::string> header = DecodeBase64Url(token.substr(0, first));
  std::optional<std::string> payload = DecodeBase64Url(token.substr(first + 1, second - first - 1));
  std::optional<std::string> signature = DecodeBase64Url(token.substr(second + 1));
  if (!header || !payload || !signature) return malformed;
  std::optional<Struct> header_object = ParseObject(*header);
  if (!header_object) return malformed;
  return Parts{token.substr(0, second), std::move(*header_object), std::move(*payload),
               std::move(*signature)};
}

const Value* Find(const Struct& object, const char* name, Value::KindCase kind) {
  const auto found = object.fields().find(name);
  if (found == object.fields().end() || found->second.kind_case() != kind) return nullptr;
  return &found->second;
}

Result<void> CheckHeader(const Struct& header, const char* algorithm, const char* type) {
  if (!TextIs(header, "alg", algorithm)) return Unauthenticated("the token's algorithm is wrong");
  if (!TextIs(header, "typ", type)) return Unauthenticated("the token is of another type");
  if (header.fields().contains("crit")) return Unauthenticated("the token is malformed");
  return kDone;
}

Result<Subject> CheckClaims(const std::string& payload, const char* issuer, const char* audience,
                            int64_t now) {
  std::optional<Struct> claims = ParseObject(payload);
  if (!claims) return Unauthenticated("the token is malformed");
  if (!TextIs(*claims, "iss", issuer)) return Unauthenticated("the token's issuer is wrong");
  if (!TextIs(*claims, "aud", audience)) return Unauthenticated("the token's audience is wrong");
  const std::optional<int64_t> expires = TimeClaim(*claims, "exp");
  const std::optional<int64_t> issued = TimeClaim(*claims, "iat");
  if (!expires || !issued) return Unauthenticated("the token is malformed");
  if (*expires <= now) return Unauthenticated("the token has expired");
  if (*issued > now + kClockLeeway.count()) {
    return Unauthenticated("the token is from the future");
  }
  if (claims->fields().contains("nbf")) {
    const std::optional<int64_t> not_before = TimeClaim(*claims, "nbf");
    if (!not_before) return Unauthenticated("the token is malformed");
    if (*not_before > now + kClockLeeway.count()) {
      return Unauthenticated("the token is not valid yet");
    }
  }
  const Value* sub = Find(*claims, "sub", Value::kStringValue);
  if (sub == nullptr) return Unauthenticated("the token is malformed");
  std::string name = sub->string_value();
  return Subject{std::move(name), *expires, std::move(*claims)};
}

std::string NewTokenId() {
  const auto bytes = RandomBytes<16>();
  return EncodeBase64Url({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

std::string Assemble(std::string_view header, std::string_view claims,
                     const std::function<std::string(std::string_view)>& sign) {
  const std::string text = EncodeBase64Url(header) + "." + EncodeBase64Url(claims);
  return text + "." + EncodeBase64Url(sign(text));
}

void FreeKey::operator()(EVP_PKEY* key) const {
  EVP_PKEY_free(key);
}

std::string NewPrivateKey() {
  const Key key(EVP_EC_gen("P-256"));
  const std::unique_ptr<BIO, int (*)(BIO*)> text(BIO_new(BIO_s_mem()), BIO_free);
  if (key == nullptr || text == nullptr ||
      PEM_write_bio_PrivateKey(text.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    throw std::runtime_error("no P-256 key could be made");
  }
  char* bytes = nullptr;
  const auto size = static_cast<size_t>(BIO_get_mem_data(text.get(), &bytes));
  return {bytes, size};
}

Key ReadPrivateKey(const std::string& pem) {
  const ErrorsCleared cleared;
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  // An empty pass phrase, so that an encrypted key is refused and nobody is asked on the terminal.
  char no_pass_phrase[] = "";
  Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, no_pass_phrase));
  std::array<char, 64> group{};
  if (key == nullptr || EVP_PKEY_is_a(key.get(), "EC") != 1 ||
      EVP_PKEY_get_group_name(key.get(), group.data(), group.size(), nullptr) != 1 ||
      std::string_view(group.data()) != "prime256v1") {
    throw std::invalid_argument("is not the PEM of a P-256 private key");
  }
  return key;
}

Key PrivateKeyOf(const std::string& digits) {
  const ErrorsCleared cleared;
  if (digits.size() != 2 * kCoordinateBytes ||
      digits.find_first_not_of("0123456789abcdefABCDEF") != digits.npos) {
    throw std::invalid_argument("is not 64 hexadecimal digits");
  }
  const BigNumber number = FromHex(digits.c_str());
  std::array<unsigned char, kCoordinateBytes> bytes;
  BN_bn2binpad(number.get(), bytes.data(), bytes.size());
  // ECPrivateKey of RFC 5915 without its public part, which OpenSSL computes.
  std::string der = "\x30\x31\x02\x01\x01\x04\x20";
  der.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  der += "\xa0\x0a\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
  const unsigned char* read = Bytes(der);
  Key key(d2i_PrivateKey(EVP_PKEY_EC, nullptr, &read, static_cast<long>(der.size())));
  OPENSSL_cleanse(der.data(), der.size());
  OPENSSL_cleanse(bytes.data(), bytes.size());
  if (key == nullptr || BN_is_zero(number.get()) ||
      BN_cmp(number.get(), FromHex(kOrder).get()) >= 0) {
    throw std::invalid_argument("is not a number of P-256");
  }
  return key;
}

Key PublicKeyAt(const Point& point) {
  const ErrorsCleared cleared;
  const std::optional<std::string> x = DecodeBase64Url(point.x);
  const std::optional<std::string> y = DecodeBase64Url(point.y);
  if (!x || !y || x->size() != kCoordinateBytes || y->size() != kCoordinateBytes) {
    throw std::invalid_argument("malformed coordinates");
  }
  const std::string bytes = "\x04" + *x + *y;
  const ParamBuilder builder(OSSL_PARAM_BLD_new());
  if (builder == nullptr ||
      OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) !=
          1 ||
      OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY, bytes.data(),
                                       bytes.size()) != 1) {
    OpenSslFailed("OSSL_PARAM_BLD");
  }
  const Params params(OSSL_PARAM_BLD_to_param(builder.get()));
  const KeyContext context(EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr));
  EVP_PKEY* made = nullptr;
  if (params == nullptr || context == nullptr || EVP_PKEY_fromdata_init(context.get()) != 1 ||
      EVP_PKEY_fromdata(context.get(), &made, EVP_PKEY_PUBLIC_KEY, params.get()) != 1) {
    throw std::invalid_argument("not a point of P-256");
  }
  return Key(made);
}

Point PublicPoint(EVP_PKEY* key) {
  return {Coordinate(key, OSSL_PKEY_PARAM_EC_PUB_X), Coordinate(key, OSSL_PKEY_PARAM_EC_PUB_Y)};
}

std::string Thumbprint(const Point& point) {
  return EncodeBase64Url(
      Sha256(R"({"crv":"P-256","kty":"EC","x":")" + point.x + R"(","y":")" + point.y + R"("})"));
}

// JWS carries r and s side by side (RFC 7518, 3.4); OpenSSL wants them in DER.
bool VerifyEs256(EVP_PKEY* key, std::string_view text, const std::string& signature) {
  const ErrorsCleared cleared;
  if (signature.size() != 2 * kCoordinateBytes) return false;
  const Signature pair(ECDSA_SIG_new());
  BigNumber r(BN_bin2bn(Bytes(signature), kCoordinateBytes, nullptr));
  BigNumber s(BN_bin2bn(Bytes(signature) + kCoordinateBytes, kCoordinateBytes, nullptr));
  if (pair == nullptr || r == nullptr || s == nullptr) OpenSslFailed("BN_bin2bn");
  if (IsHigh(s.get())) return false;
  ECDSA_SIG_set0(pair.get(), r.release(), s.release());
  unsigned char* der = nullptr;
  const int length = i2d_ECDSA_SIG(pair.get(), &der);
  if (length <= 0) OpenSslFailed("i2d_ECDSA_SIG");
  const std::unique_ptr<unsigned char, Freed<[](unsigned char* p) { OPENSSL_free(p); }>> der_freed(
      der);
  const DigestContext context(EVP_MD_CTX_new());
  return context != nullptr &&
         EVP_DigestVerifyInit(context.get(), nullptr, EVP_sha256(), nullptr, key) == 1 &&
         EVP_DigestVerify(context.get(), der, static_cast<size_t>(length), Bytes(text),
                          text.size()) == 1;
}

std::string SignEs256(EVP_PKEY* key, std::string_view text) {
  const ErrorsCleared cleared;
  const DigestContext context(EVP_MD_CTX_new());
  std::array<unsigned char, 128> der;
  size_t length = der.size();
  if (context == nullptr ||
      EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, key) != 1 ||
      EVP_DigestSign(context.get(), der.data(), &length, Bytes(text), text.size()) != 1) {
    OpenSslFailed("EVP_DigestSign");
  }
  const unsigned char* read = der.data();
  const Signature pair(d2i_ECDSA_SIG(nullptr, &read, static_cast<long>(length)));
  if (pair == nullptr) OpenSslFailed("d2i_ECDSA_SIG");
  std::array<unsigned char, 2 * kCoordinateBytes> raw;
  BN_bn2binpad(ECDSA_SIG_get0_r(pair.get()), raw.data(), kCoordinateBytes);
  BN_bn2binpad(Lower(ECDSA_SIG_get0_s(pair.get())).get(), raw.data() + kCoordinateBytes,
               kCoordinateBytes);
  return std::string(reinterpret_cast<const char*>(raw.data()), raw.size());
}

}  // namespace shop::auth::jose
