// A connection that tests can break.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <thread>
#include <vector>

namespace shop::testing {

// A port of loopback before a server's, that can be cut (connections end, new ones are
// refused), muted (bytes arrive and no answer comes), slowed down (it takes a while until a new
// connection's first byte arrives) and mended.
class Wire {
 public:
  explicit Wire(uint16_t to) : to_(to) { Mend(); }
  ~Wire() { Cut(); }

  uint16_t port() const { return port_; }
  void Mute() { muted_ = true; }
  void SlowDown(std::chrono::milliseconds delay) { delay_ = delay; }
  void Mend() {
    muted_ = false;
    listener_ = socket(AF_INET, SOCK_STREAM, 0);
    const int yes = 1;
    setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    sockaddr_in address = Loopback(port_);
    if (bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        listen(listener_, 64) != 0) {
      throw std::runtime_error("no port for the wire");
    }
    socklen_t size = sizeof address;
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { Accept(); });
  }
  void Cut() {
    if (!acceptor_.joinable()) return;
    shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    close(listener_);
    for (const int end : ends_) shutdown(end, SHUT_RDWR);
    for (std::thread& pump : pumps_) pump.join();
    for (const int end : ends_) close(end);
    pumps_.clear();
    ends_.clear();
  }

 private:
  static sockaddr_in Loopback(uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }
  void Accept() {
    for (;;) {
      const int client = accept(listener_, nullptr, nullptr);
      if (client < 0) return;
      std::this_thread::sleep_for(delay_.load());
      const int server = socket(AF_INET, SOCK_STREAM, 0);
      const sockaddr_in address = Loopback(to_);
      if (connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        shutdown(client, SHUT_RDWR);
      }
      ends_.insert(ends_.end(), {client, server});
      pumps_.emplace_back([this, client, server] { Pump(client, server); });
      pumps_.emplace_back([this, client, server] { Pump(server, client); });
    }
  }
  void Pump(int from, int to) {
    char bytes[4096];
    for (ssize_t got; (got = read(from, bytes, sizeof bytes)) > 0;) {
      if (muted_) continue;
      if (send(to, bytes, static_cast<size_t>(got), MSG_NOSIGNAL) != got) break;
    }
    shutdown(to, SHUT_RDWR);
  }

  const uint16_t to_;
  uint16_t port_ = 0;
  int listener_ = -1;
  std::atomic<bool> muted_ = false;
  std::atomic<std::chrono::milliseconds> delay_{};
  std::thread acceptor_;
  std::vector<std::thread> pumps_;
  std::vector<int> ends_;
};

}  // namespace shop::testing
