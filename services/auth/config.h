// The settings of auth.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "auth/auth_service.h"
#include "auth/operator_account.h"
#include "auth/signing_keys.h"
#include "common/core/env.h"
#include "common/kafka/settings.h"
#include "common/postgres/pool.h"
#include "common/rpc/service_settings.h"

namespace shop::auth {

SigningKeySettings ReadSigningKeySettings(Env& env);

struct Config {
  // RPC_THREADS is 64 here unless set: most of them wait for a turn at hashing.
  rpc::ServiceSettings service;
  postgres::Settings postgres;
  kafka::KafkaSettings kafka;
  std::string users_address;  // USERS_ADDR
  SigningKeySettings keys;    // KEY_ENCRYPTION_KEY(_FILE), KEY_ROTATION_DAYS
  int bcrypt_cost;            // BCRYPT_COST: each step doubles the time of a hash
  // ACCESS_TOKEN_SECONDS, SESSION_IDLE_SECONDS, SESSION_SECONDS, PRIVATE_REGISTRATION,
  // REQUIRE_SECOND_FACTOR,
  // ALLOW_ROLE_AT_REGISTRATION.
  AuthOptions options;
  // SUPER_ADMIN_EMAIL and SUPER_ADMIN_PASSWORD(_FILE): both or none.
  std::optional<OperatorCredentials> operator_account;

  static Config Read(Env& env);
};

}  // namespace shop::auth
