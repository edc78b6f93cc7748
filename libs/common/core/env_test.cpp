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

TEST(Env, ReadsSecondsWithDecimals) {
  using std::chrono::milliseconds;
  Env env = EnvOf({{"WHOLE", "30"}, {"PART", "0.25"}, {"NONE", "0"}, {"EMPTY", ""}});
  EXPECT_EQ(env.Seconds("WHOLE"), milliseconds(30'000));
  EXPECT_EQ(env.Seconds("PART"), milliseconds(250));
  EXPECT_EQ(env.Seconds("NONE"), milliseconds(0));
  EXPECT_EQ(env.Seconds("EMPTY"), std::nullopt);
  EXPECT_THAT(env.problems(), IsEmpty());
}

TEST(Env, RefusesSecondsThatAreNone) {
  Env env = EnvOf(
      {{"A", "soon"}, {"B", "-1"}, {"C", "5s"}, {"D", "nan"}, {"E", "1e3"}, {"F", "9999999"}});
  for (const char* name : {"A", "B", "C", "D", "E", "F"}) EXPECT_FALSE(env.Seconds(name));
  EXPECT_THAT(env.problems(), ::testing::SizeIs(6));
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
