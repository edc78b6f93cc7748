// The settings of payments; README.md lists them.
#pragma once

#include <string>

#include "common/core/env.h"
#include "common/kafka/settings.h"
#include "common/messaging/erasure.h"
#include "common/postgres/pool.h"
#include "common/rpc/service_settings.h"
#include "payments/payment_worker.h"
#include "payments/provider_client.h"

namespace shop::payments {

struct Config {
  rpc::ServiceSettings service;
  postgres::Settings postgres;
  kafka::KafkaSettings kafka;
  ProviderSettings provider;
  std::string webhook_secret;
  WorkerOptions worker;
  messaging::ErasurePace erasures;

  static Config Read(Env& env);
};

}  // namespace shop::payments
