#include "users/config.h"

namespace shop::users {

Config Config::Read(Env& env) {
  return {.server = rpc::ServerSettings::Read(env, "users"),
          .identity = rpc::Identity::Settings::Read(env, "users"),
          .postgres = postgres::Settings::Read(env, "users"),
          .kafka = kafka::KafkaSettings::Read(env)};
}

}  // namespace shop::users
