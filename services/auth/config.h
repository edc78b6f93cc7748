// The settings of auth.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "auth/auth_service.h"
#include "auth/operator_account.h"
#include "common/core/env.h"
#include "common/kafka/settings.h"
#include "common/postgres/pool.h"
#include "common/rpc/service_settings.h"

namespace shop::auth {

struct Config {
  // RPC_THREADS is 64 here unless set: most of them wait for a turn at hashing.
  rpc::ServiceSettings service;
  postgres::Settings postgres;
  kafka::KafkaSettings kafka;
  std::string users_address;  // USERS_ADDR
  std::string signing_key;    // JWT_SIGNING_KEY(_FILE): PEM of a P-256 private key
  int bcrypt_cost;            // BCRYPT_COST: each step doubles the time of a hash
  // ACCESS_TOKEN_SECONDS, SESSION_IDLE_SECONDS, SESSION_SECONDS, ALLOW_ROLE_AT_REGISTRATION.
  AuthOptions options;
  // SUPER_ADMIN_EMAIL and SUPER_ADMIN_PASSWORD(_FILE): both or none.
  std::optional<OperatorCredentials> operator_account;

  static Config Read(Env& env);
};

}  // namespace shop::auth
