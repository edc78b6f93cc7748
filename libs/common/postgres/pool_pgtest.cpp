#include "common/postgres/pool.h"

#include <gmock/gmock.h>

#include <optional>
#include <stop_token>
#include <thread>

#include "common/core/deadline.h"
#include "common/telemetry/metrics.h"
#include "common/testing/database.h"
#include "common/testing/recorded_spans.h"
#include "common/testing/servers.h"

namespace shop::postgres {
namespace {

using testing::Eventually;

constexpr Statement kInsert{"INSERT INTO things (id, name) VALUES ($1, $2)"};
constexpr Statement kNames{"SELECT name FROM things ORDER BY id"};
constexpr Statement kRename{"UPDATE things SET name = name || $2 WHERE id = $1"};
constexpr Statement kMyBackend{"SELECT pg_backend_pid()"};

class PoolTest : public ::testing::Test {
 protected:
  PoolTest() {
    InTransaction(pool_,
                  [](Tx& tx) { tx.Run("CREATE TABLE things (id bigint PRIMARY KEY, name text)"); });
  }

  void Insert(int64_t id, const std::string& name) {
    InTransaction(pool_, [&](Tx& tx) { tx.Exec(kInsert, id, name); });
  }
  std::vector<std::string> Names() {
    std::vector<std::string> names;
    for (const auto& row : Read(pool_, [](Tx& tx) { return tx.Exec(kNames); })) {
      names.push_back(row[0].as<std::string>("NULL"));
    }
    return names;
  }
  int Backend() {
    return Read(pool_, [](Tx& tx) { return tx.Exec(kMyBackend)[0][0].as<int>(); });
  }
  // Ends the backend of a connection from a connection of another pool, and waits until it is gone.
  void Terminate(int backend) {
    Pool other(database_.settings());
    Read(other, [&](Tx& tx) {
      return tx.Run("SELECT pg_terminate_backend(" + std::to_string(backend) + ")");
    });
    ASSERT_TRUE(Eventually([&] {
      return Read(other, [&](Tx& tx) {
        return tx.Run("SELECT FROM pg_stat_activity WHERE pid = " + std::to_string(backend))
            .empty();
      });
    }));
  }

  testing::TestDatabase database_;
  Pool pool_{database_.settings()};
};

TEST_F(PoolTest, ATransactionThatSucceedsIsKept) {
  Insert(1, "one");
  EXPECT_THAT(Names(), ::testing::ElementsAre("one"));
}

TEST_F(PoolTest, EveryStatementAndTheCommitIsASpanOfWhoRanIt) {
  testing::RecordedSpans spans;
  {
    Span rename(SpanKind::kInternal, "rename", TraceContext::New());
    const Span::Scope scope(rename);
    InTransaction(pool_, [](Tx& tx) {
      tx.Exec(kInsert, 1, "secret");
      tx.Exec(kRename, 1, "!");
    });
    Names();
    EXPECT_THROW(Insert(1, "again"), pqxx::unique_violation);
  }
  EXPECT_THAT(spans.Names(), ::testing::ElementsAre("INSERT things", "UPDATE things", "COMMIT",
                                                    "SELECT things", "INSERT things", "rename"));
  const SpanRecord insert = spans.Find("INSERT things");
  EXPECT_EQ(testing::AttributeOf(insert, "db.query.text"), kInsert.sql);  // and no value
  EXPECT_EQ(testing::AttributeOf(insert, "db.collection.name"), "things");
  EXPECT_FALSE(insert.failed);
  EXPECT_TRUE(spans.All()[4].failed);
}

TEST_F(PoolTest, ARefusalRollsBack) {
  const Result<int> answer = InTransaction(pool_, [](Tx& tx) -> Result<int> {
    tx.Exec(kInsert, 1, "one");
    return Refusal{Code::kNotFound, "no"};
  });
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.refusal().code, Code::kNotFound);
  EXPECT_THAT(Names(), ::testing::IsEmpty());
}

TEST_F(PoolTest, AnExceptionRollsBackAndReachesTheCaller) {
  EXPECT_THROW(InTransaction(pool_,
                             [](Tx& tx) {
                               tx.Exec(kInsert, 1, "one");
                               throw std::out_of_range("mine");
                             }),
               std::out_of_range);
  EXPECT_THAT(Names(), ::testing::IsEmpty());
}

TEST_F(PoolTest, AViolatedConstraintReachesTheCallerAsItIs) {
  Insert(1, "one");
  EXPECT_THROW(Insert(1, "again"), pqxx::unique_violation);
  EXPECT_THAT(Names(), ::testing::ElementsAre("one"));
}

TEST_F(PoolTest, ASwallowedFailureIsNotTakenForKept) {
  EXPECT_THROW(InTransaction(pool_,
                             [](Tx& tx) {
                               tx.Exec(kInsert, 1, "one");
                               try {
                                 tx.Exec(kInsert, 1, "again");
                               } catch (const pqxx::unique_violation&) {
                               }
                             }),
               std::logic_error);
  EXPECT_THAT(Names(), ::testing::IsEmpty());
}

// What subscribers learn of a transaction that signals twice.
class SignalTest : public PoolTest {
 protected:
  static void Signal(Tx& tx) {
    tx.SignalCommit("written");
    tx.SignalCommit("written");
  }
  static void Conflict(Tx& tx) {
    tx.Run(
        "DO $$ BEGIN RAISE 'somebody was quicker' USING ERRCODE = 'serialization_failure'; END $$");
  }

