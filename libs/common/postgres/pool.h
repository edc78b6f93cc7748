// PostgreSQL through libpqxx: a bounded pool of connections, transactions and prepared statements.
//
//   constexpr postgres::Statement kFind{"SELECT name FROM users WHERE id = $1"};
//   const pqxx::result found =
//       postgres::Read(db, [&](postgres::Tx& tx) { return tx.Exec(kFind, id); });
//
//   return postgres::InTransaction(db, [&](postgres::Tx& tx) -> Result<Order> {
//     …  // commits on success, rolls back on a refusal or an exception
//   });
//
// What runs within a DeadlineScope (every handler of rpcs and events does) ends with it, at its
// deadline or its stop: waiting for a connection ends, no further statement begins, and the one
// that runs is cancelled, whatever it waits for (one that is being opened is waited for, at most
// `connect_timeout`).
// That costs a statement in time nothing: no round trip, no setting. A commit that has begun is let
// finish.
//
// A database that is away, too busy or too late is shop::Unavailable. Other errors of a statement,
// such as pqxx::unique_violation, reach the caller as they are.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <pqxx/pqxx>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/core/env.h"
#include "common/core/result.h"
#include "common/telemetry/span.h"

#if PQXX_VERSION_MAJOR < 7
// What later versions of libpqxx take as a parameter by themselves.
namespace pqxx {
template <>
struct string_traits<std::string_view> {
  static constexpr const char* name() noexcept { return "string_view"; }
  static constexpr bool has_null() noexcept { return false; }
  static bool is_null(std::string_view) { return false; }
  static std::string to_string(std::string_view value) { return std::string(value); }
};
}  // namespace pqxx
#endif

