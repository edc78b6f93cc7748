// healthcheck [PATH]: asks the admin port of the process that SHOP_PROCESS names for PATH
// (default: /healthz). Exits 0 when the answer is 200, 1 when it is not, 2 when the settings name no
// process.
//
// For container health checks. A program of its own, linked to nothing of the platform, so that a
// check every few seconds costs a millisecond. It reads the same settings as the process it asks.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <iostream>
#include <string>

#include "common/core/addresses.h"
#include "common/core/env.h"

namespace {

constexpr timeval kPatience{2, 0};

// All of the answer, or an empty text when there is none.
std::string Ask(const std::string& host, uint16_t port, const std::string& path) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  if (inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1) return {};
  const int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connection < 0) return {};
  setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof kPatience);
  setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof kPatience);

  std::string answer;
  const std::string request =
      "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n";
  if (connect(connection, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
      send(connection, request.data(), request.size(), MSG_NOSIGNAL) ==
          static_cast<ssize_t>(request.size())) {
    char part[1024];
    for (ssize_t got; (got = recv(connection, part, sizeof part, 0)) > 0;) {
      answer.append(part, static_cast<size_t>(got));
    }
  }
  close(connection);
  return answer;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace shop;
  Env env;
  const std::string process = env.Required("SHOP_PROCESS");
  const uint16_t port = process.empty() ? 0 : AdminPort(env, process);
  const std::string bound = env.Text("BIND_HOST", "127.0.0.1");
  const std::string path = argc > 1 ? argv[1] : "/healthz";
  for (const std::string& problem : env.problems()) std::cerr << problem << "\n";
  if (argc > 2 || !env.problems().empty()) {
    std::cerr << "usage: SHOP_PROCESS=orders healthcheck [/readyz]\n";
    return 2;
  }

  const std::string answer = Ask(bound == "0.0.0.0" ? "127.0.0.1" : bound, port, path);
  // What the engine keeps of a check is this text.
  if (answer.empty()) {
    std::cout << process << " does not answer on port " << port << "\n";
  } else {
    const size_t head = answer.find("\r\n\r\n");
    std::cout << (head == std::string::npos ? answer : answer.substr(head + 4));
  }
  return answer.starts_with("HTTP/1.1 200 ") ? 0 : 1;
}
