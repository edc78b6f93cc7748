#include "shipping/config.h"

namespace shop::shipping {

Config Config::Read(Env& env) {
  Config config;
  config.server = rpc::ServerSettings::Read(env, "shipping");
  config.identity = rpc::Identity::Settings::Read(env, "shipping");
  config.postgres = postgres::Settings::Read(env, "shipping");
  config.kafka = kafka::KafkaSettings::Read(env);
  return config;
}

}  // namespace shop::shipping
