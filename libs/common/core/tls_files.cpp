#include "common/core/tls_files.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <memory>

#include "common/core/freed.h"

namespace shop {
namespace {

using Bio = std::unique_ptr<BIO, Freed<BIO_free>>;
using Certificate = std::unique_ptr<X509, Freed<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;

Certificate ReadCertificate(const std::string& file) {
  const Bio text(BIO_new_file(file.c_str(), "r"));
  return Certificate(text ? PEM_read_bio_X509(text.get(), nullptr, nullptr, nullptr) : nullptr);
}

Key ReadKey(const std::string& file) {
  const Bio text(BIO_new_file(file.c_str(), "r"));
  return Key(text ? PEM_read_bio_PrivateKey(text.get(), nullptr, nullptr, nullptr) : nullptr);
}

bool IsOf(const Certificate& certificate, const std::string& name) {
  return X509_check_host(certificate.get(), name.data(), name.size(),
                         X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, nullptr) == 1;
}

// `name` empty: the certificate may be anybody's.
TlsFiles Read(Env& env, const std::string& prefix, bool with_ca, const std::string& name) {
  const auto variable = [&](const char* rest) { return prefix + rest; };
  TlsFiles files{env.Text(variable("CERT_FILE"), ""), env.Text(variable("KEY_FILE"), ""),
                 with_ca ? env.Text(variable("CA_FILE"), "") : ""};
  if (files.certificate.empty() && files.key.empty() && files.ca.empty()) return files;
  const Certificate certificate = ReadCertificate(files.certificate);
  if (!certificate) {
    env.Wrong(variable("CERT_FILE"), "names no file with a certificate in PEM");
  } else if (X509_cmp_current_time(X509_get0_notAfter(certificate.get())) < 0) {
    env.Wrong(variable("CERT_FILE"), "has a certificate that has expired");
  } else if (!name.empty() && !IsOf(certificate, name)) {
    env.Wrong(variable("CERT_FILE"), "has a certificate that is not one of " + name);
  }
  const Key key = ReadKey(files.key);
  if (!key) {
    env.Wrong(variable("KEY_FILE"), "names no file with a private key in PEM");
  } else if (certificate && X509_check_private_key(certificate.get(), key.get()) != 1) {
    env.Wrong(variable("KEY_FILE"), "has another key than that of the certificate");
  }
  if (with_ca && !ReadCertificate(files.ca)) {
    env.Wrong(variable("CA_FILE"), "names no file with certificates in PEM");
  }
  ERR_clear_error();
  return files;
}

}  // namespace

TlsFiles TlsFiles::OfProcess(Env& env, const std::string& name) {
  return Read(env, "TLS_", true, name);
}

TlsFiles TlsFiles::OfHttp(Env& env) {
  return Read(env, "HTTP_TLS_", false, "");
}

}  // namespace shop
