#include "common/telemetry/admin_server.h"

#include <netdb.h>
#include <poll.h>
#include <prometheus/text_serializer.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <list>
#include <stdexcept>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "common/telemetry/log.h"
#include "common/telemetry/metrics.h"

namespace shop {
namespace {

using std::chrono::steady_clock;

// How long a connection may neither send nor take anything.
constexpr std::chrono::seconds kPatience{2};
// Who opens more loses the oldest.
constexpr size_t kMostConnections = 128;
constexpr size_t kLongestRequest = 8192;
// After a failure to accept, which is most likely a lack of file descriptors.
constexpr std::chrono::milliseconds kAcceptPause{100};

class Descriptor {
 public:
  explicit Descriptor(int number = -1) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Descriptor() {
    if (number_ >= 0) close(number_);
  }
  int get() const { return number_; }

 private:
  int number_;
};

Descriptor Listen(const std::string& host, uint16_t port) {
  const std::string where = host + ":" + std::to_string(port);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found)) {
    throw std::runtime_error("cannot listen on " + where + ": " + gai_strerror(error));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> freed(found, freeaddrinfo);
  Descriptor listener(
      socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, found->ai_protocol));
  const int yes = 1;
  setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(listener.get(), found->ai_addr, found->ai_addrlen) != 0 ||
      listen(listener.get(), SOMAXCONN) != 0) {
    throw std::runtime_error("cannot listen on " + where + ": " + std::strerror(errno));
  }
  return listener;
}

std::string Answer(const char* status, const std::string& body) {
  return std::string("HTTP/1.1 ") + status +
         "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\nConnection: close\r\n\r\n" + body;
}

std::string Readyz(const ReadinessReport& report, bool strict) {
  const bool ready = report.missing.empty();
  std::string body = ready ? "ready" : "not ready: " + report.missing;
  if (!report.degraded.empty()) body += "; degraded: " + report.degraded;
  const bool good = ready && (!strict || report.degraded.empty());
  return Answer(good ? "200 OK" : "503 Service Unavailable", body + "\n");
}

// The answer to a request of which the header is there.
std::string Respond(std::string_view request, const AdminServer::Ready& ready) {
  const std::string_view line = request.substr(0, request.find("\r\n"));
  const size_t method_end = line.find(' ');
  const size_t target_end =
      method_end == line.npos ? line.npos : line.find(" HTTP/1.", method_end + 1);
  if (target_end == line.npos) return Answer("400 Bad Request", "this is no HTTP request\n");
  if (line.substr(0, method_end) != "GET") {
    return Answer("405 Method Not Allowed\r\nAllow: GET", "only GET\n");
  }
  const std::string_view target = line.substr(method_end + 1, target_end - method_end - 1);
  const std::string_view path = target.substr(0, target.find('?'));
  const std::string_view query = target.substr(std::min(path.size() + 1, target.size()));
  if (path == "/healthz") return Answer("200 OK", "ok\n");
  if (path == "/metrics") {
    return Answer("200 OK", prometheus::TextSerializer().Serialize(Metrics().Collect()));
  }
  if (path == "/readyz") return Readyz(ready(), query == "strict");
  return Answer("404 Not Found", "there are /metrics, /healthz and /readyz\n");
}

struct Connection {
  explicit Connection(int accepted) : socket(accepted) {}

  short Events() const { return answer.empty() ? POLLIN : POLLOUT; }

  Descriptor socket;
  std::string request;
  std::string answer;  // what of it is still to be sent
  bool answered = false;
  steady_clock::time_point deadline = steady_clock::now() + kPatience;
};

// Each of these goes as far as it can without waiting. False once the connection is through.
bool Send(Connection& connection) {
  const ssize_t sent = send(connection.socket.get(), connection.answer.data(),
                            connection.answer.size(), MSG_NOSIGNAL);
  if (sent < 0) return errno == EAGAIN || errno == EINTR;
  connection.answer.erase(0, static_cast<size_t>(sent));
  connection.deadline = steady_clock::now() + kPatience;
  // What the client has sent besides is read before the socket is closed: closing it earlier would
  // take the answer back.
  if (connection.answer.empty()) shutdown(connection.socket.get(), SHUT_WR);
  return true;
}

bool Receive(Connection& connection, const AdminServer::Ready& ready) {
  char part[4096];
  const ssize_t got = recv(connection.socket.get(), part, sizeof part, 0);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  if (got == 0) return false;
  if (connection.answered) return true;
  connection.request.append(part, static_cast<size_t>(got));
  if (connection.request.find("\r\n\r\n") != std::string::npos) {
    connection.answer = Respond(connection.request, ready);
  } else if (connection.request.size() > kLongestRequest) {
    connection.answer = Answer("431 Request Header Fields Too Large", "that is too much\n");
  } else {
    return true;
  }
  connection.answered = true;
  return Send(connection);
}

}  // namespace

struct AdminServer::State {
  State(const std::string& host, uint16_t port, Ready check)
      : ready(std::move(check)), listener(Listen(host, port)) {
    if (wake.get() < 0) throw std::runtime_error("cannot make an eventfd");
  }

  void Run() {
    std::vector<pollfd> polled;
    while (!stopping) {
      const auto now = steady_clock::now();
      polled = {{wake.get(), POLLIN, 0}, {now < accept_again ? -1 : listener.get(), POLLIN, 0}};
      auto first = now < accept_again ? accept_again : now + kPatience;
      for (const Connection& connection : connections) {
        polled.push_back({connection.socket.get(), connection.Events(), 0});
        first = std::min(first, connection.deadline);
      }
      const auto wait = std::chrono::ceil<std::chrono::milliseconds>(first - now).count();
      poll(polled.data(), polled.size(), static_cast<int>(std::max<int64_t>(wait, 0)));
      Serve(polled.data() + 2);
      if (polled[1].revents != 0) Accept();
    }
  }

  // `polled` has a place for each connection.
  void Serve(const pollfd* polled) {
    const auto now = steady_clock::now();
    for (auto connection = connections.begin(); connection != connections.end(); ++polled) {
      bool goes_on = true;
      if (polled->revents != 0) {
        goes_on = connection->answer.empty() ? Receive(*connection, ready) : Send(*connection);
      }
      if (!goes_on || connection->deadline <= now) {
        connection = connections.erase(connection);
      } else {
        ++connection;
      }
    }
  }

  void Accept() {
    for (;;) {
      const int accepted = accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (accepted >= 0) {
        connections.emplace_back(accepted);
        if (connections.size() > kMostConnections) connections.pop_front();
      } else if (errno == EAGAIN) {
        return;
      } else if (errno != EINTR && errno != ECONNABORTED) {
        log::Warning("the admin port cannot accept a connection",
                     {{"error", std::strerror(errno)}});
        if (!connections.empty()) connections.pop_front();
        accept_again = steady_clock::now() + kAcceptPause;
        return;
      }
    }
  }

  const Ready ready;
  const Descriptor listener;
  const Descriptor wake{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::atomic<bool> stopping = false;
  std::list<Connection> connections;  // in the order in which they came
  steady_clock::time_point accept_again{};
  std::thread thread;
};

AdminServer::AdminServer(const std::string& host, uint16_t port, Ready ready)
    : state_(std::make_unique<State>(host, port, std::move(ready))) {
  state_->thread = std::thread([state = state_.get()] { state->Run(); });
}

AdminServer::~AdminServer() {
  state_->stopping = true;
  eventfd_write(state_->wake.get(), 1);
  state_->thread.join();
}

}  // namespace shop
