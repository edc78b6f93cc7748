// The gRPC port of a process: health, reflection, and the wrapper around every handler.
//
// For each call, in this order: authenticate the caller (authorization, x-service-token), check its
// access (the method's option) and the request (the fields' rules), run the handler, and map its
// refusal or exception to a status with details:
//   Refusal          its code; google.rpc.BadRequest for field violations, ErrorInfo for its reason
//   Unavailable      UNAVAILABLE (DEADLINE_EXCEEDED once the deadline has passed), logged
//   other exception  INTERNAL without details, logged
// An answer that the handler says is an earlier one (Call::replayed) carries the metadata
// `idempotent-replayed: true`.
// A refused or failed call has done nothing that the handler did not commit itself.
//
// Handlers run on a bounded pool of threads with a bounded queue, and the requests that wait and run
// take at most 32 MB together: what does not fit is UNAVAILABLE at once. A request of more than 1 MB is
// RESOURCE_EXHAUSTED, one of more than 10,000 fields INVALID_ARGUMENT, a compressed one UNIMPLEMENTED.
//
// Metrics: rpc_handled_total{method,code}, rpc_duration_seconds{method}, rpc_queue_length.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/rpc/service.h"

namespace shop::rpc {

class Identity;

struct ServerSettings {
  std::string host;
  uint16_t port = 0;  // 0: any free one
  // A Unix socket that it listens on as well; "": none. One that is there already is taken over, which
  // is safe as its name has the port (ServiceSocket), which no two processes have at once.
  std::string socket = {};
  int threads = 8;  // handlers that run at the same time
  int queue = 512;  // calls that may wait for a thread
  // How long a server that stops goes on, having said that it does not serve (grpc.health.v1). gRPC ends
  // calls that arrive after that as CANCELLED, so clients have to be gone by then.
  std::chrono::milliseconds drain_delay{0};
};

class Server {
 public:
  // Serves at once. Throws std::logic_error when a declared method has no handler,
  // std::runtime_error when it cannot listen on the port. `identity` and what the handlers refer to
  // must outlive the server.
  Server(const ServerSettings& settings, Identity& identity, const std::vector<Service>& services);
  // After the drain delay refuses new calls and lets running ones finish for up to five seconds; then it
  // stops what their handlers wait for (DeadlineScope).
  ~Server();

  uint16_t port() const;
  std::string address() const;  // 127.0.0.1:7005

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::rpc
