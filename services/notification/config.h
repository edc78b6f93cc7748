// The settings of notification; README.md lists them.
#pragma once

#include <string>

#include "common/core/env.h"
#include "common/kafka/settings.h"
#include "common/messaging/erasure.h"
#include "common/postgres/pool.h"
#include "common/rpc/service_settings.h"
#include "notification/mail.h"
#include "notification/mail_sender.h"
#include "notification/smtp.h"

namespace shop::notification {

struct Config {
  rpc::ServiceSettings service;
  postgres::Settings postgres;
  kafka::KafkaSettings kafka;
  std::string users_address;
  std::string auth_address;
  SmtpSettings smtp;
  Mailbox mail_from;
  SenderOptions sender;  // REQUIRE_CONFIRMED_EMAIL, MAILS_PER_ADDRESS_AND_DAY
  messaging::ErasurePace erasures;

  static Config Read(Env& env);
};

}  // namespace shop::notification
