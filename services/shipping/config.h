// The settings of shipping; README.md lists them.
#pragma once

#include "common/core/env.h"
#include "common/kafka/settings.h"
#include "common/messaging/erasure.h"
#include "common/postgres/pool.h"
#include "common/rpc/service_settings.h"
#include "shipping/carrier.h"

namespace shop::shipping {

struct Config {
  rpc::ServiceSettings service;
  postgres::Settings postgres;
  kafka::KafkaSettings kafka;
  // SHIPPING_DISPATCH_SECONDS and SHIPPING_DELIVERY_SECONDS, decimals allowed; empty: by hand.
  CarrierSettings carrier;
  messaging::ErasurePace erasures;

  static Config Read(Env& env);
};

}  // namespace shop::shipping