namespace shop::postgres {

struct Settings {
  std::string host;
  uint16_t port = 5432;
  std::string user;
  std::string password;
  std::string database;
  int connections = 8;           // POSTGRES_CONNECTIONS
  std::string application = {};  // what pg_stat_activity shows
  // How long a caller waits for a free connection, and for a new one to open.
  std::chrono::milliseconds acquire_timeout{3'000};
  std::chrono::seconds connect_timeout{3};
  // The server ends a statement that takes longer.
  std::chrono::milliseconds statement_timeout{10'000};

  // POSTGRES_HOST, POSTGRES_PORT, POSTGRES_USER (by default the service's name),
  // POSTGRES_PASSWORD(_FILE), POSTGRES_CONNECTIONS; the database has the service's name.
  static Settings Read(Env& env, const std::string& service);
};

// SQL text with static storage. Prepared on each connection at its first use there.
struct Statement {
  consteval Statement(const char* sql) : sql(sql) {}
  // Of text made at run time, which is kept for as long as the process: for a bounded number of
  // texts.
  static Statement Kept(const std::string& sql);

  const char* sql;

 private:
  struct Text {};
  constexpr Statement(Text, const char* text) : sql(text) {}
};

// No connection came free in time.
class PoolTimeout : public Unavailable {
 public:
  using Unavailable::Unavailable;
};

// The connection broke while the commit was under way: it may have been kept or not. Never repeated
// by InTransaction; who repeats it must recognise its own work.
class CommitUnknown : public Unavailable {
 public:
  using Unavailable::Unavailable;
};

// One open transaction, or one read outside of any. Used by the thread that got it.
class Tx {
 public:
  // Runs a prepared statement. Parameters: integers, bool, double, std::string, std::string_view,
  // const char* (nullptr is NULL) and std::optional of these.
  template <typename... Args>
  pqxx::result Exec(const Statement& statement, const Args&... args) {
    return Noting(statement.sql,
                  [&] { return transaction_.exec_prepared(Prepared(statement), args...); });
  }
  // Runs text with parameters of the same kinds, planned for their very values and not prepared.
  template <typename... Args>
  pqxx::result ExecOnce(const std::string& sql, const Args&... args) {
    return Noting(sql, [&] { return transaction_.exec_params(sql, args...); });
  }
  // Runs text that is not prepared, such as DDL or several statements.
  pqxx::result Run(const std::string& sql) {
    return Noting(sql, [&] { return transaction_.exec(sql); });
  }
  // Tells those who subscribed to this name (Pool::Subscribe), once this transaction has committed.
  // Again in the same transaction does nothing more.
  void SignalCommit(std::string_view name) { signals_.emplace(name); }
  // For what the above cannot do, such as a pqxx::subtransaction.
  pqxx::transaction_base& raw() { return transaction_; }

 private:
  friend class Pool;
  struct Session;

  Tx(Session& session, pqxx::transaction_base& transaction)
      : session_(session), transaction_(transaction) {}

  // PostgreSQL answers COMMIT with a silent rollback once a statement has failed; remembering the
  // failure keeps work that swallows the exception from being taken for kept.
  template <typename Execute>
  pqxx::result Noting(std::string_view sql, const Execute& execute) {
    failed_ = true;
    KeepToDeadline();
    Span span(SpanKind::kClient, "SQL");
    if (span) Describe(sql, &span);
    pqxx::result result = execute();
    failed_ = false;
    return result;
  }
  const std::string& Prepared(const Statement& statement);
  static void Describe(std::string_view sql, Span* span);
  // Throws Unavailable once the caller's deadline has passed.
  static void KeepToDeadline();

  Session& session_;
  pqxx::transaction_base& transaction_;
  bool failed_ = false;
  std::set<std::string> signals_;
};

// Thread-safe.
class Pool {
 public:
  // Opens connections when they are first needed, and new ones in the place of those that broke.
  explicit Pool(Settings settings);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // Calls `callback` after each commit of a transaction that called Tx::SignalCommit(name): once for
  // each, on the thread that committed, before InTransaction returns. Not after a rollback; not when
  // it is unknown whether the commit was kept; and for work that was repeated, once in all. It must
  // return at once, not throw, and not use the pool. Subscribed until the answer is destroyed, which
  // waits for calls under way; the pool must outlive it.
  [[nodiscard]] std::shared_ptr<const void> Subscribe(const std::string& name,
                                                      std::function<void()> callback);

  // What Read and InTransaction below are made of; `work` says whether to commit.
  void RunOutside(const std::function<void(Tx&)>& work);
  void RunInTransaction(const std::function<bool(Tx&)>& work);

 private:
  struct State;
  class Lease;

  template <typename Transaction>
  void Run(const std::function<bool(Tx&)>& work);

  std::unique_ptr<State> state_;
};

namespace internal {
template <typename T>
bool Commits(const T&) {
  return true;
}
template <typename T>
bool Commits(const Result<T>& result) {
  return static_cast<bool>(result);
}
}  // namespace internal

// Runs `work(Tx&)` outside a transaction: one statement, no BEGIN and COMMIT on the wire. For
// reading alone, as it is run again when its connection is found dead.
template <typename Work>
auto Read(Pool& pool, Work&& work) {
  using Answer = std::invoke_result_t<Work&, Tx&>;
  std::optional<Answer> answer;
  pool.RunOutside([&](Tx& tx) { answer.emplace(work(tx)); });
  return Answer(*std::move(answer));
}

// Runs `work(Tx&)` in a transaction and answers what it answers: a Result<T>, which decides between
// commit and rollback, or any other type (or none), which commits. Runs it again (a few times, with
// a short pause) only after an error that proves nothing was kept: serialization failure, deadlock,
// or a connection found dead before the commit was sent. A commit whose outcome is unknown throws
// CommitUnknown. Work that swallows the failure of a statement cannot commit: std::logic_error.
template <typename Work>
auto InTransaction(Pool& pool, Work&& work) {
  using Answer = std::invoke_result_t<Work&, Tx&>;
  if constexpr (std::is_void_v<Answer>) {
    pool.RunInTransaction([&](Tx& tx) {
      work(tx);
      return true;
    });
  } else {
    std::optional<Answer> answer;
    pool.RunInTransaction([&](Tx& tx) {
      answer.emplace(work(tx));
      return internal::Commits(*answer);
    });
    return Answer(*std::move(answer));
  }
}

// Throws unless the database answers within two seconds, a wait for a connection included.
void Ping(Pool& pool);

// A parameter for `= ANY($1)` and unnest($1), with a cast to bigint[] or text[] in the SQL.
std::string Array(const std::vector<int64_t>& values);
std::string Array(const std::vector<std::string>& values);

}  // namespace shop::postgres
