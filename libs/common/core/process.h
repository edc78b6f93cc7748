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
// SIGTERM and SIGINT make the process not ready, end RunUntilStopped and every wait below, and a
// watchdog ends the process should its parts need more than ten seconds to close.
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
  // Names the process (`orders`), blocks its signals and sets up the log. Call it first in main,
  // before any thread is started.
  explicit Process(std::string name);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  const std::string& name() const { return name_; }
  Env& env() { return env_; }

  // Refuses to go on when a setting was wrong, and opens the admin port: /healthz, /readyz,
  // /metrics.
  void Start();

  // Calls `attempt` until it does not throw, with backoff from 0.1 s to 5 s, logging why. Ends the
  // process with code 0 when it is told to stop meanwhile.
  void WaitFor(std::string_view what, const std::function<void()>& attempt);

  // What /readyz says (telemetry/admin_server.h). The rule: a process is ready when it can answer
  // calls, or do the one thing it is for where nobody calls it. What it does besides, in its own
  // time, makes it degraded while it cannot: nobody else would do that work sooner if it got no
  // calls. docs/decisions/0022 has the reasons, docs/runbook.md what each process looks at.
  //
  // `check` is called from the admin thread and must answer at once.
  void AddReadiness(std::string what, std::function<bool()> check);
  void AddDegradation(std::string what, std::function<bool()> check);
  // For what may take its time, such as asking a database: `attempt` throws while `what` is away. A
  // thread of its own calls it every second, within the scope of a stop (DeadlineScope), and remembers
  // how that went. RunUntilStopped tells that thread to stop, and the destructor of the answer waits
  // for it. So declare the answer after what `attempt` asks and before the server and the consumers:
  // those close first then, and an attempt that hangs takes none of their time. It should give up by
  // itself within a second or two.
  [[nodiscard]] std::shared_ptr<const BackgroundCheck> WatchReadiness(
      const std::string& what, std::function<void()> attempt);

  // Ready from here on; returns the exit code after SIGTERM or SIGINT, once not ready.
  int RunUntilStopped();

  bool stopping() const;

 private:
  struct State;
  std::string name_;
  Env env_;
  std::unique_ptr<State> state_;
};

}  // namespace shop
