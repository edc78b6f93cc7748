// Where each process is reached: the ports of deploy/services, and the variables that change them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/core/env.h"

namespace shop {

// Where others call service `name` ("orders"): ORDERS_ADDR (host:port), or else its ServiceSocket where
// there is one, or else 127.0.0.1 and its ServicePort.
//
// Of all five: a setting that is no port is a problem of `env`, and so is a name that deploy/services
// does not have, unless the variable is set. Called once, before threads are started.
std::string ServiceAddress(Env& env, std::string_view name);

// Where a process that speaks HTTP is called: PROVIDER_ADDR, or else 127.0.0.1 and its ServicePort.
std::string HttpAddress(Env& env, std::string_view name);

// The port a process serves on, gRPC for services and HTTP for the gateway: ORDERS_PORT, or else
// that of deploy/services.
uint16_t ServicePort(Env& env, std::string_view name);

// The Unix socket that a service listens on besides its port: in the folder SERVICE_SOCKETS, for processes of
// one machine, who save TCP's part of each call. Named after service and port, so that each of several
// processes of a service has its own. Empty where SERVICE_SOCKETS is not set.
std::string ServiceSocket(Env& env, std::string_view name);

// The port for /metrics, /healthz and /readyz: ORDERS_ADMIN_PORT, or else that of
// deploy/services.
uint16_t AdminPort(Env& env, std::string_view name);

}  // namespace shop
