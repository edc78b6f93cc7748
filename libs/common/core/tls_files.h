// What a process shows about itself on connections with TLS, and by what it knows others: files in PEM.
#pragma once

#include <string>

#include "common/core/env.h"

namespace shop {

struct TlsFiles {
  std::string certificate;  // followed by those between it and its authority
  std::string key;
  // Whose certificates others have to show. Empty: none is asked for.
  std::string ca;

  bool given() const { return !certificate.empty(); }

  // TLS_CERT_FILE, TLS_KEY_FILE and TLS_CA_FILE, all of them or none. A certificate that is not one of
  // the process `name` (a DNS name among its subjectAltNames, RFC 9525), has expired, or belongs to
  // another key is a problem of `env`.
  static TlsFiles OfProcess(Env& env, const std::string& name);
  // HTTP_TLS_CERT_FILE and HTTP_TLS_KEY_FILE, which browsers and clients see. The names in the certificate
  // are the operator's business.
  static TlsFiles OfHttp(Env& env);
};

}  // namespace shop
