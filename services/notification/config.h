// The settings of notification; README.md lists them.
#pragma once

#include <string>

#include "common/core/env.h"
#include "common/kafka/settings.h"
#include "common/postgres/pool.h"
#include "common/rpc/identity.h"
#include "common/rpc/server.h"
#include "notification/mail.h"
#include "notification/smtp.h"

namespace shop::notification {

struct Config {
  rpc::ServerSettings server;
  rpc::Identity::Settings identity;
  postgres::Settings postgres;
  kafka::KafkaSettings kafka;
  std::string users_address;
  SmtpSettings smtp;
  Mailbox mail_from;

  static Config Read(Env& env);
};

}  // namespace shop::notification
