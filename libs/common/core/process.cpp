#include "common/core/process.h"

#include <absl/strings/str_split.h>
#include <absl/synchronization/mutex.h>
#include <google/protobuf/stubs/logging.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "common/core/addresses.h"
#include "common/core/readiness.h"
#include "common/http/http_client.h"
#include "common/otlp/trace_exporter.h"
#include "common/telemetry/admin_server.h"
#include "common/telemetry/log.h"
#include "common/telemetry/metrics.h"

namespace shop {
namespace {

constexpr std::chrono::seconds kCloseLimit{10};

sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

// By itself libprotobuf writes to standard error, in a form of its own.
void LogOfProtobuf(google::protobuf::LogLevel level, const char* file, int line,
                   const std::string& message) {
  const log::Level ours = level >= google::protobuf::LOGLEVEL_ERROR     ? log::Level::kError
                          : level == google::protobuf::LOGLEVEL_WARNING ? log::Level::kWarning
                                                                        : log::Level::kInfo;
  log::Write(ours, "libprotobuf",
             {{"text", message}, {"at", std::string(file) + ":" + std::to_string(line)}});
}

// For when the parts cannot be destroyed any more, or need not be.
[[noreturn]] void EndWithoutParts(int code) {
  log::Flush();
  std::_Exit(code);
}

// OpenTelemetry's own names where it has one:
// https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
TraceExporter::Settings ReadTraces(Env& env, const std::string& process) {
  TraceExporter::Settings settings{.process = process,
                                   .endpoint = env.Text("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
                                   .ca_file = env.Text("OTEL_EXPORTER_OTLP_CERTIFICATE", "")};
  // name=value,name=value
  const std::string headers = env.Secret("OTEL_EXPORTER_OTLP_HEADERS").value_or("");
  const std::vector<std::string> pairs = absl::StrSplit(headers, ',', absl::SkipWhitespace());
  for (const std::string& header : pairs) {
    const size_t equals = std::min(header.find('='), header.size());
    settings.headers.push_back(header.substr(0, equals) + ": " +
                               header.substr(std::min(equals + 1, header.size())));
  }
  settings.selection.ratio = env.Ratio("OTEL_TRACES_SAMPLER_ARG", 0.1);
  settings.selection.slow =
      std::chrono::milliseconds(env.Integer("TRACES_SLOW_MS", 1'000, 0, 600'000));
  if (!settings.endpoint.empty() && !IsHttpUrl(settings.endpoint)) {
    env.Wrong("OTEL_EXPORTER_OTLP_ENDPOINT", "is no URL such as http://localhost:4318");
  }
  return settings;
}

}  // namespace

struct Process::State {
  std::mutex mutex;
  std::condition_variable changed;
  bool stopping = false;
  bool started = false;
  std::atomic<bool> running = false;
  Readiness readiness;
  std::vector<std::weak_ptr<BackgroundCheck>> watched;
  std::unique_ptr<AdminServer> admin;
  TraceExporter::Settings traces;
  std::unique_ptr<TraceExporter> exporter;
  std::thread signals;

  ReadinessReport Report() const {
    return running ? readiness.Report() : ReadinessReport{"starting or stopping", ""};
  }

