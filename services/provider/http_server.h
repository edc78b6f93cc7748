// HTTP/1.1 in front of the provider's API. Small, as its clients are services: it reads a header of 8 KB
// and a body of 64 KB at most, and closes connections that are idle for a minute.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "provider/api.h"

namespace shop::provider {

class HttpServer {
 public:
  struct Settings {
    std::string host = "127.0.0.1";
    uint16_t port = 0;  // 0 takes a free one (tests)
    int threads = 8;    // requests that are handled at once
    // Before each answer is sent.
    std::chrono::milliseconds delay{0};
    // How long a connection is held that is not to be answered.
    std::chrono::milliseconds silence{60'000};
  };

  // Serves at once. Throws std::runtime_error when the port is taken. `api` must outlive the server.
  HttpServer(const Settings& settings, Api& api);
  // Ends the connections as they are.
  ~HttpServer();

  uint16_t port() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::provider
