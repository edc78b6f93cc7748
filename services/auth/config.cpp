#include "auth/config.h"

#include "auth/password.h"
#include "common/core/addresses.h"
#include "common/rpc/rules.h"

namespace shop::auth {
namespace {

Lifetimes ReadLifetimes(Env& env) {
  using std::chrono::seconds;
  const int64_t access = env.Integer("ACCESS_TOKEN_SECONDS", 900, 60, kLongestTokenLife.count());
  const int64_t idle = env.Integer("SESSION_IDLE_SECONDS", 7 * 86400, access, 365 * 86400);
  const int64_t session = env.Integer("SESSION_SECONDS", 30 * 86400, access, 365 * 86400);
  return {.access_token = seconds(access), .idle = seconds(idle), .session = seconds(session)};
}

std::optional<OperatorCredentials> ReadOperatorAccount(Env& env) {
  const std::optional<std::string> email = env.Optional("SUPER_ADMIN_EMAIL");
  const std::optional<std::string> password = env.Secret("SUPER_ADMIN_PASSWORD");
  if (!email && !password) return std::nullopt;
  if (!email) env.Wrong("SUPER_ADMIN_EMAIL", "is not set, and SUPER_ADMIN_PASSWORD is");
  if (!password) env.Wrong("SUPER_ADMIN_PASSWORD", "is not set, and SUPER_ADMIN_EMAIL is");
  if (!email || !password) return std::nullopt;

  // What registration asks of anybody.
  const v1::RegisterRequest registration = OperatorRegistration({*email, *password});
  const Result<void> valid = rpc::CheckRules(registration);
  if (!valid) {
    for (const FieldViolation& violation : valid.refusal().details) {
      env.Wrong(violation.field == "email" ? "SUPER_ADMIN_EMAIL" : "SUPER_ADMIN_PASSWORD",
                violation.message);
    }
  } else if (const std::optional<std::string> problem =
                 PasswordProblem(*password, OwnerOf(registration))) {
    env.Wrong("SUPER_ADMIN_PASSWORD", *problem);
  }
  return OperatorCredentials{*email, *password};
}

}  // namespace

SigningKeySettings ReadSigningKeySettings(Env& env) {
  SigningKeySettings settings{
      .encryption_key = env.RequiredSecret("KEY_ENCRYPTION_KEY"),
      .rotation = std::chrono::hours(24 * env.Integer("KEY_ROTATION_DAYS", 30, 1, 366))};
  if (!settings.encryption_key.empty() && settings.encryption_key.size() < 32) {
    env.Wrong("KEY_ENCRYPTION_KEY", "is shorter than 32 bytes");
  }
  return settings;
}

Config Config::Read(Env& env) {
  Config config{
      .service = rpc::ServiceSettings::Read(env, "auth", 64),
      .postgres = postgres::Settings::Read(env, "auth"),
      .kafka = kafka::KafkaSettings::Read(env),
      .users_address = ServiceAddress(env, "users"),
      .keys = ReadSigningKeySettings(env),
      .bcrypt_cost = static_cast<int>(env.Integer("BCRYPT_COST", 12, 4, 16)),
      .options = {.life = ReadLifetimes(env),
                  .private_registration = env.Flag("PRIVATE_REGISTRATION", false),
                  .require_second_factor = env.Flag("REQUIRE_SECOND_FACTOR", false),
                  .allow_role_at_registration = env.Flag("ALLOW_ROLE_AT_REGISTRATION", false)},
      .operator_account = ReadOperatorAccount(env)};
  config.options.encryption_key = config.keys.encryption_key;
  return config;
}

}  // namespace shop::auth
