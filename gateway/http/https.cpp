#include "gateway/http/https.h"

#include <openssl/ssl.h>

#include <boost/system/system_error.hpp>
#include <stdexcept>
#include <string>
#include <utility>

#include "common/telemetry/log.h"

namespace shop::gateway {
namespace {

namespace ssl = boost::asio::ssl;

// Forward secrecy and authenticated encryption (RFC 9325, section 4.2). Those of TLS 1.3 all have both.
constexpr char kCiphers[] = "ECDHE+AESGCM:ECDHE+CHACHA20";
// Of ALPN (RFC 7301). What speaks another protocol is refused rather than misunderstood.
constexpr unsigned char kProtocols[] = "\x08http/1.1";

int ChooseProtocol(SSL*, const unsigned char** chosen, unsigned char* length,
                   const unsigned char* offered, unsigned offered_length, void*) {
  const int found = SSL_select_next_proto(const_cast<unsigned char**>(chosen), length, kProtocols,
                                          sizeof kProtocols - 1, offered, offered_length);
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

}  // namespace

Https::Https(TlsFiles files, std::chrono::milliseconds look_every)
    : files_(std::move(files)),
      look_every_(look_every),
      context_(Load()),
      loaded_(TimesOfFiles()),
      looked_(std::chrono::steady_clock::now()) {}

ssl::context& Https::Context() {
  const auto now = std::chrono::steady_clock::now();
  if (now - looked_ < look_every_) return *context_;
  looked_ = now;
  const FileTimes times = TimesOfFiles();
  if (times == loaded_) return *context_;
  try {
    context_ = Load();
    loaded_ = times;
    log::Info("the certificate for HTTPS has changed");
  } catch (const std::runtime_error& error) {
    log::Error("the certificate for HTTPS stays as it was", {{"error", error.what()}});
  }
  return *context_;
}

Https::FileTimes Https::TimesOfFiles() const {
  std::error_code missing;  // then the time is the least there is
  return {std::filesystem::last_write_time(files_.certificate, missing),
          std::filesystem::last_write_time(files_.key, missing)};
}

std::unique_ptr<ssl::context> Https::Load() const {
  auto context = std::make_unique<ssl::context>(ssl::context::tls_server);
  SSL_CTX* native = context->native_handle();
  SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
  SSL_CTX_set_cipher_list(native, kCiphers);
  SSL_CTX_set_options(native, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(native, SSL_MODE_RELEASE_BUFFERS);  // idle connections need none
  SSL_CTX_set_alpn_select_cb(native, ChooseProtocol, nullptr);
  try {
    context->use_certificate_chain_file(files_.certificate);
    context->use_private_key_file(files_.key, ssl::context::pem);
  } catch (const boost::system::system_error& error) {
    throw std::runtime_error("HTTP_TLS_CERT_FILE or HTTP_TLS_KEY_FILE: " + error.code().message());
  }
  return context;
}

}  // namespace shop::gateway
