// A process of the release before runs for a while on the schema of this one. What it says to the
// retry queue, by the name that it knows, works then as before, on connections and with prepared
// statements from before the migration too.
#include <gmock/gmock.h>

#include "common/messaging/retry_queue.h"
#include "common/postgres/migrations.h"
#include "common/postgres/pool.h"
#include "common/testing/database.h"
#include "messaging_migrations.h"

namespace shop {
namespace {

using postgres::InTransaction;
using postgres::Statement;
using postgres::Tx;

// As the release before had them.
constexpr Statement kHeldKeys{
    "SELECT DISTINCT topic, key FROM held WHERE consumer = $1"
    "  AND (topic, key) IN (SELECT * FROM unnest($2::text[], $3::text[]))"};
constexpr Statement kHold{
    "INSERT INTO held (consumer, topic, key, partition, position, event_id, type, headers, value,"
    "                  attempts, next_at, reason, dead)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8::jsonb, $9,"
    "         $10, now() + $11 * interval '1 millisecond', $12, $13)"
    " ON CONFLICT DO NOTHING RETURNING id"};
constexpr Statement kDueHeads{
    "SELECT id, topic, key, partition, position, headers::text, value, attempts FROM held"
    " WHERE consumer = $1 AND NOT dead AND next_at <= now()"
    "   AND NOT EXISTS (SELECT FROM held AS earlier WHERE earlier.consumer = held.consumer"
    "     AND earlier.topic = held.topic AND earlier.key = held.key AND earlier.id < held.id)"
    " ORDER BY next_at LIMIT 50"};
constexpr Statement kStillDue{
    "SELECT attempts FROM held WHERE id = $1 AND NOT dead AND next_at <= now() FOR UPDATE"};
constexpr Statement kRelease{"DELETE FROM held WHERE id = $1"};
constexpr Statement kFail{
    "UPDATE held SET attempts = attempts + 1, reason = $2, dead = $3,"
    " next_at = now() + $4 * interval '1 millisecond' WHERE id = $1"};
constexpr Statement kPostpone{
    "UPDATE held SET reason = $2, next_at = now() + $3 * interval '1 millisecond' WHERE id = $1"};
constexpr Statement kCount{
    "SELECT count(*) FILTER (WHERE NOT dead), count(*) FILTER (WHERE dead) FROM held"
    " WHERE consumer = $1"};
constexpr Statement kRedrive{
    "UPDATE held SET dead = false, attempts = 0, next_at = now() WHERE id = $1 AND dead"};
constexpr Statement kDiscard{"DELETE FROM held WHERE id = $1 RETURNING consumer, event_id"};

class OlderReleaseTest : public ::testing::Test {
 protected:
  // The id of the new row, 0 for an event that is there already.
  int64_t Hold(int64_t position, const std::string& key = "1") {
    return InTransaction(older_, [&](Tx& tx) {
      const pqxx::result added = tx.Exec(kHold, "orders", "stock", key, 0, position, "e", "T", "{}",
                                         "{}", 1, 0, "not now", false);
      return added.empty() ? 0 : added[0][0].as<int64_t>();
    });
  }
  size_t CountDue() {
    return Read(older_, [](Tx& tx) { return tx.Exec(kDueHeads, "orders"); }).size();
  }
  // Everything that is said to one row, which is due; it is gone afterwards.
  void UseAndRelease(int64_t id) {
    EXPECT_EQ(
        Read(older_, [](Tx& tx) { return tx.Exec(kHeldKeys, "orders", "{stock}", "{1}"); }).size(),
        1u);
    InTransaction(older_, [&](Tx& tx) {
      EXPECT_EQ(tx.Exec(kStillDue, id)[0][0].as<int>(), 1);
      EXPECT_EQ(tx.Exec(kFail, id, "again", true, 0).affected_rows(), 1);
      EXPECT_EQ(tx.Exec(kCount, "orders")[0][1].as<int>(), 1);
      EXPECT_EQ(tx.Exec(kRedrive, id).affected_rows(), 1);
      EXPECT_EQ(tx.Exec(kPostpone, id, "away", 0).affected_rows(), 1);
      EXPECT_EQ(tx.Exec(kRelease, id).affected_rows(), 1);
    });
  }

  testing::TestDatabase database_;
  postgres::Pool newer_{database_.settings()};
  postgres::Pool older_{[this] {
    postgres::Settings one = database_.settings();
    one.connections = 1;
    return one;
  }()};
};

TEST_F(OlderReleaseTest, ItsRetryQueueWorksOnTheNewSchema) {
  postgres::MigrationSet before = kMessagingMigrations;
  before.migrations.resize(4);
  postgres::Migrate(older_, {before});
  UseAndRelease(Hold(1));
  const int64_t kept = Hold(2);
  ASSERT_GT(kept, 0);
  ASSERT_EQ(CountDue(), 1u);

  postgres::Migrate(newer_, {kMessagingMigrations});
  ASSERT_EQ(messaging::ListRetryQueue(newer_).size(), 1u) << "what was there is gone";
  EXPECT_EQ(Hold(2), 0) << "it is there already";
  const int64_t added = Hold(3, "2");
  EXPECT_GT(added, kept);
  EXPECT_EQ(CountDue(), 2u);
  EXPECT_EQ(messaging::FindQueued(newer_, added)->reason, "not now");
  UseAndRelease(kept);
  EXPECT_EQ(InTransaction(older_, [&](Tx& tx) { return tx.Exec(kDiscard, added); }).size(), 1u);
  EXPECT_TRUE(messaging::ListRetryQueue(newer_).empty());
}

}  // namespace
}  // namespace shop
