#include "common/rpc/service_settings.h"

#include <stdexcept>

#include "common/core/addresses.h"

namespace shop::rpc {
namespace {

auth::ServiceTokens::Settings ServiceKeys(Env& env, const std::string& name) {
  auth::ServiceTokens::Settings settings{name, env.RequiredSecret("SERVICE_KEY"),
                                         env.Required("SERVICE_KEYS")};
  const char* read = "SERVICE_KEY";
  try {
    if (settings.key.empty()) return settings;
    auth::ServiceTokens::RequireKey(settings.key);
    read = "SERVICE_KEYS";
    if (!settings.keys.empty()) auth::ServiceTokens::RequireKeys(settings);
  } catch (const std::invalid_argument& error) {
    env.Wrong(read, error.what());
  }
  return settings;
}

}  // namespace

ServiceSettings ServiceSettings::Read(Env& env, const std::string& name, int threads) {
  ServiceSettings settings;
  settings.server = {.host = env.Text("BIND_HOST", "127.0.0.1"),
                     .port = ServicePort(env, name),
                     .socket = ServiceSocket(env, name),
                     .threads = static_cast<int>(env.Integer("RPC_THREADS", threads, 1, 256)),
                     .queue = static_cast<int>(env.Integer("RPC_QUEUE", 512, 1, 1000000)),
                     .drain_delay = std::chrono::milliseconds(500)};
  settings.identity = {ServiceKeys(env, name), ServiceAddress(env, "auth"),
                       TlsFiles::OfProcess(env, name)};
  return settings;
}

}  // namespace shop::rpc
