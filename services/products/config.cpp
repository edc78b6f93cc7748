#include "products/config.h"

#include <algorithm>

namespace shop::products {

Config Config::Read(Env& env) {
  Config config;
  config.postgres = postgres::Settings::Read(env, "products");
  config.cache = ProductCache::Settings::Read(env);
  config.service = rpc::ServiceSettings::Read(env, "products");
  config.kafka = kafka::KafkaSettings::Read(env);
  config.currency = env.Currency();
  return config;
}

}  // namespace shop::products
