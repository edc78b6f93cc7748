// The admin port of a process: /metrics, /healthz, /readyz. Plain HTTP for the operator's network,
// never for clients.
//
//   /healthz         200 while the process lives, whatever else is away
//   /readyz          200 while it should get work, also when a part of that work has to wait; 503
//                    otherwise. The body names what is missing, or what is degraded.
//   /readyz?strict   200 only when nothing is missing and nothing degraded: all is there
//
// One thread serves every connection without waiting for any of them: who connects and says
// nothing, or does not read, is closed after two seconds and holds up nobody meanwhile.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace shop {

// What a process lacks, as words for people; empty when it lacks nothing.
struct ReadinessReport {
  std::string missing;   // it should get no work
  std::string degraded;  // it should, though a part of what it is for has to wait
};

class AdminServer {
 public:
  // Called from the server's thread for each request, and must answer at once.
  using Ready = std::function<ReadinessReport()>;

  // Listens at once; throws std::runtime_error when the address cannot be had.
  AdminServer(const std::string& host, uint16_t port, Ready ready);
  ~AdminServer();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop
