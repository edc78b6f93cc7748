#include "common/rpc/tls.h"

#include <grpc/grpc_security_constants.h>
#include <grpc/support/log.h>
#include <grpcpp/security/auth_context.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <algorithm>
#include <string>

#include "common/telemetry/log.h"

namespace shop::rpc {
namespace {

// By itself gRPC writes to standard error, in a form of its own. A handshake that failed is the other side's
// fault as often as ours.
void LogOfGrpc(gpr_log_func_args* args) {
  log::Write(args->severity == GPR_LOG_SEVERITY_ERROR ? log::Level::kWarning : log::Level::kInfo,
             "gRPC",
             {{"text", args->message},
              {"at", std::string(args->file) + ":" + std::to_string(args->line)}});
}

}  // namespace

Tls::Tls(const TlsFiles& files, std::chrono::seconds reread_after) : on_(files.given()) {
  gpr_set_log_function(LogOfGrpc);
  if (!on_) {
    client_ = grpc::InsecureChannelCredentials();
    server_ = grpc::InsecureServerCredentials();
    return;
  }
  const auto provider = std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
      files.key, files.certificate, files.ca, static_cast<unsigned>(reread_after.count()));
  grpc::experimental::TlsChannelCredentialsOptions client;
  client.set_certificate_provider(provider);
  client.watch_root_certs();
  client.watch_identity_key_cert_pairs();
  client_ = grpc::experimental::TlsCredentials(client);

  grpc::experimental::TlsServerCredentialsOptions server(provider);
  server.watch_root_certs();
  server.watch_identity_key_cert_pairs();
  server.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  server_ = grpc::experimental::TlsServerCredentials(server);
}

bool IsCertifiedAs(const grpc::AuthContext& peer, const std::string& name) {
  const auto names = peer.FindPropertyValues(GRPC_X509_SAN_PROPERTY_NAME);
  return std::ranges::find(names, name) != names.end();
}

}  // namespace shop::rpc
