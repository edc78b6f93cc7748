// A fresh PostgreSQL database for one test.
#pragma once

#include "common/postgres/pool.h"

namespace shop::testing {

// Made by the constructor under a random name and dropped, with the connections still open to it,
// by the destructor. Declare it before the pools that use it.
class TestDatabase {
 public:
  TestDatabase();
  ~TestDatabase();
  TestDatabase(const TestDatabase&) = delete;
  TestDatabase& operator=(const TestDatabase&) = delete;

  // For a Pool; the user is a superuser.
  const postgres::Settings& settings() const { return settings_; }

 private:
  postgres::Settings settings_;
};

// How many statements in the pool's database wait for a lock, so that tests know that somebody has come to
// where another one holds them up. Takes a connection of the pool.
inline int CountLockWaits(postgres::Pool& db) {
  return postgres::Read(db, [](postgres::Tx& tx) {
    return tx
        .Run(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event_type = 'Lock'")[0][0]
        .as<int>();
  });
}

}  // namespace shop::testing
