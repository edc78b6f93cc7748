#include "reconciler/config.h"

#include "common/core/addresses.h"
#include "common/http/http_client.h"

namespace shop::reconciler {

Config Config::Read(Env& env) {
  Config config;
  postgres::Settings settings = postgres::Settings::Read(env, "reconciler");
  settings.connections = 2;  // one for a run, one for the readiness
  for (const char* service : {"orders", "products", "payments", "stock", "shipping"}) {
    settings.database = service;
    config.databases[service] = settings;
  }
  config.kafka = kafka::KafkaSettings::Read(env);
  config.provider_url = env.Text("PAYMENT_PROVIDER_URL", "http://" + HttpAddress(env, "provider"));
  if (!IsHttpUrl(config.provider_url)) {
    env.Wrong("PAYMENT_PROVIDER_URL", "is not like http://host:port");
  }
  config.provider_api_key = env.RequiredSecret("PROVIDER_API_KEY");
  config.every = env.Seconds("RECONCILE_SECONDS").value_or(config.every);
  Options& options = config.options;
  options.settle = env.Seconds("RECONCILE_SETTLE_SECONDS").value_or(options.settle);
  options.outbox_seconds =
      env.Integer("RECONCILE_OUTBOX_SECONDS", options.outbox_seconds, 1, 86'400);
  options.window_seconds = 3600 * env.Integer("RECONCILE_TOPIC_HOURS", 24, 1, 7 * 24);
  return config;
}

}  // namespace shop::reconciler
