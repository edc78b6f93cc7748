// Settings of the products service, read once at the start.
#pragma once

#include <string>

#include "common/core/env.h"
#include "common/kafka/settings.h"
#include "common/postgres/pool.h"
#include "common/rpc/service_settings.h"
#include "products/product_cache.h"

namespace shop::products {

struct Config {
  postgres::Settings postgres;
  ProductCache::Settings cache;
  rpc::ServiceSettings service;
  kafka::KafkaSettings kafka;
  std::string currency;  // CURRENCY: ISO 4217 code of every price

  static Config Read(Env& env);
};

}  // namespace shop::products
