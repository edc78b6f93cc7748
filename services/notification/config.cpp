#include "notification/config.h"

#include "common/core/addresses.h"

namespace shop::notification {
namespace {

SmtpSettings ReadSmtp(Env& env) {
  SmtpSettings settings;
  settings.url = env.RequiredSecret("SMTP_URL");  // may have a password in it
  if (!settings.url.empty() && !IsSmtpUrl(settings.url)) {
    env.Wrong("SMTP_URL", "is not like smtp://host:port or smtps://user:password@host");
  }
  return settings;
}

Mailbox ReadMailFrom(Env& env) {
  const std::optional<Mailbox> from =
      ParseMailbox(env.Text("MAIL_FROM", "Shop <orders@shop.local>"));
  if (!from) env.Wrong("MAIL_FROM", "is not like Shop <orders@shop.local>");
  return from.value_or(Mailbox{});
}

}  // namespace

Config Config::Read(Env& env) {
  Config config;
  config.service = rpc::ServiceSettings::Read(env, "notification");
  config.postgres = postgres::Settings::Read(env, "notification");
  config.kafka = kafka::KafkaSettings::Read(env);
  config.users_address = ServiceAddress(env, "users");
  config.auth_address = ServiceAddress(env, "auth");
  config.smtp = ReadSmtp(env);
  config.mail_from = ReadMailFrom(env);
  config.sender.confirmed_only = env.Flag("REQUIRE_CONFIRMED_EMAIL", true);
  config.sender.a_day =
      static_cast<int>(env.Integer("MAILS_PER_ADDRESS_AND_DAY", 100, 0, 1'000'000));
  config.erasures = messaging::ReadErasurePace(env);
  return config;
}

}  // namespace shop::notification
