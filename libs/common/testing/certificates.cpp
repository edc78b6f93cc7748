#include "common/testing/certificates.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdlib>
#include <fstream>
#include <stdexcept>

#include "common/core/freed.h"

namespace shop::testing {
namespace {

using Certificate = std::unique_ptr<X509, Freed<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using File = std::unique_ptr<std::FILE, Freed<std::fclose>>;

void AddExtension(X509* certificate, int which, const std::string& value) {
  X509_EXTENSION* extension = X509V3_EXT_nconf_nid(nullptr, nullptr, which, value.c_str());
  if (extension == nullptr) throw std::logic_error("no such extension: " + value);
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

Certificate NewCertificate(long number, const std::string& name, const Key& key,
                           std::chrono::seconds lifetime) {
  Certificate certificate(X509_new());
  X509_set_version(certificate.get(), X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), number);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), lifetime.count());
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate.get()), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  X509_set_pubkey(certificate.get(), key.get());
  return certificate;
}

// Whole or not at all, as whoever renews certificates has to.
template <typename WriteTo>
void Write(const std::filesystem::path& path, WriteTo write) {
  const std::filesystem::path draft = path.string() + ".new";
  {
    const File file(std::fopen(draft.c_str(), "w"));
    if (!file || write(file.get()) != 1) throw std::runtime_error("cannot write " + draft.string());
  }
  std::filesystem::rename(draft, path);
}

void WriteCertificate(const std::filesystem::path& path, const Certificate& certificate) {
  Write(path, [&](std::FILE* file) { return PEM_write_X509(file, certificate.get()); });
}

}  // namespace

struct Authority::Keys {
  Key key;
  Certificate certificate;
};

Authority::Authority() : keys_(std::make_unique<Keys>()) {
  std::string folder = std::filesystem::temp_directory_path() / "certificates-XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) throw std::runtime_error("no temporary folder");
  folder_ = folder;
  keys_->key.reset(EVP_EC_gen("P-256"));
  keys_->certificate =
      NewCertificate(++issued_, "authority of tests", keys_->key, std::chrono::hours(1));
  X509* certificate = keys_->certificate.get();
  X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
  AddExtension(certificate, NID_basic_constraints, "critical,CA:TRUE");
  X509_sign(certificate, keys_->key.get(), EVP_sha256());
  WriteCertificate(folder_ / "ca.crt", keys_->certificate);
}

Authority::~Authority() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

TlsFiles Authority::Issue(const std::string& name, std::chrono::seconds lifetime) {
  const Key key(EVP_EC_gen("P-256"));
  const Certificate certificate = NewCertificate(++issued_, name, key, lifetime);
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(keys_->certificate.get()));
  AddExtension(certificate.get(), NID_subject_alt_name, "DNS:" + name);
  X509_sign(certificate.get(), keys_->key.get(), EVP_sha256());
  const std::filesystem::path file = folder_ / (name + ".crt"),
                              key_file = folder_ / (name + ".key");
  Write(key_file, [&](std::FILE* out) {
    return PEM_write_PrivateKey(out, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  });
  WriteCertificate(file, certificate);
  return {file, key_file, folder_ / "ca.crt"};
}

}  // namespace shop::testing
