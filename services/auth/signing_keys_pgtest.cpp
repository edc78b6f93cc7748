#include "auth/signing_keys.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <thread>

#include "auth_migrations.h"
#include "common/testing/database.h"
#include "common/testing/servers.h"
#include "messaging_migrations.h"

namespace shop::auth {
namespace {

using std::chrono::seconds;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

class SigningKeysTest : public ::testing::Test {
 protected:
  SigningKeysTest() { postgres::Migrate(db_, {kMessagingMigrations, kAuthMigrations}); }

  static std::string Kid(const PublicKey& key) { return key.kid; }
  static std::vector<std::string> Kids(const SigningKeys& keys) {
    std::vector<std::string> kids;
    for (const PublicKey& key : keys.published()) kids.push_back(key.kid);
    return kids;
  }
  static std::string Sign(const SigningKeys& keys) {
    return keys.Sign(7, api::v1::ROLE_USER, seconds(900), "mine");
  }
  // Whether the tokens of one are good by what the other publishes.
  static bool Accepts(const SigningKeys& verifier, const std::string& token) {
    const Result<Caller> caller = TokenVerifier([&] { return verifier.published(); }).Verify(token);
    return static_cast<bool>(caller);
  }
  void Pass(const std::string& interval) {
    Run("UPDATE signing_keys SET created_at = created_at - interval '" + interval +
        "', signs_from = signs_from - interval '" + interval + "'");
  }
  void Run(const std::string& sql) {
    postgres::InTransaction(db_, [&](postgres::Tx& tx) { tx.Run(sql); });
  }

  const SigningKeySettings settings_{.encryption_key = std::string(32, 'k')};
  testing::TestDatabase database_;
  postgres::Pool db_{database_.settings()};
};

TEST_F(SigningKeysTest, ReplicasThatStartAtOnceAgreeOnOne) {
  std::vector<std::unique_ptr<SigningKeys>> replicas(2);
  std::vector<std::thread> threads;
  postgres::InTransaction(db_, [&](postgres::Tx& tx) {
    tx.Run("LOCK TABLE signing_keys IN SHARE MODE");
    for (auto& replica : replicas) {
      threads.emplace_back([&] { replica = std::make_unique<SigningKeys>(db_, settings_); });
    }
    // Each has found none.
    EXPECT_TRUE(testing::Eventually([&] { return testing::CountLockWaits(db_) == 2; }));
  });
  for (std::thread& thread : threads) thread.join();
  for (const auto& replica : replicas) {
    EXPECT_EQ(Kids(*replica), Kids(*replicas[0]));
    EXPECT_TRUE(Accepts(*replicas[0], Sign(*replica)));
  }
  EXPECT_EQ(Kids(*replicas[0]).size(), 1u);
}

TEST_F(SigningKeysTest, ARestartFindsTheSameKey) {
  const std::string token = Sign(SigningKeys(db_, settings_));
  EXPECT_TRUE(Accepts(SigningKeys(db_, settings_), token));
}

TEST_F(SigningKeysTest, TheNextKeyIsPublishedBeforeItSignsAndTheOldOneAfter) {
  SigningKeys keys(db_, settings_);
  const std::string old_key = Kids(keys)[0];
  const std::string before = Sign(keys);
  EXPECT_TRUE(MakeNextKey(db_, settings_));
  EXPECT_FALSE(MakeNextKey(db_, settings_)) << "there is one that waits";
  keys.Load();
  ASSERT_EQ(Kids(keys).size(), 2u);
  const std::string new_key = Kids(keys)[0];
  EXPECT_NE(new_key, old_key);
  const auto signs_with = [&](const std::string& kid) {
    const TokenVerifier::FetchKeys only = [&] {
      std::vector<PublicKey> all = keys.published();
      std::erase_if(all, [&](const PublicKey& key) { return key.kid != kid; });
      return all;
    };
    return static_cast<bool>(TokenVerifier(only).Verify(Sign(keys)));
  };
  EXPECT_TRUE(signs_with(old_key));

  Pass("11 minutes");
  keys.Load();
  EXPECT_TRUE(signs_with(new_key));
  EXPECT_TRUE(Accepts(keys, before));
  Pass("2 hours");
  keys.Load();
  keys.Load();
  EXPECT_THAT(Kids(keys), Contains(old_key));
  Pass("20 minutes");
  keys.Load();
  keys.Load();
  EXPECT_THAT(Kids(keys), ::testing::ElementsAre(new_key));
  EXPECT_TRUE(signs_with(new_key));
}

TEST_F(SigningKeysTest, AKeyThatIsAMonthOldIsFollowedByAnother) {
  SigningKeys keys(db_, settings_);
  Pass("29 days");
  keys.Load();
  EXPECT_EQ(Kids(keys).size(), 1u);
  Pass("2 days");
  for (int again = 0; again < 3; ++again) keys.Load();
  EXPECT_EQ(Kids(keys).size(), 2u);
  EXPECT_TRUE(Accepts(keys, Sign(keys)));
}

TEST_F(SigningKeysTest, WithAnotherSecretNothingIsReadAndNothingIsMade) {
  const std::string kid = Kids(SigningKeys(db_, settings_))[0];
  const SigningKeySettings other{.encryption_key = std::string(32, 'x')};
  EXPECT_THROW(SigningKeys(db_, other), std::runtime_error);
  EXPECT_THROW(MakeNextKey(db_, other), std::runtime_error);
  EXPECT_EQ(Kids(SigningKeys(db_, settings_)), std::vector{kid});
}

TEST_F(SigningKeysTest, NoPrivateKeyIsKeptInClear) {
  SigningKeys keys(db_, settings_);
  const pqxx::result rows = postgres::Read(
      db_, [](postgres::Tx& tx) { return tx.Run("SELECT signing_keys::text FROM signing_keys"); });
  ASSERT_EQ(rows.size(), 1);
  EXPECT_THAT(rows[0][0].as<std::string>(), Not(HasSubstr("PRIVATE KEY")));
}

}  // namespace
}  // namespace shop::auth
