// The frame of every process: signals, settings, readiness, the admin port, and an orderly end.
//
//   int main() {
//     Process process("orders");
//     const Config config = Config::Read(process.env());
//     process.Start();                       // exits 2, naming every wrong variable
//     postgres::Pool db(config.postgres);
//     process.WaitFor("PostgreSQL", [&] { postgres::Migrate(db, {…}); });
//     const auto watch = process.WatchReadiness("PostgreSQL", [&] { postgres::Ping(db); });
//     …                                      // build the other parts
//     return process.RunUntilStopped();      // then the parts are destroyed in reverse order
//   }
//
// SIGTERM and SIGINT make the process not ready and end RunUntilStopped and every wait below. A
// watchdog ends the process when its parts need more than ten seconds to close.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "common/core/env.h"

namespace shop {

class BackgroundCheck;

class Process {
 public:
  // Names the process (`orders`), blocks its signals and sets up the log (LOG_LEVEL, LOG_FILE). Call it
  // first in main, before any thread is started.
  explicit Process(std::string name);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  const std::string& name() const { return name_; }
  Env& env() { return env_; }

  // Refuses to go on when a setting was wrong, and opens the admin port: /healthz, /readyz,
  // /metrics.
  void Start();

  // Calls `attempt` until it does not throw, with a backoff from 0.1 s to 5 s, and logs why it failed.
  // Ends the process with code 0 on SIGTERM or SIGINT, and with code 1 when `attempt` throws
  // std::logic_error, which waiting would not mend.
  void WaitFor(std::string_view what, const std::function<void()>& attempt);

  // What /readyz says (telemetry/admin_server.h). A process is ready when it can answer calls or, if
  // it has none, do its one task. Background work that it cannot do makes it degraded: taking its
  // calls away would not get that work done sooner. docs/decisions/0022 has the reasons,
  // docs/runbook.md what each process checks.
  //
  // `check` is called from the admin thread and must not block.
  void AddReadiness(std::string what, std::function<bool()> check);
  void AddDegradation(std::string what, std::function<bool()> check);
  // The same for a check that may block, such as a query: `attempt` throws while `what` is away. A
  // thread of its own calls it every second, within a DeadlineScope, and keeps the outcome.
  // RunUntilStopped stops that thread, and the destructor of the result waits for it. So declare the
  // result after what `attempt` uses and before the server and the consumers: those close first then,
  // and an attempt that hangs takes none of their time. It should give up by itself within a second
  // or two.
  [[nodiscard]] std::shared_ptr<const BackgroundCheck> WatchReadiness(
      const std::string& what, std::function<void()> attempt);

  // Ready from here on. After SIGTERM or SIGINT no longer ready, and returns the exit code.
  int RunUntilStopped();

  bool stopping() const;

 private:
  struct State;
  std::string name_;
  Env env_;
  std::unique_ptr<State> state_;
};

}  // namespace shop
