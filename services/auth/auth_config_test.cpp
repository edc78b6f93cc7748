#include "auth/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "common/testing/service_keys.h"

namespace shop::auth {
namespace {

using ::testing::Contains;
using ::testing::IsEmpty;
using ::testing::StartsWith;

class AuthConfig : public ::testing::Test {
 protected:
  Config Read() {
    env_ = Env([this](const std::string& name) -> std::optional<std::string> {
      const auto found = variables_.find(name);
      if (found == variables_.end()) return std::nullopt;
      return found->second;
    });
    return Config::Read(env_);
  }
  std::vector<std::string> Problems() {
    Read();
    return env_.problems();
  }

  const auth::ServiceTokens::Settings keys_ = testing::ServiceKeysOf("auth");
  std::map<std::string, std::string> variables_ = {{"KEY_ENCRYPTION_KEY", std::string(32, 'k')},
                                                   {"SERVICE_KEY", keys_.key},
                                                   {"SERVICE_KEYS", keys_.keys},
                                                   {"POSTGRES_PASSWORD", "secret"}};
  Env env_;
};

TEST_F(AuthConfig, ItsDefaultsAreSafe) {
  const Config config = Read();
  EXPECT_THAT(env_.problems(), IsEmpty());
  EXPECT_FALSE(config.options.allow_role_at_registration);
  EXPECT_FALSE(config.options.private_registration);
  EXPECT_FALSE(config.options.require_second_factor);
  EXPECT_EQ(config.options.life.access_token.count(), 900);
  EXPECT_EQ(config.bcrypt_cost, 12);
  EXPECT_FALSE(config.operator_account);
}

TEST_F(AuthConfig, ItNamesEveryWrongVariableAtOnce) {
  variables_ = {
      {"KEY_ENCRYPTION_KEY", "too short"}, {"BCRYPT_COST", "17"}, {"SUPER_ADMIN_EMAIL", "a@b"}};
  const std::vector<std::string> problems = Problems();
  for (const char* name : {"KEY_ENCRYPTION_KEY", "BCRYPT_COST", "SUPER_ADMIN_PASSWORD",
                           "SERVICE_KEY", "SERVICE_KEYS", "POSTGRES_PASSWORD"}) {
    EXPECT_THAT(problems, Contains(StartsWith(std::string(name) + " "))) << name;
  }
}

TEST_F(AuthConfig, ItsKeyIsOneThatTheOthersKnow) {
  variables_["SERVICE_KEYS"] = testing::PublicServiceKey("orders", keys_.key);
  EXPECT_THAT(Problems(), Contains(StartsWith("SERVICE_KEYS ")));
  variables_["SERVICE_KEYS"] = testing::PublicServiceKey("auth", testing::ServiceKeyOf("orders"));
  EXPECT_THAT(Problems(), Contains(StartsWith("SERVICE_KEYS ")));
  variables_["SERVICE_KEY"] = std::string(32, 'k');
  EXPECT_THAT(Problems(), Contains(StartsWith("SERVICE_KEY ")));
}

TEST_F(AuthConfig, TheOperatorsAccountMeetsTheRulesOfAnyOther) {
  variables_["SUPER_ADMIN_EMAIL"] = "admin@shop.example";
  variables_["SUPER_ADMIN_PASSWORD"] = "Plum-Tree-7!";
  EXPECT_THAT(Problems(), IsEmpty());
  variables_["SUPER_ADMIN_PASSWORD"] = "admin";
  EXPECT_THAT(Problems(), Contains(StartsWith("SUPER_ADMIN_PASSWORD ")));
  variables_["SUPER_ADMIN_PASSWORD"] = "P@ssw0rd";
  EXPECT_THAT(Problems(), Contains(StartsWith("SUPER_ADMIN_PASSWORD ")));
  variables_["SUPER_ADMIN_PASSWORD"] = "adminadmin";
  EXPECT_THAT(Problems(), Contains(StartsWith("SUPER_ADMIN_PASSWORD ")));
  variables_["SUPER_ADMIN_PASSWORD"] = "Plum-Tree-7!";
  variables_["SUPER_ADMIN_EMAIL"] = "admin";
  EXPECT_THAT(Problems(), Contains(StartsWith("SUPER_ADMIN_EMAIL ")));
}

TEST_F(AuthConfig, NoProblemTellsASecret) {
  variables_["SUPER_ADMIN_EMAIL"] = "admin@shop.example";
  variables_["SUPER_ADMIN_PASSWORD"] = "hunter2";
  variables_["KEY_ENCRYPTION_KEY"] = "hunter2";
  for (const std::string& problem : Problems()) {
    EXPECT_THAT(problem, ::testing::Not(::testing::HasSubstr("hunter2")));
  }
}

}  // namespace
}  // namespace shop::auth