  void AwaitSignal() {
    const sigset_t signals = StopSignals();
    int signal = 0;
    sigwait(&signals, &signal);
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    running = false;
    changed.notify_all();
    log::Info("stopping");
    std::thread([] {
      std::this_thread::sleep_for(kCloseLimit);
      log::Error("did not close in time");
      EndWithoutParts(1);
    }).detach();
  }
};

Process::Process(std::string name) : name_(std::move(name)), state_(std::make_unique<State>()) {
  // Every later thread inherits the mask, so that only the waiting thread sees these signals.
  const sigset_t signals = StopSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  // Debian's Abseil watches each of gRPC's locks for deadlocks, which costs some percent of a call.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);

  log::Level least = log::Level::kInfo;
  if (!log::ParseLevel(env_.Text("LOG_LEVEL", "info"), &least)) {
    env_.Wrong("LOG_LEVEL", "is none of debug, info, warning, error");
  }
  log::Init(name_, least);
  if (const std::string file = env_.Text("LOG_FILE", ""); !file.empty()) {
    try {
      log::WriteTo(file);
    } catch (const std::system_error& error) {
      env_.Wrong("LOG_FILE", std::string("cannot be opened: ") + error.what());
    }
  }
  google::protobuf::SetLogHandler(LogOfProtobuf);
  state_->traces = ReadTraces(env_, name_);
  state_->signals = std::thread([state = state_.get()] { state->AwaitSignal(); });
}

Process::~Process() {
  state_->admin.reset();
  state_->exporter.reset();
  if (state_->signals.joinable()) {
    if (!stopping()) pthread_kill(state_->signals.native_handle(), SIGTERM);
    state_->signals.join();
  }
  if (state_->started) log::Info("stopped");
}

void Process::Start() {
  const std::string host = env_.Text("BIND_HOST", "127.0.0.1");
  const uint16_t port = AdminPort(env_, name_);
  GaugeFamily("build_info", "1, with the version and the revision that the process was built from")
      .Add({{"version", env_.Text("SHOP_VERSION", "dev")},
            {"revision", env_.Text("SHOP_REVISION", "unknown")}})
      .Set(1);
  if (!env_.problems().empty()) {
    for (const std::string& problem : env_.problems()) log::Error("wrong setting: " + problem);
    EndWithoutParts(2);
  }
  try {
    state_->admin = std::make_unique<AdminServer>(
        host, port, [state = state_.get()] { return state->Report(); });
  } catch (const std::exception& error) {
    log::Error("cannot open the admin port",
               {{"host", host}, {"port", port}, {"error", error.what()}});
    EndWithoutParts(1);
  }
  TraceExporter::ShowMetrics();
  if (!state_->traces.endpoint.empty()) {
    state_->exporter = std::make_unique<TraceExporter>(state_->traces);
  }
  state_->started = true;
  log::Info("starting", {{"adminPort", port}, {"pid", getpid()}});
}

void Process::WaitFor(std::string_view what, const std::function<void()>& attempt) {
  std::chrono::milliseconds pause{100};
  for (;;) {
    try {
      attempt();
      return;
    } catch (const std::logic_error& error) {
      log::Error("waiting for " + std::string(what) + " would not help", {{"error", error.what()}});
      EndWithoutParts(1);
    } catch (const std::exception& error) {
      log::Warning("waiting for " + std::string(what), {{"error", error.what()}});
    }
    std::unique_lock lock(state_->mutex);
    if (state_->changed.wait_for(lock, pause, [&] { return state_->stopping; })) {
      log::Info("stopped while waiting for " + std::string(what));
      EndWithoutParts(0);
    }
    pause = std::min(pause * 2, std::chrono::milliseconds{5000});
  }
}

void Process::AddReadiness(std::string what, std::function<bool()> check) {
  state_->readiness.Require(std::move(what), std::move(check));
}

void Process::AddDegradation(std::string what, std::function<bool()> check) {
  state_->readiness.Prefer(std::move(what), std::move(check));
}

std::shared_ptr<const BackgroundCheck> Process::WatchReadiness(const std::string& what,
                                                               std::function<void()> attempt) {
  auto check = std::make_shared<BackgroundCheck>(what, std::move(attempt));
  AddReadiness(what, [check] { return check->ok(); });
  state_->watched.push_back(check);
  return check;
}

int Process::RunUntilStopped() {
  {
    std::unique_lock lock(state_->mutex);
    state_->running = !state_->stopping;
    if (state_->running) log::Info("ready");
    state_->changed.wait(lock, [&] { return state_->stopping; });
  }
  for (const auto& watched : state_->watched) {
    if (const auto check = watched.lock()) check->Stop();
  }
  // The checks belong to parts that are destroyed from here on.
  state_->readiness.Clear();
  return 0;
}

bool Process::stopping() const {
  const std::lock_guard lock(state_->mutex);
  return state_->stopping;
}

}  // namespace shop
