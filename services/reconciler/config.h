// The settings of the reconciler; README.md lists them.
#pragma once

#include <chrono>
#include <map>
#include <string>

#include "common/core/env.h"
#include "common/kafka/settings.h"
#include "common/postgres/pool.h"
#include "reconciler/reconciler.h"

namespace shop::reconciler {

struct Config {
  std::map<std::string, postgres::Settings> databases;  // by service
  kafka::KafkaSettings kafka;
  std::string provider_url;
  std::string provider_api_key;
  std::chrono::milliseconds every{300'000};
  Options options;

  static Config Read(Env& env);
};

}  // namespace shop::reconciler
