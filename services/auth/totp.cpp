#include "auth/totp.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <cctype>
#include <stdexcept>

#include "common/crypto/sha256.h"

namespace shop::auth {
namespace {

constexpr int64_t kStepSeconds = 30;

std::string Escaped(std::string_view text) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string escaped;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 || std::string_view("-._~").find(c) != std::string_view::npos) {
      escaped += c;
    } else {
      escaped += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return escaped;
}

}  // namespace

std::string TotpCode(std::string_view secret, int64_t step, int digits) {
  unsigned char moment[8];
  for (int i = 0; i < 8; ++i) {
    moment[i] = static_cast<unsigned char>(static_cast<uint64_t>(step) >> (56 - 8 * i));
  }
  unsigned char hash[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (HMAC(EVP_sha1(), secret.data(), static_cast<int>(secret.size()), moment, sizeof moment, hash,
           &size) == nullptr ||
      size != 20) {
    throw std::runtime_error("OpenSSL cannot compute an HMAC");
  }
  // RFC 4226, 5.3: four bytes from where the last one says, without their sign.
  const unsigned char* bytes = hash + (hash[19] & 15);
  uint32_t number = 0;
  for (int i = 0; i < 4; ++i) number = number << 8 | bytes[i];
  number &= 0x7fffffff;
  std::string code(static_cast<size_t>(digits), '0');
  for (auto digit = code.rbegin(); digit != code.rend(); ++digit, number /= 10) {
    *digit = static_cast<char>('0' + number % 10);
  }
  return code;
}

std::optional<int64_t> TotpStep(std::string_view secret, std::string_view code, int64_t now,
                                int64_t last) {
  const int64_t step = now / kStepSeconds;
  for (int64_t near = std::max(step - 1, last + 1); near <= step + 1; ++near) {
    if (EqualInConstantTime(TotpCode(secret, near), code)) return near;
  }
  return std::nullopt;
}

std::string EncodeBase32(std::string_view bytes) {
  constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  std::string text;
  uint32_t left = 0;
  int bits = 0;
  for (const char c : bytes) {
    left = left << 8 | static_cast<unsigned char>(c);
    for (bits += 8; bits >= 5; bits -= 5) text += kAlphabet[left >> (bits - 5) & 31];
  }
  if (bits > 0) text += kAlphabet[left << (5 - bits) & 31];
  return text;
}

std::string TotpUri(std::string_view secret, std::string_view email) {
  return "otpauth://totp/Shop:" + Escaped(email) + "?secret=" + EncodeBase32(secret) +
         "&issuer=Shop&algorithm=SHA1&digits=6&period=30";
}

}  // namespace shop::auth
