#include "common/postgres/pool.h"

#include <algorithm>
#include <condition_variable>
#include <list>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <sstream>
#include <stdexcept>
#include <stop_token>
#include <thread>
#include <unordered_map>

#include "common/core/deadline.h"
#include "common/crypto/random.h"
#include "common/telemetry/log.h"
#include "common/telemetry/metrics.h"

namespace shop::postgres {
namespace {

using std::chrono::milliseconds;

constexpr int kConflictAttempts = 6;
constexpr int kConnectionAttempts = 3;
constexpr std::chrono::seconds kPingLimit{2};
constexpr std::string_view kQueryCanceled = "57014";
constexpr char kTooLate[] = "PostgreSQL: the caller's deadline has passed, or it was told to stop";

std::string Quoted(const std::string& value) {
  std::string out = "'";
  for (const char c : value) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out + "'";
}

std::string ConnectionString(const Settings& settings) {
  return "host=" + Quoted(settings.host) + " port=" + std::to_string(settings.port) +
         " user=" + Quoted(settings.user) + " password=" + Quoted(settings.password) +
         " dbname=" + Quoted(settings.database) +
         " application_name=" + Quoted(settings.application) +
         " connect_timeout=" + std::to_string(settings.connect_timeout.count()) +
         // A peer that vanished without a word is noticed after seconds, not after hours.
         " keepalives_idle=10 keepalives_interval=3 keepalives_count=3 tcp_user_timeout=15000"
         // Whoever walks through a table begins at its first row, so that a LIMIT has the same rows each
         // time. https://www.postgresql.org/docs/15/runtime-config-compatible.html
         " options=" +
         Quoted("-c statement_timeout=" + std::to_string(settings.statement_timeout.count()) +
                " -c idle_in_transaction_session_timeout=60000 -c client_min_messages=warning"
                " -c synchronize_seqscans=off");
}

// The database cannot answer now, whatever it is asked: it stops or starts, has no room for another
// connection, or ended a statement that took too long.
bool IsAway(const std::string& sqlstate) {
  return sqlstate.starts_with("08") || sqlstate.starts_with("53") || sqlstate.starts_with("57");
}

// A prepared statement whose result another version's migration has changed: a fresh connection
// prepares it anew.
bool IsStalePlan(const std::exception& error) {
  return std::string_view(error.what()).find("cached plan must not change result type") !=
         std::string_view::npos;
}

void PauseBeforeAttempt(int attempt) {
  const int longest = 5 << std::min(attempt, 6);
  std::this_thread::sleep_for(
      milliseconds(std::uniform_int_distribution(longest / 2, longest)(ThreadRandom())));
}

}  // namespace

Statement Statement::Kept(const std::string& sql) {
  static std::mutex& mutex = *new std::mutex;
  static auto& texts = *new std::set<std::string>;  // its elements stay where they are
  const std::lock_guard lock(mutex);
  return {Text(), texts.insert(sql).first->c_str()};
}

struct Tx::Session {
  explicit Session(const std::string& where) : connection(where) {
#if PQXX_VERSION_MAJOR < 7
    // A connection that came back by itself would go on outside the transaction it was in.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    connection.inhibit_reactivation(true);
#pragma GCC diagnostic pop
#endif
  }

  // A plan is kept for as long as its statement is prepared, and suits the tables as they were when it was made: of one
  // that is nearly empty it reads all. So plans are dropped each time the connection has worked twice as often, in which
  // tables do not grow much more than that. Outside of the transaction, which may have settings to begin with.
  void RenewPlans() {
    if (++transactions < renew_plans_at) return;
    renew_plans_at *= 2;
    pqxx::nontransaction(connection).exec("DISCARD PLANS");
  }

