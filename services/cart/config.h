// The settings of cart; README.md lists them.
#pragma once

#include <string>

#include "cart/cart_store.h"
#include "common/core/env.h"
#include "common/kafka/settings.h"
#include "common/rpc/service_settings.h"

namespace shop::cart {

struct Config {
  rpc::ServiceSettings service;
  kafka::KafkaSettings kafka;
  MongoSettings mongo;
  std::string products_address;
  std::string currency;

  static Config Read(Env& env);
};

}  // namespace shop::cart
