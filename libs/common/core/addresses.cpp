#include "common/core/addresses.h"

#include <sys/un.h>

namespace shop {
namespace {

struct Ports {
  std::string_view name;
  uint16_t service;
  uint16_t admin;
};

constexpr Ports kPorts[] = {
#include "ports.inc"  // made of deploy/services by the build
};

std::string Variable(std::string_view name, std::string_view suffix) {
  std::string variable;
  for (const char c : name) variable += c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
  return variable.append(suffix);
}

// A name that is not in the list has no default.
uint16_t Port(Env& env, std::string_view name, std::string_view suffix, uint16_t Ports::*which) {
  const std::string variable = Variable(name, suffix);
  for (const Ports& ports : kPorts) {
    if (ports.name == name) return env.Port(variable, ports.*which);
  }
  if (!env.Optional(variable)) {
    env.Wrong(variable, "is not set");
    return 0;
  }
  return env.Port(variable, 1);
}

std::string Loopback(uint16_t port) {
  return "127.0.0.1:" + std::to_string(port);
}

std::string Socket(Env& env, std::string_view name, uint16_t port) {
  const std::string folder = env.Text("SERVICE_SOCKETS", "");
  if (folder.empty() || port == 0) return {};
  std::string path = folder + "/" + std::string(name) + "-" + std::to_string(port) + ".sock";
  if (path.size() >= sizeof(sockaddr_un::sun_path)) {
    env.Wrong("SERVICE_SOCKETS", "is too long for the path of a Unix socket");
  }
  return path;
}

}  // namespace

std::string ServiceAddress(Env& env, std::string_view name) {
  if (std::optional<std::string> address = env.Optional(Variable(name, "_ADDR"))) return *address;
  const uint16_t port = ServicePort(env, name);
  const std::string socket = Socket(env, name, port);
  return socket.empty() ? Loopback(port) : "unix:" + socket;
}

std::string HttpAddress(Env& env, std::string_view name) {
  const std::optional<std::string> address = env.Optional(Variable(name, "_ADDR"));
  return address ? *address : Loopback(ServicePort(env, name));
}

std::string ServiceSocket(Env& env, std::string_view name) {
  return Socket(env, name, ServicePort(env, name));
}

uint16_t ServicePort(Env& env, std::string_view name) {
  return Port(env, name, "_PORT", &Ports::service);
}

uint16_t AdminPort(Env& env, std::string_view name) {
  return Port(env, name, "_ADMIN_PORT", &Ports::admin);
}

}  // namespace shop