  int told_ = 0;
  const std::shared_ptr<const void> subscription_ = pool_.Subscribe("written", [this] { ++told_; });
};

TEST_F(SignalTest, ACommitIsToldOnceAndAfterIt) {
  std::vector<std::string> kept;
  Pool other(database_.settings());
  const auto second = pool_.Subscribe("written", [&] {
    kept.push_back(Read(other, [](Tx& tx) { return tx.Exec(kNames)[0][0].as<std::string>(); }));
  });
  InTransaction(pool_, [&](Tx& tx) {
    Signal(tx);
    tx.Exec(kInsert, 1, "one");
    EXPECT_EQ(told_, 0);
  });
  EXPECT_EQ(told_, 1);
  EXPECT_THAT(kept, ::testing::ElementsAre("one"));
  Insert(2, "two");
  EXPECT_EQ(told_, 1) << "nothing was signalled";
}

TEST_F(SignalTest, WhatIsRolledBackIsNotTold) {
  const Result<void> refused = InTransaction(pool_, [](Tx& tx) -> Result<void> {
    Signal(tx);
    return Refusal{Code::kNotFound, "no"};
  });
  EXPECT_FALSE(refused);
  const auto fails = [](Tx& tx) {
    Signal(tx);
    throw std::out_of_range("mine");
  };
  EXPECT_THROW(InTransaction(pool_, fails), std::out_of_range);
  EXPECT_EQ(told_, 0);
}

TEST_F(SignalTest, WorkThatIsRepeatedIsToldOnce) {
  int runs = 0;
  InTransaction(pool_, [&](Tx& tx) {
    Signal(tx);
    if (++runs < 3) Conflict(tx);
  });
  EXPECT_EQ(runs, 3);
  EXPECT_EQ(told_, 1);
}

TEST_F(SignalTest, WorkThatSignalledOnlyBeforeItsRepetitionIsNotTold) {
  int runs = 0;
  InTransaction(pool_, [&](Tx& tx) {
    if (++runs > 1) return;
    Signal(tx);
    Conflict(tx);
  });
  EXPECT_EQ(told_, 0);
}

TEST_F(SignalTest, WhoHasEndedTheirSubscriptionIsNotTold) {
  int others = 0;
  auto ended = pool_.Subscribe("written", [&] { ++others; });
  ended.reset();
  const auto elsewhere = pool_.Subscribe("read", [&] { ++others; });
  InTransaction(pool_, Signal);
  EXPECT_EQ(told_, 1);
  EXPECT_EQ(others, 0);
}

TEST_F(PoolTest, EveryKindOfParameterArrives) {
  constexpr Statement kEcho{
      "SELECT $1::bigint, $2::text, $3::text, $4::bool, $5::text, $6::bigint, $7::text"};
  const pqxx::row row = Read(pool_, [&](Tx& tx) {
    return tx.Exec(kEcho, int64_t{1} << 52, std::string("it's"), std::string_view("view"), true,
                   static_cast<const char*>(nullptr), std::optional<int64_t>(7),
                   std::optional<std::string>())[0];
  });
  EXPECT_EQ(row[0].as<int64_t>(), int64_t{1} << 52);
  EXPECT_EQ(row[1].as<std::string>(), "it's");
  EXPECT_EQ(row[2].as<std::string>(), "view");
  EXPECT_TRUE(row[3].as<bool>());
  EXPECT_TRUE(row[4].is_null());
  EXPECT_EQ(row[5].as<int64_t>(), 7);
  EXPECT_TRUE(row[6].is_null());
}

TEST_F(PoolTest, ArraysKeepWhatTheyHold) {
  constexpr Statement kTexts{"SELECT unnest($1::text[])"};
  const std::vector<std::string> texts{"plain", "with \"quotes\"", "back\\slash",
                                       "",      "a,b{}",           "NULL"};
  std::vector<std::string> back;
  for (const auto& row : Read(pool_, [&](Tx& tx) { return tx.Exec(kTexts, Array(texts)); })) {
    back.push_back(row[0].as<std::string>());
  }
  EXPECT_EQ(back, texts);
  EXPECT_EQ(Array(std::vector<int64_t>{1, -2}), "{1,-2}");
}

// Two transactions read what the other writes: one of them cannot be kept and runs again.
TEST_F(PoolTest, ASerializationFailureIsTriedAgain) {
  Insert(1, "a");
  int runs = 0;
  InTransaction(pool_, [&](Tx& tx) {
    ++runs;
    tx.Run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ");
    tx.Exec(kNames);
    if (runs == 1) {
      InTransaction(pool_, [](Tx& other) { other.Exec(kRename, 1, "b"); });
    }
    tx.Exec(kRename, 1, "c");
  });
  EXPECT_EQ(runs, 2);
  EXPECT_THAT(Names(), ::testing::ElementsAre("abc"));
}

TEST_F(PoolTest, ADeadlockIsTriedAgain) {
  Insert(1, "");
  Insert(2, "");
  std::atomic<int> runs = 0;
  std::atomic<int> holding = 0;
  const auto lock_both = [&](int64_t first, int64_t second) {
    InTransaction(pool_, [&](Tx& tx) {
      ++runs;
      tx.Exec(kRename, first, "x");
      ++holding;
      ASSERT_TRUE(Eventually([&] { return holding >= 2; }));
      tx.Exec(kRename, second, "x");
    });
  };
  std::thread other(lock_both, 2, 1);
  lock_both(1, 2);
  other.join();
  EXPECT_GE(runs, 3);
  EXPECT_THAT(Names(), ::testing::ElementsAre("xx", "xx"));
}

TEST_F(PoolTest, ADeadConnectionIsReplacedBeforeARead) {
  const int backend = Backend();
  Terminate(backend);
  EXPECT_NE(Backend(), backend);
}

TEST_F(PoolTest, ADeadConnectionIsReplacedBeforeATransaction) {
  Terminate(Backend());
  Insert(1, "one");
  EXPECT_THAT(Names(), ::testing::ElementsAre("one"));
}

TEST_F(PoolTest, AConnectionThatDiesWithinATransactionRunsItAgain) {
  int runs = 0;
  InTransaction(pool_, [&](Tx& tx) {
    tx.Exec(kInsert, 1, "one");
    if (++runs == 1) Terminate(tx.Exec(kMyBackend)[0][0].as<int>());
    tx.Exec(kInsert, 2, "two");
  });
  EXPECT_EQ(runs, 2);
  EXPECT_THAT(Names(), ::testing::ElementsAre("one", "two"));
}

TEST_F(PoolTest, NothingIsKeptOfATransactionThatGoesOnAfterItsConnectionDied) {
  EXPECT_THROW(InTransaction(pool_,
                             [&](Tx& tx) {
                               Terminate(tx.Exec(kMyBackend)[0][0].as<int>());
                               for (int64_t id = 1; id <= 3; ++id) {
                                 try {
                                   tx.Exec(kInsert, id, "x");
                                 } catch (const std::exception&) {
                                 }
                               }
                             }),
               std::exception);
  EXPECT_THAT(Names(), ::testing::IsEmpty());
}

// The backend dies while a deferred trigger keeps the COMMIT busy.
TEST_F(PoolTest, ACommitWhoseOutcomeIsUnknownIsNotRepeated) {
  InTransaction(pool_, [](Tx& tx) {
    tx.Run(R"sql(
      CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';
      CREATE CONSTRAINT TRIGGER dying AFTER INSERT ON things DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION die())sql");
  });
  int runs = 0;
  EXPECT_THROW(InTransaction(pool_,
                             [&](Tx& tx) {
                               ++runs;
                               tx.Exec(kInsert, 1, "one");
                             }),
               CommitUnknown);
  EXPECT_EQ(runs, 1);
  EXPECT_THAT(Names(), ::testing::IsEmpty());
}

TEST_F(PoolTest, APlanThatAMigrationMadeStaleIsPreparedAnew) {
  constexpr Statement kEverything{"SELECT * FROM things"};
  Insert(1, "one");
  const auto columns = [&] {
    return Read(pool_, [&](Tx& tx) { return tx.Exec(kEverything).columns(); });
  };
  EXPECT_EQ(columns(), 2u);
  InTransaction(pool_, [](Tx& tx) { tx.Run("ALTER TABLE things ADD COLUMN more text"); });
  EXPECT_EQ(columns(), 3u);
}

TEST_F(PoolTest, MoreCallersThanConnectionsWaitForAFreeOne) {
  Settings settings = database_.settings();
  settings.connections = 2;
  Pool small(settings);
  std::atomic<int> inside = 0;
  std::atomic<int> most = 0;
  std::vector<std::thread> callers;
  for (int i = 0; i < 8; ++i) {
    callers.emplace_back([&] {
      Read(small, [&](Tx& tx) {
        const int now = ++inside;
        for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
        }
        const pqxx::result slept = tx.Run("SELECT pg_sleep(0.02)");
        --inside;
        return slept;
      });
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(most, 2);
}

TEST_F(PoolTest, ACallerWaitsForAConnectionOnlyUntilTheLimit) {
  Settings settings = database_.settings();
  settings.connections = 1;
  settings.acquire_timeout = std::chrono::milliseconds(50);
  Pool small(settings);
  Read(small, [&](Tx&) {
    EXPECT_THROW(Read(small, [](Tx& tx) { return tx.Exec(kNames); }), PoolTimeout);
    return 0;
  });
  EXPECT_NO_THROW(Read(small, [](Tx& tx) { return tx.Exec(kNames); }));
}

// The metrics of this database's pools.
class ShownTest : public PoolTest {
 protected:
  double Gauged(const std::string& name) { return Find(name).gauge.value; }
  prometheus::ClientMetric::Histogram Waits() {
    return Find("postgres_pool_wait_seconds").histogram;
  }

 private:
  prometheus::ClientMetric Find(const std::string& name) {
    for (const auto& family : Metrics().Collect()) {
      if (family.name != name) continue;
      for (const auto& metric : family.metric) {
        if (metric.label.at(0).value == database_.settings().database) return metric;
      }
    }
    throw std::out_of_range(name);
  }
};

TEST_F(ShownTest, ConnectionsInUseAndThoseWhoWaitForOneAreCounted) {
  const double most = Gauged("postgres_pool_connections_max");
  Settings settings = database_.settings();
  settings.connections = 1;
  settings.acquire_timeout = std::chrono::minutes(1);
  std::optional<Pool> small(settings);
  EXPECT_EQ(Gauged("postgres_pool_connections_max"), most + 1);
  std::thread waiting;
  const auto before = Waits();
  Read(*small, [&](Tx&) {
    EXPECT_EQ(Gauged("postgres_pool_connections_in_use"), 1);
    waiting = std::thread([&] { Read(*small, [](Tx& tx) { return tx.Exec(kNames); }); });
    EXPECT_TRUE(Eventually([&] { return Gauged("postgres_pool_waiting") == 1; }));
    return 0;
  });
  waiting.join();
  EXPECT_EQ(Gauged("postgres_pool_waiting"), 0);
  EXPECT_EQ(Gauged("postgres_pool_connections_in_use"), 0);
  EXPECT_EQ(Waits().sample_count, before.sample_count + 2);
  EXPECT_GT(Waits().sample_sum, before.sample_sum);
  small.reset();
  EXPECT_EQ(Gauged("postgres_pool_connections_max"), most);
}

TEST_F(ShownTest, AConnectionThatCannotBeOpenedIsNotInUse) {
  Settings settings = database_.settings();
  settings.password = "wrong";
  settings.user = "nobody_at_all";
  Pool closed(settings);
  EXPECT_THROW(Read(closed, [](Tx& tx) { return tx.Exec(kNames); }), Unavailable);
  EXPECT_EQ(Gauged("postgres_pool_connections_in_use"), 0);
}

TEST_F(PoolTest, AStatementThatTakesTooLongIsUnavailable) {
  Settings settings = database_.settings();
  settings.statement_timeout = std::chrono::milliseconds(50);
  Pool impatient(settings);
  EXPECT_THROW(Read(impatient, [](Tx& tx) { return tx.Run("SELECT pg_sleep(10)"); }), Unavailable);
}

class DeadlineTest : public PoolTest {
 protected:
  DeadlineTest() {
    Settings settings = database_.settings();
    settings.connections = 1;
    settings.application = "late";
    one_.emplace(settings);
  }
  static DeadlineScope::TimePoint In(int milliseconds) {
    return steady_clock::now() + std::chrono::milliseconds(milliseconds);
  }
  // Whether nothing runs for `one_` any more.
  bool Idle() {
    return Read(pool_,
                [](Tx& tx) {
                  return tx.Run(
                      "SELECT FROM pg_stat_activity WHERE application_name = 'late' AND state <> "
                      "'idle'"
                      " AND datname = current_database()");
                })
        .empty();
  }
  using steady_clock = std::chrono::steady_clock;

  std::optional<Pool> one_;
  std::stop_source stop_;
};

TEST_F(DeadlineTest, AStatementEndsWithItsCallersDeadlineAndTheConnectionServesOn) {
  const auto backend = [&] {
    return Read(*one_, [](Tx& tx) { return tx.Exec(kMyBackend)[0][0].as<int>(); });
  };
  const int before = backend();
  const auto begun = steady_clock::now();
  {
    const DeadlineScope until(In(200));
    EXPECT_THROW(Read(*one_, [](Tx& tx) { return tx.Run("SELECT pg_sleep(9)"); }), Unavailable);
  }
  EXPECT_GE(steady_clock::now() - begun, std::chrono::milliseconds(200));
  EXPECT_LT(steady_clock::now() - begun, std::chrono::seconds(5));
  EXPECT_TRUE(Eventually([&] { return Idle(); }));
  EXPECT_EQ(backend(), before);
}

TEST_F(DeadlineTest, AWaitForALockEndsToo) {
  Insert(1, "one");
  InTransaction(pool_, [&](Tx& holder) {
    holder.Exec(kRename, 1, "!");
    const DeadlineScope until(In(200));
    EXPECT_THROW(InTransaction(*one_,
                               [](Tx& tx) {
                                 tx.Exec(kInsert, 2, "two");
                                 tx.Exec(kRename, 1, "?");
                               }),
                 Unavailable);
  });
  EXPECT_THAT(Names(), ::testing::ElementsAre("one!"));
  InTransaction(*one_, [](Tx& tx) { tx.Exec(kRename, 1, "?"); });
  EXPECT_THAT(Names(), ::testing::ElementsAre("one!?"));
}

TEST_F(DeadlineTest, NoStatementBeginsPastTheDeadlineAndNothingIsKept) {
  constexpr Statement kBegin{"SELECT nextval('begun')"};  // which no rollback takes back
  InTransaction(pool_, [](Tx& tx) { tx.Run("CREATE SEQUENCE begun"); });
  {
    const DeadlineScope until(In(100));
    EXPECT_THROW(InTransaction(*one_,
                               [&](Tx& tx) {
                                 tx.Exec(kInsert, 1, "one");
                                 EXPECT_TRUE(Eventually([] { return DeadlineScope::HasPassed(); }));
                                 tx.Exec(kBegin);
                               }),
                 Unavailable);
    EXPECT_THROW(Read(*one_, [&](Tx& tx) { return tx.Exec(kBegin); }), Unavailable);
    const DeadlineScope inner(In(10'000));  // lasts no longer than the outer one
    EXPECT_THROW(Read(*one_, [&](Tx& tx) { return tx.Exec(kBegin); }), Unavailable);
  }
  const auto begun = [](Tx& tx) { return tx.Run("SELECT is_called FROM begun")[0][0].as<bool>(); };
  EXPECT_FALSE(Read(pool_, begun));
  EXPECT_THAT(Names(), ::testing::IsEmpty());
}

TEST_F(DeadlineTest, AWaitForAConnectionEndsToo) {
  Read(*one_, [&](Tx&) {
    const DeadlineScope until(In(50));
    const auto begun = steady_clock::now();
    EXPECT_THROW(Read(*one_, [](Tx& tx) { return tx.Exec(kNames); }), PoolTimeout);
    EXPECT_LT(steady_clock::now() - begun, std::chrono::seconds(2));
    return 0;
  });
}

TEST_F(DeadlineTest, AStopEndsTheStatementThatRuns) {
  std::thread stopping([&] {
    EXPECT_TRUE(Eventually([&] { return !Idle(); }));
    stop_.request_stop();
  });
  const auto begun = steady_clock::now();
  {
    const DeadlineScope until(DeadlineScope::TimePoint::max(), stop_.get_token());
    EXPECT_THROW(
        Read(*one_,
             [](Tx& tx) { return tx.Run("SET statement_timeout = 0; SELECT pg_sleep(30)"); }),
        Unavailable);
    EXPECT_THROW(Read(*one_, [](Tx& tx) { return tx.Run("SELECT 1"); }), Unavailable);
  }
  EXPECT_LT(steady_clock::now() - begun, std::chrono::seconds(15));
  stopping.join();
  EXPECT_NO_THROW(Read(*one_, [](Tx& tx) { return tx.Run("SELECT 1"); }));
}

TEST_F(DeadlineTest, AStopEndsAWaitForAConnection) {
  Settings settings = database_.settings();
  settings.connections = 1;
  settings.acquire_timeout = std::chrono::minutes(1);
  Pool patient(settings);
  Read(patient, [&](Tx&) {
    std::thread waiting([&] {
      const DeadlineScope until(DeadlineScope::TimePoint::max(), stop_.get_token());
      EXPECT_THROW(Read(patient, [](Tx& tx) { return tx.Run("SELECT 1"); }), PoolTimeout);
    });
    const auto begun = steady_clock::now();
    stop_.request_stop();
    waiting.join();
    EXPECT_LT(steady_clock::now() - begun, std::chrono::seconds(15));
    return 0;
  });
}

// A cancellation that comes late must not end what somebody else runs on the connection by then.
TEST_F(DeadlineTest, OnlyWhoseDeadlineHasPassedIsCancelled) {
  int late = 0;
  for (int i = 0; i < 200; ++i) {
    try {
      const DeadlineScope until(steady_clock::now() + std::chrono::microseconds(50 * (i % 40)));
      Read(*one_, [](Tx& tx) { return tx.Run("SELECT pg_sleep(0.001)"); });
    } catch (const Unavailable&) {
      ++late;
    }
    ASSERT_NO_THROW(Read(*one_, [](Tx& tx) { return tx.Run("SELECT pg_sleep(0.0005)"); })) << i;
  }
  EXPECT_GT(late, 0);
  EXPECT_LT(late, 200);
}

TEST_F(PoolTest, RowsAreFoundByTheIndexAlsoByAPlanOfWhenTheTableWasEmpty) {
  const std::string plan = InTransaction(pool_, [](Tx& tx) {
    tx.Run("SET LOCAL plan_cache_mode = force_generic_plan");
    tx.Run(R"sql(
        PREPARE rename (bigint[], text[]) AS UPDATE things SET name = n.name
        FROM (SELECT * FROM unnest($1, $2) LIMIT cardinality($1)) AS n (id, name)
        WHERE things.id = n.id)sql");
    std::string text;
    for (const auto& row : tx.Run("EXPLAIN EXECUTE rename ('{1,2,3}', '{a,b,c}')")) {
      text += row[0].as<std::string>() + "\n";
    }
    tx.Run("DEALLOCATE rename");
    return text;
  });
  EXPECT_THAT(plan, ::testing::HasSubstr("Index Scan using things_pkey"));
}

TEST_F(PoolTest, PlansOfWhenTheTableWasSmallAreMadeAnewAsItGrows) {
  static constexpr Statement kFind{"SELECT name FROM things WHERE id = ANY ($1::bigint[])"};
  const auto find = [&](int times) {
    for (int i = 0; i < times; ++i)
      Read(pool_, [](Tx& tx) { return tx.Exec(kFind, Array({1, 2, 3})); });
  };
  const auto read_from_end_to_end = [&] {
    Read(pool_, [](Tx& tx) {
      tx.Run("SELECT pg_stat_force_next_flush()");
      return true;
    });
    return Read(pool_, [](Tx& tx) {
      return tx.Run("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'things'")[0][0]
          .as<int>();
    });
  };
  Insert(1, "first");
  InTransaction(pool_, [](Tx& tx) { tx.Run("ANALYZE things"); });
  find(10);
  EXPECT_GE(read_from_end_to_end(), 10);
  InTransaction(pool_, [](Tx& tx) {
    tx.Run("INSERT INTO things SELECT id, 'another' FROM generate_series(2, 20000) AS id");
  });
  find(20);  // and one of these is the thirty-second transaction
  const int until_now = read_from_end_to_end();
  find(5);
  EXPECT_EQ(read_from_end_to_end(), until_now);
}

// A LIMIT would have other rows each time, as a scan of a large table begins where another one is.
TEST_F(PoolTest, AWalkThroughATableBeginsAtItsFirstRow) {
  InTransaction(pool_, [](Tx& tx) {
    tx.Run(
        "ALTER TABLE things ALTER name SET STORAGE PLAIN;"
        "INSERT INTO things SELECT n, repeat('x', 8000) FROM generate_series(1, 6000) AS n");
  });
  InTransaction(pool_, [&](Tx& tx) {
    tx.Run("DECLARE halfway CURSOR FOR SELECT id FROM things; MOVE 3000 IN halfway");
    const auto first = [](Tx& other) {
      return other.Run("SELECT id FROM things LIMIT 1")[0][0].as<int>();
    };
    EXPECT_EQ(Read(pool_, first), 1);
  });
}

TEST_F(PoolTest, ATransactionMayAlwaysBeginWithItsIsolation) {
  for (int i = 0; i < 20; ++i) {
    InTransaction(pool_, [](Tx& tx) { tx.Run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"); });
  }
}

TEST_F(PoolTest, AServerThatIsAwayIsUnavailable) {
  Settings settings = database_.settings();
  settings.port = 1;
  Pool nowhere(settings);
  EXPECT_THROW(Read(nowhere, [](Tx& tx) { return tx.Exec(kNames); }), Unavailable);
  EXPECT_THROW(InTransaction(nowhere, [](Tx& tx) { tx.Exec(kNames); }), Unavailable);
}

}  // namespace
}  // namespace shop::postgres
