#include "shipping/config.h"

namespace shop::shipping {

Config Config::Read(Env& env) {
  Config config;
  config.service = rpc::ServiceSettings::Read(env, "shipping");
  config.postgres = postgres::Settings::Read(env, "shipping");
  config.kafka = kafka::KafkaSettings::Read(env);
  config.carrier.dispatch_after = env.Seconds("SHIPPING_DISPATCH_SECONDS");
  config.carrier.deliver_after = env.Seconds("SHIPPING_DELIVERY_SECONDS");
  config.erasures = messaging::ReadErasurePace(env);
  return config;
}

}  // namespace shop::shipping
