#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "common/core/process.h"
#include "common/telemetry/log.h"
#include "reconciler/config.h"
#include "reconciler/databases.h"
#include "reconciler/ledger.h"
#include "reconciler/reconciler.h"
#include "reconciler/report.h"
#include "reconciler/schedule.h"
#include "reconciler/topics.h"

namespace {

using namespace shop;
using namespace shop::reconciler;

std::vector<std::string> TopicNames() {
  std::vector<std::string> names;
  for (const Publisher& publisher : kPublishers) names.push_back(publisher.topic);
  return names;
}

// What a run needs.
struct Parts {
  explicit Parts(const Config& config)
      : databases(config.databases),
        ledger(config.provider_url, config.provider_api_key),
        topics(config.kafka, TopicNames()),
        reconciler(databases, ledger, topics, config.options) {}

  Databases databases;
  Ledger ledger;
  KafkaTopics topics;
  Reconciler reconciler;
};

int RunOnce() {
  Env env;
  const Config config = Config::Read(env);
  for (const std::string& problem : env.problems()) {
    std::cerr << "wrong setting: " << problem << "\n";
  }
  if (!env.problems().empty()) return 2;
  log::Init("reconciler", log::Level::kError);
  try {
    Parts parts(config);
    const Report report = parts.reconciler.Run();
    PrintTable(report, std::cout);
    return ExitCodeOf(report);
  } catch (const Unreadable& error) {
    std::cerr << "could not read " << error.what() << "\n";
    return 2;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "--once") return RunOnce();
  if (argc > 1) {
    std::cerr << "usage: reconciler [--once]\n";
    return 2;
  }
  Process process("reconciler");
  const Config config = Config::Read(process.env());
  process.Start();

  Parts parts(config);
  const auto watch = process.WatchReadiness("PostgreSQL", [&] { parts.databases.Ping(); });
  const Schedule schedule(parts.reconciler, config.every);
  process.AddDegradation("the last run", [&] { return schedule.healthy(); });
  return process.RunUntilStopped();
}
