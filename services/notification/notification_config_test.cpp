#include "notification/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "common/testing/service_keys.h"

namespace shop::notification {
namespace {

using ::testing::Contains;
using ::testing::IsEmpty;
using ::testing::StartsWith;

class NotificationConfig : public ::testing::Test {
 protected:
  Config Read() {
    env_ = Env([this](const std::string& name) -> std::optional<std::string> {
      const auto found = variables_.find(name);
      if (found == variables_.end()) return std::nullopt;
      return found->second;
    });
    return Config::Read(env_);
  }

  const auth::ServiceTokens::Settings keys_ = testing::ServiceKeysOf("notification");
  std::map<std::string, std::string> variables_ = {{"SERVICE_KEY", keys_.key},
                                                   {"SERVICE_KEYS", keys_.keys},
                                                   {"SMTP_URL", "smtp://127.0.0.1:2525"},
                                                   {"POSTGRES_PASSWORD", "secret"}};
  Env env_;
};

TEST_F(NotificationConfig, ItsDefaultsAreSafe) {
  const Config config = Read();
  EXPECT_THAT(env_.problems(), IsEmpty());
  EXPECT_TRUE(config.sender.confirmed_only);
  EXPECT_EQ(config.sender.a_day, 100);
}

TEST_F(NotificationConfig, TheRulesForMailsCanBeTurnedOff) {
  variables_["REQUIRE_CONFIRMED_EMAIL"] = "false";
  variables_["MAILS_PER_ADDRESS_AND_DAY"] = "0";
  const Config config = Read();
  EXPECT_THAT(env_.problems(), IsEmpty());
  EXPECT_FALSE(config.sender.confirmed_only);
  EXPECT_EQ(config.sender.a_day, 0);
}

TEST_F(NotificationConfig, ItNamesWhatIsWrongWithThem) {
  variables_["REQUIRE_CONFIRMED_EMAIL"] = "perhaps";
  variables_["MAILS_PER_ADDRESS_AND_DAY"] = "-1";
  Read();
  EXPECT_THAT(env_.problems(), Contains(StartsWith("REQUIRE_CONFIRMED_EMAIL ")));
  EXPECT_THAT(env_.problems(), Contains(StartsWith("MAILS_PER_ADDRESS_AND_DAY ")));
}

}  // namespace
}  // namespace shop::notification
