#include "common/testing/servers.h"

#include <cstdlib>
#include <fstream>
#include <map>
#include <random>
#include <stdexcept>
#include <thread>

namespace shop::testing {
namespace {

std::map<std::string, std::string> ReadServers() {
  std::map<std::string, std::string> servers;
  const char* path = std::getenv("TEST_SERVERS_ENV");
  if (path == nullptr) return servers;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const size_t equals = line.find('=');
    if (equals != std::string::npos) servers[line.substr(0, equals)] = line.substr(equals + 1);
  }
  return servers;
}

}  // namespace

std::string Server(const std::string& name) {
  if (const char* value = std::getenv(name.c_str())) return value;
  static const std::map<std::string, std::string> servers = ReadServers();
  const auto found = servers.find(name);
  if (found != servers.end()) return found->second;
  throw std::runtime_error("no " + name + ": TEST_SERVERS_ENV names no file that has it");
}

std::string UniqueName() {
  static constexpr char kCharacters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
  std::random_device random;
  std::uniform_int_distribution<size_t> any(0, sizeof(kCharacters) - 2);
  std::string name = "t";
  for (int i = 0; i < 12; ++i) name += kCharacters[any(random)];
  return name;
}

bool Eventually(const std::function<bool()>& condition, std::chrono::milliseconds limit) {
  const auto give_up = std::chrono::steady_clock::now() + limit;
  for (;;) {
    if (condition()) return true;
    if (std::chrono::steady_clock::now() > give_up) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace shop::testing
