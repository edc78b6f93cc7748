#include "common/rpc/service_settings.h"

#include "common/core/addresses.h"

namespace shop::rpc {

ServiceSettings ServiceSettings::Read(Env& env, const std::string& name) {
  ServiceSettings settings;
  settings.server = {.host = env.Text("BIND_HOST", "127.0.0.1"),
                     .port = ServicePort(env, name),
                     .threads = static_cast<int>(env.Integer("RPC_THREADS", 8, 1, 256)),
                     .queue = static_cast<int>(env.Integer("RPC_QUEUE", 512, 1, 1000000))};
  settings.identity = {name, ServiceAddress(env, "auth"), env.RequiredSecret("SERVICE_TOKEN_KEY")};
  const std::string& key = settings.identity.key;
  if (!key.empty() && key.size() < 32) env.Wrong("SERVICE_TOKEN_KEY", "is shorter than 32 bytes");
  return settings;
}

}  // namespace shop::rpc