  pqxx::connection connection;
  std::unordered_map<const char*, std::string> prepared;  // by the address of the SQL
  int64_t transactions = 0;
  int64_t renew_plans_at = 16;
};

const std::string& Tx::Prepared(const Statement& statement) {
  const auto known = session_.prepared.find(statement.sql);
  if (known != session_.prepared.end()) return known->second;
  const std::string name = "s" + std::to_string(session_.prepared.size() + 1);
  session_.connection.prepare(name, statement.sql);
  return session_.prepared.emplace(statement.sql, name).first->second;
}

// https://opentelemetry.io/docs/specs/semconv/database/postgresql/
// The text may be shown: its values are parameters.
void Tx::Describe(std::string_view sql, Span* span) {
  constexpr size_t kLongestText = 500;
  std::istringstream words{std::string(sql)};
  std::string text, operation, table, last;
  for (std::string word; words >> word; last = word) {
    if (operation.empty()) operation = word;
    if (table.empty() && (last == "FROM" || last == "INTO" || last == "UPDATE") &&
        word.find_first_of("(,.;)") == std::string::npos) {
      table = word;
    }
    if (text.size() < kLongestText) text += (text.empty() ? "" : " ") + word;
  }
  span->Set("db.system.name", "postgresql");
  span->Set("db.operation.name", operation);
  span->Set("db.query.text", text);
  if (!table.empty()) span->Set("db.collection.name", table);
  span->Rename(table.empty() ? operation : operation + " " + table);
}

void Tx::KeepToDeadline() {
  if (DeadlineScope::HasPassed()) throw Unavailable(kTooLate);
}

namespace {

// Cancels what runs on a connection when its caller's deadline passes or its caller is stopped,
// from a thread of its own: only then does a deadline cost anything.
class Watchdog {
  using TimePoint = DeadlineScope::TimePoint;
  struct Watched {
    pqxx::connection* connection;
    TimePoint due;
    bool cancelling = false;
    bool cancelled = false;
  };
  using Place = std::list<Watched>::iterator;

 public:
  ~Watchdog() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_one();
    if (thread_.joinable()) thread_.join();
  }

  // Watches over a connection for as long as it lives. Once it is gone nothing is cancelled.
  class Guard {
   public:
    // Sets `cancelled` at its end where it has cancelled anything.
    Guard(Watchdog& watchdog, pqxx::connection& connection, bool* cancelled)
        : watchdog_(watchdog), cancelled_(cancelled) {
      const TimePoint deadline = DeadlineScope::Current();
      const std::stop_token& stop = DeadlineScope::Stop();
      if (deadline == TimePoint::max() && !stop.stop_possible()) return;
      watched_ = watchdog_.Add(connection, deadline);
      if (stop.stop_possible()) on_stop_.emplace(stop, [this] { watchdog_.CancelNow(*watched_); });
    }
    ~Guard() {
      on_stop_.reset();  // waits for it, should it be under way
      if (watched_) *cancelled_ = watchdog_.Remove(*watched_);
    }
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

   private:
    Watchdog& watchdog_;
    bool* cancelled_;
    std::optional<Place> watched_;
    std::optional<std::stop_callback<std::function<void()>>> on_stop_;
  };

 private:
  Place Add(pqxx::connection& connection, TimePoint due) {
    const std::lock_guard lock(mutex_);
    if (!thread_.joinable()) thread_ = std::thread([this] { Run(); });
    // Deadlines mostly come in their order, and the thread sleeps until an earlier one.
    if (due < asleep_until_) wake_.notify_one();
    return watched_.insert(watched_.end(), {&connection, due});
  }

  void CancelNow(Place place) {
    const std::lock_guard lock(mutex_);
    place->due = TimePoint::min();
    wake_.notify_one();
  }

  bool Remove(Place place) {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return !place->cancelling; });
    const bool cancelled = place->cancelled;
    watched_.erase(place);
    return cancelled;
  }

  void Run() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      const auto first = std::ranges::min_element(watched_, {}, &Watched::due);
      asleep_until_ = first == watched_.end() ? TimePoint::max() : first->due;
      if (asleep_until_ == TimePoint::max()) {
        wake_.wait(lock);
      } else if (asleep_until_ > std::chrono::steady_clock::now()) {
        wake_.wait_until(lock, asleep_until_);
      } else {
        Cancel(lock, *first);
      }
    }
  }

  // A cancellation that comes between two statements is lost, so it is repeated while there is
  // need.
  void Cancel(std::unique_lock<std::mutex>& lock, Watched& watched) {
    watched.cancelling = watched.cancelled = true;
    lock.unlock();
    try {
      watched.connection->cancel_query();
    } catch (const std::exception& error) {
      log::Warning("a statement past its deadline cannot be cancelled", {{"error", error.what()}});
    }
    lock.lock();
    watched.cancelling = false;
    watched.due = std::chrono::steady_clock::now() + milliseconds(100);
    done_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable done_;
  std::list<Watched> watched_;
  TimePoint asleep_until_ = TimePoint::max();
  bool stopping_ = false;
  std::thread thread_;
};

// What /metrics says of the pools that lead to one database.
struct Shown {
  explicit Shown(const std::string& database)
      : most(GaugeFamily("postgres_pool_connections_max", "Connections that a pool may have open")
                 .Add({{"database", database}})),
        in_use(GaugeFamily("postgres_pool_connections_in_use", "Connections in use")
                   .Add({{"database", database}})),
        waiting(GaugeFamily("postgres_pool_waiting", "Callers who wait for a connection")
                    .Add({{"database", database}})),
        wait_seconds(HistogramFamily("postgres_pool_wait_seconds",
                                     "How long callers waited until a connection was free")
                         .Add({{"database", database}}, DurationBuckets())) {}

