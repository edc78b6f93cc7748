#include "common/rpc/header_guard.h"

#include <dlfcn.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>

#include "common/telemetry/metrics.h"

namespace shop::rpc {
namespace {

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";  // RFC 9113, 3.4
constexpr uint8_t kNotHttp2 = 255;
constexpr uint8_t kHeaders = 1;
constexpr uint8_t kContinuation = 9;

struct Connection {
  bool accepted = false;
  HeaderBlockMeter meter;
};
// By file descriptor. One is read by one thread at a time, and gRPC sees to the order of accepting, reading
// and closing.
std::array<Connection, 65536> connections;
std::atomic<bool> guarding = false;

Connection* Find(int fd) {
  if (fd < 0 || static_cast<size_t>(fd) >= connections.size()) return nullptr;
  return &connections[static_cast<size_t>(fd)];
}

prometheus::Counter& Ended() {
  static prometheus::Counter& counter = prometheus::BuildCounter()
                                            .Name("rpc_endless_headers_total")
                                            .Help("Connections ended as their headers did not end")
                                            .Register(Metrics())
                                            .Add({});
  return counter;
}

bool TakeAll(HeaderBlockMeter& meter, const msghdr& message, size_t received) {
  for (size_t i = 0; i < message.msg_iovlen && received > 0; ++i) {
    const size_t here = std::min(received, message.msg_iov[i].iov_len);
    if (!meter.Take({static_cast<const char*>(message.msg_iov[i].iov_base), here})) return false;
    received -= here;
  }
  return true;
}

template <typename Function>
Function* Next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

bool HeaderBlockMeter::Take(std::string_view bytes) {
  while (!bytes.empty()) {
    if (of_preface_ == kNotHttp2) return true;
    if (payload_left_ > 0) {
      const size_t skipped = std::min<size_t>(payload_left_, bytes.size());
      payload_left_ -= static_cast<uint32_t>(skipped);
      bytes.remove_prefix(skipped);
      continue;
    }
    const char next = bytes.front();
    bytes.remove_prefix(1);
    if (of_preface_ < kPreface.size()) {
      of_preface_ = next == kPreface[of_preface_] ? of_preface_ + 1 : kNotHttp2;
      continue;
    }
    header_[of_header_++] = static_cast<uint8_t>(next);
    if (of_header_ < kFrameHeader) continue;
    of_header_ = 0;
    if (!TakeFrameHeader()) return false;
  }
  return true;
}

bool HeaderBlockMeter::TakeFrameHeader() {
  payload_left_ = static_cast<uint32_t>(header_[0] << 16 | header_[1] << 8 | header_[2]);
  const uint8_t type = header_[3];
  if (type != kHeaders && type != kContinuation) return true;
  if (type == kHeaders) block_ = 0;
  block_ += kFrameHeader + payload_left_;
  return block_ <= kLongestBlock;
}

void GuardHeaders() {
  Ended();
  guarding = true;
}

}  // namespace shop::rpc

// What gRPC calls, in the place of libc's.
extern "C" {

__attribute__((visibility("default"))) int accept4(int listener, sockaddr* address,
                                                   socklen_t* length, int flags) {
  static auto* const next = shop::rpc::Next<decltype(accept4)>("accept4");
  const int fd = next(listener, address, length, flags);
  if (auto* connection = shop::rpc::Find(fd)) *connection = {.accepted = true, .meter = {}};
  return fd;
}

__attribute__((visibility("default"))) int close(int fd) {
  static auto* const next = shop::rpc::Next<decltype(close)>("close");
  if (auto* connection = shop::rpc::Find(fd)) connection->accepted = false;
  return next(fd);
}

__attribute__((visibility("default"))) ssize_t recvmsg(int fd, msghdr* message, int flags) {
  static auto* const next = shop::rpc::Next<decltype(recvmsg)>("recvmsg");
  const ssize_t received = next(fd, message, flags);
  auto* connection = shop::rpc::Find(fd);
  if (received <= 0 || connection == nullptr || !connection->accepted || flags != 0 ||
      !shop::rpc::guarding ||
      shop::rpc::TakeAll(connection->meter, *message, static_cast<size_t>(received))) {
    return received;
  }
  shop::rpc::Ended().Increment();
  shutdown(fd, SHUT_RDWR);
  errno = ECONNRESET;
  return -1;
}

}  // extern "C"
