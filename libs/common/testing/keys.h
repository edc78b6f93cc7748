// Keys and signatures straight from OpenSSL: for tests that make tokens which auth would not.
#pragma once

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>

#include <string>

namespace shop::testing {

inline std::string Pem(EVP_PKEY* key, bool private_part) {
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

// By OpenSSL's own encoder, so that ours is not checked against itself.
inline std::string Base64Url(const std::string& bytes) {
  std::string text(bytes.size() * 2 + 4, '\0');
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                     reinterpret_cast<const unsigned char*>(bytes.data()),
                                     static_cast<int>(bytes.size()));
  text.resize(static_cast<size_t>(length));
  while (!text.empty() && text.back() == '=') text.pop_back();
  for (char& c : text) c = c == '+' ? '-' : c == '/' ? '_' : c;
  return text;
}

inline std::string Hs256(const std::string& key, const std::string& text) {
  unsigned char mac[32];
  unsigned length = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), mac, &length);
  return Base64Url(std::string(reinterpret_cast<char*>(mac), length));
}

// r and s of an ECDSA signature, out of its DER form; s is less than half the order of the curve, as our
// tokens have it.
inline std::string Es256(const std::string& private_pem, const std::string& text) {
  BIO* bio = BIO_new_mem_buf(private_pem.data(), static_cast<int>(private_pem.size()));
  EVP_PKEY* key = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
  unsigned char der[128];
  const auto integer = [&](size_t at) {
    std::string bytes(reinterpret_cast<char*>(der) + at + 2, der[at + 1]);
    while (bytes.size() > 32) bytes.erase(0, 1);
    return std::string(32 - bytes.size(), '\0') + bytes;
  };
  std::string s;
  do {  // each signature is a new one
    EVP_MD_CTX* context = EVP_MD_CTX_new();
    EVP_DigestSignInit(context, nullptr, EVP_sha256(), nullptr, key);
    size_t length = sizeof der;
    EVP_DigestSign(context, der, &length, reinterpret_cast<const unsigned char*>(text.data()),
                   text.size());
    EVP_MD_CTX_free(context);
    s = integer(4 + der[3]);
  } while (static_cast<unsigned char>(s[0]) >= 0x7f);
  EVP_PKEY_free(key);
  BIO_free(bio);
  return Base64Url(integer(2) + s);
}

}  // namespace shop::testing
