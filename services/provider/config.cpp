#include "provider/config.h"

#include "common/core/addresses.h"
#include "common/http/http_client.h"

namespace shop::provider {

Config Config::Read(Env& env) {
  const auto milliseconds = [&env](const char* name, int64_t fallback) {
    return std::chrono::milliseconds(env.Integer(name, fallback, 0, 3'600'000));
  };
  Config config;
  config.http.host = env.Text("BIND_HOST", "127.0.0.1");
  config.http.port = ServicePort(env, "provider");
  config.http.delay = milliseconds("PROVIDER_ANSWER_MS", 0);
  config.http.silence = milliseconds("PROVIDER_SILENCE_MS", 60'000);
  config.postgres = postgres::Settings::Read(env, "provider");
  config.api_key = env.RequiredSecret("PROVIDER_API_KEY");
  config.decide_after = milliseconds("PROVIDER_DECIDE_MS", 2'000);
  config.webhooks.url = env.Text("PROVIDER_WEBHOOK_URL", "");
  config.webhooks.ca_file = env.Text("PROVIDER_WEBHOOK_CA_FILE", "");
  config.webhooks.secret = env.RequiredSecret("PROVIDER_WEBHOOK_SECRET");
  config.webhooks.first_pause = milliseconds("PROVIDER_WEBHOOK_RETRY_MS", 500);
  if (!config.webhooks.url.empty() && !IsHttpUrl(config.webhooks.url)) {
    env.Wrong("PROVIDER_WEBHOOK_URL", "is no http or https URL");
  }
  return config;
}

}  // namespace shop::provider
