// TLS between the processes, with a certificate on both sides (mutual TLS).
//
// Each process has a certificate in whose names its own is (`orders`). A server takes connections of those
// alone who have one of the same authority, and a client goes on only with a server whose certificate is
// of the service that it calls, at whatever address it found it. A call with a service's token is taken only
// from a connection of that very service.
//
// Files are looked at each minute; connections last half a minute, so that a new certificate is in use
// within two.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "common/core/tls_files.h"

namespace grpc {
class AuthContext;
class ChannelCredentials;
class ServerCredentials;
}  // namespace grpc

namespace shop::rpc {

// Copies share what they are made of. Thread-safe.
class Tls {
 public:
  Tls() : Tls(TlsFiles{}) {}
  // Without files connections are plain.
  explicit Tls(const TlsFiles& files, std::chrono::seconds reread_after = std::chrono::seconds(60));

  bool on() const { return on_; }
  const std::shared_ptr<grpc::ChannelCredentials>& client() const { return client_; }
  const std::shared_ptr<grpc::ServerCredentials>& server() const { return server_; }

 private:
  bool on_;
  std::shared_ptr<grpc::ChannelCredentials> client_;
  std::shared_ptr<grpc::ServerCredentials> server_;
};

// Whether the certificate of the other side of a connection names it.
bool IsCertifiedAs(const grpc::AuthContext& peer, const std::string& name);

}  // namespace shop::rpc
