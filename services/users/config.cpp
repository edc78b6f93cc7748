#include "users/config.h"

namespace shop::users {

Config Config::Read(Env& env) {
  return {.service = rpc::ServiceSettings::Read(env, "users"),
          .postgres = postgres::Settings::Read(env, "users"),
          .kafka = kafka::KafkaSettings::Read(env)};
}

}  // namespace shop::users
