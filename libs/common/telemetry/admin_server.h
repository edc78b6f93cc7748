// The admin port of a process: /metrics, /healthz, /readyz, /log-level. Plain HTTP for the operator's
// network, never for clients.
//
//   /healthz         200 while the process lives, whatever else is away
//   /readyz          200 while it should get work, also when a part of that work has to wait; 503
//                    otherwise. The body names what is missing, or what is degraded.
//   /readyz?strict   200 only when nothing is missing and nothing degraded
//   /log-level       the least level that the log has; PUT /log-level/debug changes it until the
//                    process ends
//
// One thread serves all connections asynchronously. A client that sends nothing or does not read is
// disconnected after two seconds, and delays no other.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace shop {

// What a process lacks, as words for people; empty when it lacks nothing.
struct ReadinessReport {
  std::string missing;   // it should get no work
  std::string degraded;  // it should get work, though a part of it has to wait
};

class AdminServer {
 public:
  // Called from the server's thread for each request; must not block.
  using Ready = std::function<ReadinessReport()>;

  // Listens at once; throws std::runtime_error when it cannot.
  AdminServer(const std::string& host, uint16_t port, Ready ready);
  ~AdminServer();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop
