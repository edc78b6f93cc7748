#pragma once

#include <string>

#include "common/core/env.h"

namespace shop::kafka {

struct KafkaSettings {
  std::string brokers;  // KAFKA_BOOTSTRAP_SERVERS

  static KafkaSettings Read(Env& env) {
    return {.brokers = env.Text("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")};
  }
};

}  // namespace shop::kafka