  prometheus::Gauge& most;
  prometheus::Gauge& in_use;
  prometheus::Gauge& waiting;
  prometheus::Histogram& wait_seconds;
};

}  // namespace

struct Pool::State {
  explicit State(Settings chosen)
      : settings(std::move(chosen)), where(ConnectionString(settings)), shown(settings.database) {
    shown.most.Increment(settings.connections);
  }
  ~State() { shown.most.Decrement(settings.connections); }

  Settings settings;
  std::string where;
  Shown shown;
  std::mutex mutex;
  std::condition_variable_any freed;
  std::vector<std::unique_ptr<Tx::Session>> idle;
  int open = 0;  // idle, in use or being opened
  Watchdog watchdog;
  std::mutex subscribers_mutex;
  std::multimap<std::string, std::function<void()>> subscribers;

  void Deliver(const std::set<std::string>& signals) noexcept {
    if (signals.empty()) return;
    const std::lock_guard lock(subscribers_mutex);
    for (const std::string& name : signals) {
      const auto [begin, end] = subscribers.equal_range(name);
      for (auto subscriber = begin; subscriber != end; ++subscriber) subscriber->second();
    }
  }
};

// A connection for as long as it is in use.
class Pool::Lease {
 public:
  explicit Lease(State& state) : state_(state) {
    std::unique_lock lock(state_.mutex);
    const auto usable = [&] {
      return !state_.idle.empty() || state_.open < state_.settings.connections;
    };
    if (usable()) {
      state_.shown.wait_seconds.Observe(0);
    } else if (!Wait(lock, usable)) {
      throw PoolTimeout("all " + std::to_string(state_.settings.connections) +
                        " connections to PostgreSQL are in use");
    }
    if (!state_.idle.empty()) {
      session_ = std::move(state_.idle.back());
      state_.idle.pop_back();
      state_.shown.in_use.Increment();
      return;
    }
    if (DeadlineScope::HasPassed()) throw Unavailable(kTooLate);  // opening one may take long
    ++state_.open;
    lock.unlock();
    try {
      session_ = std::make_unique<Tx::Session>(state_.where);
    } catch (const std::exception& error) {
      GiveBack(nullptr);
      throw Unavailable(std::string("cannot connect to PostgreSQL: ") + error.what());
    }
    state_.shown.in_use.Increment();
  }
  ~Lease() {
    state_.shown.in_use.Decrement();
    if (doubtful_ && session_) {
      session_.reset();
      GiveBack(nullptr);
    } else if (session_ && session_->connection.is_open()) {
      GiveBack(std::move(session_));
    } else {
      Discard();
    }
  }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

  Tx::Session& session() { return *session_; }
  bool alive() const { return session_ && session_->connection.is_open(); }
  // Whether to end the connection in the place of giving it back: a cancellation may be on its way
  // to it.
  bool& doubtful() { return doubtful_; }

  // Ends the connection and the idle ones, which most likely broke with it.
  void Discard() {
    if (!session_) return;
    std::vector<std::unique_ptr<Tx::Session>> suspects;
    {
      const std::lock_guard lock(state_.mutex);
      suspects.swap(state_.idle);
      state_.open -= static_cast<int>(suspects.size());
    }
    session_.reset();
    GiveBack(nullptr);
    state_.freed.notify_all();
  }

 private:
  // Whether one came free in time.
  template <typename Usable>
  bool Wait(std::unique_lock<std::mutex>& lock, const Usable& usable) {
    const auto begun = std::chrono::steady_clock::now();
    const auto latest = std::min(begun + state_.settings.acquire_timeout, DeadlineScope::Current());
    state_.shown.waiting.Increment();
    const bool came = state_.freed.wait_until(lock, DeadlineScope::Stop(), latest, usable);
    state_.shown.waiting.Decrement();
    const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - begun;
    state_.shown.wait_seconds.Observe(waited.count());
    return came;
  }

  void GiveBack(std::unique_ptr<Tx::Session> session) {
    {
      const std::lock_guard lock(state_.mutex);
      if (session) {
        state_.idle.push_back(std::move(session));
      } else {
        --state_.open;
      }
    }
    state_.freed.notify_one();
  }

  State& state_;
  std::unique_ptr<Tx::Session> session_;
  bool doubtful_ = false;
};

