// The admin port of a process: /metrics, /healthz, /readyz. Plain HTTP for the operator's network,
// never for clients.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace shop {

class AdminServer {
 public:
  // Answers an empty text when ready, else what is missing. Called from the server's thread.
  using Ready = std::function<std::string()>;

  // Listens at once; throws std::runtime_error when the address cannot be had.
  AdminServer(const std::string& host, uint16_t port, Ready ready);
  ~AdminServer();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop
