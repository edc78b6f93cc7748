#pragma once

#include <string>

#include "common/kafka/settings.h"
#include "common/messaging/erasure.h"
#include "common/postgres/pool.h"
#include "common/rpc/service_settings.h"

namespace shop::stock {

// Every setting of the stock service; see .env.example for the operator's words.
struct Config {
  postgres::Settings postgres;
  kafka::KafkaSettings kafka;
  rpc::ServiceSettings service;
  std::string products_address;
  messaging::ErasurePace erasures;

  static Config Read(Env& env);
};

}  // namespace shop::stock
