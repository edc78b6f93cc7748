#include "common/core/addresses.h"

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

}  // namespace

std::string ServiceAddress(Env& env, std::string_view name) {
  if (std::optional<std::string> address = env.Optional(Variable(name, "_ADDR"))) return *address;
  return "127.0.0.1:" + std::to_string(ServicePort(env, name));
}

uint16_t ServicePort(Env& env, std::string_view name) {
  return Port(env, name, "_PORT", &Ports::service);
}

uint16_t AdminPort(Env& env, std::string_view name) {
  return Port(env, name, "_ADMIN_PORT", &Ports::admin);
}

}  // namespace shop
