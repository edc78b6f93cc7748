// The settings of shipping; README.md lists them.
#pragma once

#include "common/core/env.h"
#include "common/kafka/settings.h"
#include "common/postgres/pool.h"
#include "common/rpc/identity.h"
#include "common/rpc/server.h"

namespace shop::shipping {

struct Config {
  rpc::ServerSettings server;
  rpc::Identity::Settings identity;
  postgres::Settings postgres;
  kafka::KafkaSettings kafka;

  static Config Read(Env& env);
};

}  // namespace shop::shipping
