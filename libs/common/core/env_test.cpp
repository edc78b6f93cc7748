#include "common/core/env.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "common/testing/env.h"

namespace shop {
namespace {

using ::testing::ElementsAre;
using testing::EnvOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(Env, NamesEveryWrongVariableAtOnce) {
  Env env = EnvOf({{"PORT", "70000"}, {"RETRIES", "three"}, {"LOUD", "maybe"}});
  env.Port("PORT", 1);
  env.Integer("RETRIES", 1, 0, 10);
  env.Flag("LOUD", false);
  env.Required("NAME");
  EXPECT_THAT(env.problems(), ElementsAre(HasSubstr("PORT"), HasSubstr("RETRIES"),
                                          HasSubstr("LOUD"), HasSubstr("NAME")));
}

TEST(Env, AnEmptyValueCountsAsNotSet) {
  Env env = EnvOf({{"NAME", ""}});
  EXPECT_EQ(env.Text("NAME", "fallback"), "fallback");
  EXPECT_THAT(env.problems(), IsEmpty());
}

TEST(Env, ReadsASecretFromTheFileThatIsNamed) {
  const std::string path = ::testing::TempDir() + "/secret";
  std::ofstream(path) << "s3cret\n";
  Env env = EnvOf({{"KEY_FILE", path}});
  EXPECT_EQ(env.Secret("KEY"), "s3cret");
}

TEST(Env, RefusesASecretThatIsGivenTwice) {
  Env env = EnvOf({{"KEY", "a"}, {"KEY_FILE", "/nowhere"}});
  env.Secret("KEY");
  EXPECT_THAT(env.problems(), ElementsAre(HasSubstr("KEY_FILE")));
}

TEST(Env, RefusesACurrencyThatIsNoIsoCode) {
  Env env = EnvOf({{"CURRENCY", "usd"}});
  env.Currency();
  EXPECT_THAT(env.problems(), ElementsAre(HasSubstr("CURRENCY")));
}

TEST(Env, NeverShowsAWrongValue) {
  Env env = EnvOf({{"PORT", "hunter2"}});
  env.Port("PORT", 1);
  EXPECT_THAT(env.problems(), ElementsAre(::testing::Not(HasSubstr("hunter2"))));
}

}  // namespace
}  // namespace shop
