#include "cart/config.h"

#include "common/core/addresses.h"

namespace shop::cart {
Config Config::Read(Env& env) {
  Config config;
  config.service = rpc::ServiceSettings::Read(env, "cart");
  config.kafka = kafka::KafkaSettings::Read(env);
  config.mongo = MongoSettings::Read(env);
  config.products_address = ServiceAddress(env, "products");
  config.currency = env.Currency();
  return config;
}

}  // namespace shop::cart
