// The settings of users.
#pragma once

#include "common/core/env.h"
#include "common/kafka/settings.h"
#include "common/postgres/pool.h"
#include "common/rpc/service_settings.h"

namespace shop::users {

struct Config {
  rpc::ServiceSettings service;
  postgres::Settings postgres;
  kafka::KafkaSettings kafka;

  static Config Read(Env& env);
};

}  // namespace shop::users