Settings Settings::Read(Env& env, const std::string& service) {
  Settings settings;
  settings.host = env.Text("POSTGRES_HOST", "localhost");
  settings.port = env.Port("POSTGRES_PORT", 5432);
  settings.user = env.Text("POSTGRES_USER", service);
  settings.password = env.RequiredSecret("POSTGRES_PASSWORD");
  settings.database = service;
  settings.connections = static_cast<int>(env.Integer("POSTGRES_CONNECTIONS", 8, 1, 1000));
  settings.application = service;
  return settings;
}

Pool::Pool(Settings settings) : state_(std::make_unique<State>(std::move(settings))) {}

Pool::~Pool() = default;

std::shared_ptr<const void> Pool::Subscribe(const std::string& name,
                                            std::function<void()> callback) {
  const std::lock_guard lock(state_->subscribers_mutex);
  const auto subscriber = state_->subscribers.emplace(name, std::move(callback));
  return {&subscriber->second, [state = state_.get(), subscriber](const void*) {
            const std::lock_guard lock(state->subscribers_mutex);
            state->subscribers.erase(subscriber);
          }};
}

void Pool::RunOutside(const std::function<void(Tx&)>& work) {
  Run<pqxx::nontransaction>([&](Tx& tx) {
    work(tx);
    return true;
  });
}

void Pool::RunInTransaction(const std::function<bool(Tx&)>& work) {
  Run<pqxx::work>(work);
}

namespace {

void Commit(pqxx::work& transaction) {
  const Span span(SpanKind::kClient, "COMMIT");
  transaction.commit();
}

void Commit(pqxx::nontransaction& transaction) {
  transaction.commit();  // says nothing to the server
}

}  // namespace

template <typename Transaction>
void Pool::Run(const std::function<bool(Tx&)>& work) {
  for (int attempt = 1;; ++attempt) {
    {
      Lease lease(*state_);
      bool committing = false;
      const auto away = [&](const std::exception& error) {
        throw Unavailable(std::string("PostgreSQL: ") + error.what());
      };
      // Nothing was kept when the connection broke before the commit, which was then rolled back by
      // the server.
      const auto broke = [&](const std::exception& error) {
        lease.Discard();
        if (committing) throw CommitUnknown(std::string("PostgreSQL: ") + error.what());
        if (attempt >= kConnectionAttempts) away(error);
      };
      const auto conflicted = [&](const std::exception& error) {
        if (attempt >= kConflictAttempts) away(error);
      };
      try {
        lease.session().RenewPlans();
        Transaction transaction(lease.session().connection);
        Tx tx(lease.session(), transaction);
        const bool keep = [&] {
          const Watchdog::Guard guard(state_->watchdog, lease.session().connection,
                                      &lease.doubtful());
          return work(tx);
        }();
        if (lease.doubtful()) {
          transaction.abort();
          throw Unavailable(kTooLate);
        }
        if (!keep) {
          transaction.abort();
          return;
        }
        if (tx.failed_) {
          throw std::logic_error("a transaction in which a statement failed cannot commit");
        }
        committing = true;
        Commit(transaction);
        state_->Deliver(tx.signals_);
        return;
      } catch (const pqxx::in_doubt_error& error) {
        committing = true;
        broke(error);
      } catch (const pqxx::serialization_failure& error) {
        conflicted(error);
      } catch (const pqxx::deadlock_detected& error) {
        conflicted(error);
      } catch (const pqxx::broken_connection& error) {
        broke(error);
      } catch (const pqxx::sql_error& error) {
        if (!lease.alive() || (IsStalePlan(error) && !committing)) {
          broke(error);
        } else if (IsAway(error.sqlstate())) {
          if (error.sqlstate() == kQueryCanceled) lease.doubtful() = false;  // it has arrived
          away(error);
        } else {
          throw;
        }
      } catch (const pqxx::failure& error) {
        if (lease.alive()) throw;
        broke(error);
      }
    }
    PauseBeforeAttempt(attempt);
  }
}

void Ping(Pool& pool) {
  const DeadlineScope limit(std::chrono::steady_clock::now() + kPingLimit);
  pool.RunOutside([](Tx& tx) { tx.Run("SELECT 1"); });
}

std::string Array(const std::vector<int64_t>& values) {
  std::string out = "{";
  for (const int64_t value : values) {
    if (out.size() > 1) out += ',';
    out += std::to_string(value);
  }
  return out + "}";
}

std::string Array(const std::vector<std::string>& values) {
  std::string out = "{";
  for (const std::string& value : values) {
    if (out.size() > 1) out += ',';
    out += '"';
    for (const char c : value) {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
    out += '"';
  }
  return out + "}";
}

}  // namespace shop::postgres
