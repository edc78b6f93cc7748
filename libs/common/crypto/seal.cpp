#include "common/crypto/seal.h"

#include <openssl/evp.h>

#include <memory>
#include <stdexcept>

#include "common/crypto/base64.h"
#include "common/crypto/random.h"
#include "common/crypto/sha256.h"

namespace shop {
namespace {

constexpr size_t kNonceSize = 12;
constexpr size_t kTagSize = 16;

struct FreeContext {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using Context = std::unique_ptr<EVP_CIPHER_CTX, FreeContext>;

const unsigned char* Bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
unsigned char* Bytes(std::string* text) {
  return reinterpret_cast<unsigned char*>(text->data());
}

std::string KeyFrom(std::string_view secret) {
  return HmacSha256(secret, "shop: sealing");
}

}  // namespace

std::string Seal(std::string_view secret, std::string_view about, std::string_view text) {
  std::string sealed(kNonceSize + text.size() + kTagSize, '\0');
  FillRandom(sealed.data(), kNonceSize);
  const Context context(EVP_CIPHER_CTX_new());
  int size = 0;
  unsigned char* out = Bytes(&sealed) + kNonceSize;
  const bool done =
      context != nullptr &&
      EVP_EncryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, Bytes(KeyFrom(secret)),
                         Bytes(sealed)) == 1 &&
      EVP_EncryptUpdate(context.get(), nullptr, &size, Bytes(about),
                        static_cast<int>(about.size())) == 1 &&
      EVP_EncryptUpdate(context.get(), out, &size, Bytes(text), static_cast<int>(text.size())) ==
          1 &&
      EVP_EncryptFinal_ex(context.get(), out + text.size(), &size) == 1 &&
      EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_GET_TAG, kTagSize, out + text.size()) == 1;
  if (!done) throw std::runtime_error("AES-256-GCM is not available");
  return EncodeBase64Url(sealed);
}

std::optional<std::string> Unseal(std::string_view secret, std::string_view about,
                                  std::string_view sealed) {
  std::optional<std::string> bytes = DecodeBase64Url(sealed);
  if (!bytes || bytes->size() < kNonceSize + kTagSize) return std::nullopt;
  std::string text(bytes->size() - kNonceSize - kTagSize, '\0');
  const Context context(EVP_CIPHER_CTX_new());
  int size = 0;
  const bool good =
      context != nullptr &&
      EVP_DecryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, Bytes(KeyFrom(secret)),
                         Bytes(*bytes)) == 1 &&
      EVP_DecryptUpdate(context.get(), nullptr, &size, Bytes(about),
                        static_cast<int>(about.size())) == 1 &&
      EVP_DecryptUpdate(context.get(), Bytes(&text), &size, Bytes(*bytes) + kNonceSize,
                        static_cast<int>(text.size())) == 1 &&
      EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_SET_TAG, kTagSize,
                          Bytes(&*bytes) + bytes->size() - kTagSize) == 1 &&
      EVP_DecryptFinal_ex(context.get(), Bytes(&text) + text.size(), &size) == 1;
  if (!good) return std::nullopt;
  return text;
}

}  // namespace shop
