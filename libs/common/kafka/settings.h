#pragma once

#include <string>

#include "common/core/env.h"

namespace shop::kafka {

struct KafkaSettings {
  std::string brokers;  // KAFKA_BOOTSTRAP_SERVERS
  // KAFKA_SECURITY_PROTOCOL: plaintext, ssl, sasl_plaintext or sasl_ssl, as librdkafka has it.
  std::string protocol = "plaintext";
  // KAFKA_SASL_MECHANISM (PLAIN, SCRAM-SHA-256, SCRAM-SHA-512), KAFKA_SASL_USERNAME and
  // KAFKA_SASL_PASSWORD(_FILE): all three with a sasl protocol, none without.
  std::string mechanism = {};
  std::string username = {};
  std::string password = {};
  std::string ca_file = {};  // KAFKA_CA_FILE: the authorities ssl trusts; empty: the system's list

  static KafkaSettings Read(Env& env);
};

}  // namespace shop::kafka
