#pragma once

#include <string>

#include "common/kafka/settings.h"
#include "common/messaging/erasure.h"
#include "common/postgres/pool.h"
#include "common/rpc/service_settings.h"
#include "orders/order_store.h"

namespace shop::orders {

// Every setting of the orders service; see .env.example for the operator's words.
struct Config {
  postgres::Settings postgres;
  kafka::KafkaSettings kafka;
  // RPC_THREADS is 32 here unless set: those of them that place orders wait for products and for their group.
  rpc::ServiceSettings service;
  std::string products_address;
  std::string cart_address;
  std::string shipping_address;
  std::string currency;  // CURRENCY, ISO 4217: one a deployment
  Deadlines deadlines;   // ORDER_STOCK_SECONDS and so on
  OrderLimits limits;    // ORDER_MAX_TOTAL, in whole units of the currency, and ORDER_MAX_PENDING
  messaging::ErasurePace erasures;

  static Config Read(Env& env);
};

}  // namespace shop::orders
