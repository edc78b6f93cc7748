#include "shipping/config.h"

namespace shop::shipping {

Config Config::Read(Env& env) {
  Config config;
  config.service = rpc::ServiceSettings::Read(env, "shipping");
  config.postgres = postgres::Settings::Read(env, "shipping");
  config.kafka = kafka::KafkaSettings::Read(env);
  return config;
}

}  // namespace shop::shipping
