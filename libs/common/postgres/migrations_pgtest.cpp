#include "common/postgres/migrations.h"

#include <gmock/gmock.h>

#include <map>
#include <thread>

#include "common/postgres/migrate_command.h"
#include "common/postgres/pool.h"
#include "common/testing/database.h"
#include "common/testing/servers.h"

namespace shop::postgres {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const MigrationSet kFirst{"things", {{"0001_things", "CREATE TABLE things (id bigint)"}}};
const MigrationSet kBoth{
    "things",
    {{"0001_things", "CREATE TABLE things (id bigint)"},
     {"0002_more", "INSERT INTO things VALUES (1); INSERT INTO things VALUES (2)"}}};

class MigrateTest : public ::testing::Test {
 protected:
  std::vector<std::string> Applied() {
    std::vector<std::string> names;
    const pqxx::result rows = Read(pool_, [](Tx& tx) {
      return tx.Run("SELECT owner || '/' || name FROM schema_migrations ORDER BY 1");
    });
    for (const auto& row : rows) names.push_back(row[0].as<std::string>());
    return names;
  }
  int Rows() {
    return Read(pool_,
                [](Tx& tx) { return tx.Run("SELECT count(*) FROM things")[0][0].as<int>(); });
  }

  testing::TestDatabase database_;
  Pool pool_{database_.settings()};
};

TEST_F(MigrateTest, FilesAreAppliedOnceEachInOrder) {
  Migrate(pool_, {kFirst});
  Migrate(pool_, {kBoth});
  Migrate(pool_, {kBoth});
  EXPECT_THAT(Applied(), ElementsAre("things/0001_things", "things/0002_more"));
  EXPECT_EQ(Rows(), 2);
}

TEST_F(MigrateTest, OwnersDoNotMix) {
  Migrate(pool_, {kBoth, {"others", {{"0001_things", "CREATE TABLE others ()"}}}});
  EXPECT_THAT(Applied(),
              ElementsAre("others/0001_things", "things/0001_things", "things/0002_more"));
}

TEST_F(MigrateTest, AnOlderBinaryWorksWithANewerSchema) {
  Migrate(pool_, {kBoth});
  EXPECT_NO_THROW(Migrate(pool_, {kFirst}));
}

TEST_F(MigrateTest, AFileThatChangedIsRefused) {
  Migrate(pool_, {kFirst});
  try {
    Migrate(pool_, {{"things",
                     {{"0001_things", "CREATE TABLE things (id text)"},
                      {"0002_more", "CREATE TABLE more ()"}}}});
    FAIL() << "was taken";
  } catch (const std::logic_error& error) {
    EXPECT_THAT(error.what(), HasSubstr("things/0001_things has changed"));
  }
  EXPECT_THAT(Applied(), ElementsAre("things/0001_things"));
}

TEST_F(MigrateTest, AFileThatFailsLeavesNothing) {
  EXPECT_THROW(
      Migrate(pool_, {{"things", {{"0001_things", "CREATE TABLE things (); SELECT 1/0"}}}}),
      pqxx::sql_error);
  EXPECT_NO_THROW(Migrate(pool_, {kFirst}));
}

TEST_F(MigrateTest, ReplicasThatStartAtOnceApplyEachFileOnce) {
  const MigrationSet slow{"things",
                          {{"0001_things", "CREATE TABLE things (id bigint); SELECT pg_sleep(0.2)"},
                           {"0002_more", "INSERT INTO things VALUES (1); SELECT pg_sleep(0.2)"}}};
  std::vector<std::thread> replicas;
  for (int i = 0; i < 4; ++i) {
    replicas.emplace_back([&] {
      Pool own(database_.settings());
      EXPECT_NO_THROW(Migrate(own, {slow}));
      EXPECT_EQ(Rows(), 1);
    });
  }
  for (std::thread& replica : replicas) replica.join();
  EXPECT_THAT(Applied(), ElementsAre("things/0001_things", "things/0002_more"));
}

TEST_F(MigrateTest, ATableInUseIsWaitedForWithoutQueueingInFrontOfOthers) {
  Migrate(pool_, {kFirst});
  std::atomic<bool> migrated = false;
  std::thread migrator;
  InTransaction(pool_, [&](Tx& tx) {
    tx.Run("SELECT * FROM things");
    migrator = std::thread([&] {
      Pool own(database_.settings());
      Migrate(own, {{"things",
                     {{"0001_things", "CREATE TABLE things (id bigint)"},
                      {"0002_column", "ALTER TABLE things ADD COLUMN name text"}}}});
      migrated = true;
    });
    // The migrator gives up its place at least once while this transaction is open.
    ASSERT_TRUE(testing::Eventually([&] {
      return Read(pool_, [](Tx& other) {
        return other
            .Run(
                "SELECT xact_rollback > 0 FROM pg_stat_database WHERE datname = "
                "current_database()")[0][0]
            .as<bool>();
      });
    }));
    EXPECT_FALSE(migrated);
    EXPECT_EQ(Rows(), 0);
  });
  migrator.join();
  EXPECT_THAT(Applied(), ElementsAre("things/0001_things", "things/0002_column"));
}

class MigrateCommandTest : public MigrateTest {
 protected:
  // The settings of a process whose database is the test's.
  Env Environment() {
    const Settings& settings = database_.settings();
    const std::map<std::string, std::string> variables{
        {"POSTGRES_HOST", settings.host},
        {"POSTGRES_PORT", std::to_string(settings.port)},
        {"POSTGRES_USER", settings.user},
        {"POSTGRES_PASSWORD", settings.password}};
    return Env([variables](const std::string& name) -> std::optional<std::string> {
      const auto found = variables.find(name);
      if (found == variables.end()) return std::nullopt;
      return found->second;
    });
  }
};

TEST_F(MigrateCommandTest, BringsTheDatabaseUpToDateAndAgainChangesNothing) {
  const std::string database = database_.settings().database;
  EXPECT_EQ(RunMigrateCommand(database, {kBoth}, Environment()), 0);
  EXPECT_EQ(RunMigrateCommand(database, {kBoth}, Environment()), 0);
  EXPECT_THAT(Applied(), ElementsAre("things/0001_things", "things/0002_more"));
  EXPECT_EQ(Rows(), 2);
}

TEST_F(MigrateCommandTest, SaysByItsExitCodeThatItCouldNot) {
  const MigrationSet failing{"things", {{"0001_things", "SELECT 1/0"}}};
  EXPECT_EQ(RunMigrateCommand(database_.settings().database, {failing}, Environment()), 1);
  EXPECT_EQ(RunMigrateCommand("things", {}, Env([](const std::string& name) {
                                return name == "POSTGRES_PORT"
                                           ? std::optional<std::string>("no port")
                                           : std::nullopt;
                              })),
            2);
}

TEST_F(MigrateCommandTest, KnowsNoOtherCommand) {
  EXPECT_EQ(RunMigrateCommand("things", {}, std::vector<std::string>{"downgrade"}), 2);
}

}  // namespace
}  // namespace shop::postgres
