#include "payments/config.h"

#include "common/core/addresses.h"
#include "common/http/http_client.h"

namespace shop::payments {
namespace {

using std::chrono::milliseconds;

ProviderSettings ReadProvider(Env& env) {
  ProviderSettings settings;
  settings.url = env.Text("PAYMENT_PROVIDER_URL", "http://" + HttpAddress(env, "provider"));
  if (!IsHttpUrl(settings.url)) {
    env.Wrong("PAYMENT_PROVIDER_URL", "is not like http://host:port");
  }
  while (settings.url.ends_with('/')) settings.url.pop_back();
  settings.api_key = env.RequiredSecret("PROVIDER_API_KEY");
  settings.timeout = milliseconds(
      env.Integer("PAYMENT_PROVIDER_TIMEOUT_MS", settings.timeout.count(), 100, 60'000));
  return settings;
}

}  // namespace

Config Config::Read(Env& env) {
  Config config;
  config.service = rpc::ServiceSettings::Read(env, "payments");
  config.postgres = postgres::Settings::Read(env, "payments");
  config.kafka = kafka::KafkaSettings::Read(env);
  config.provider = ReadProvider(env);
  config.webhook_secret = env.RequiredSecret("PROVIDER_WEBHOOK_SECRET");
  config.erasures = messaging::ReadErasurePace(env);
  config.worker.at_once =
      static_cast<int>(env.Integer("PAYMENT_CALLS_AT_ONCE", config.worker.at_once, 1, 256));
  config.worker.retries_at_once = (config.worker.at_once + 1) / 2;
  config.worker.pace.lease = 2 * config.provider.timeout + std::chrono::seconds(10);
  return config;
}

}  // namespace shop::payments
