#pragma once

#include <string>

#include "common/core/env.h"
#include "common/rpc/identity.h"
#include "common/rpc/server.h"

namespace shop::rpc {

// What every service needs to answer and to make calls.
struct ServiceSettings {
  ServerSettings server;
  Identity::Settings identity;

  // Of the service `name`: BIND_HOST, <NAME>_PORT, RPC_THREADS, RPC_QUEUE; AUTH_ADDR,
  // SERVICE_KEY(_FILE) and SERVICE_KEYS; TLS_CERT_FILE, TLS_KEY_FILE and TLS_CA_FILE. `threads` is
  // RPC_THREADS where that is not set.
  static ServiceSettings Read(Env& env, const std::string& name, int threads = 8);
};

}  // namespace shop::rpc
