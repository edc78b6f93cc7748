#include "reconciler/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string_view>

#include "common/telemetry/log.h"
#include "common/telemetry/metrics.h"

namespace shop::reconciler {
namespace {

prometheus::Gauge& DriftOf(Kind kind) {
  static auto& family = GaugeFamily(
      "reconciler_drift", "Contradictions between services, their topics and the payment provider");
  return family.Add({{"kind", std::string(Text(kind))}});
}

prometheus::Counter& RunsWith(const std::string& result) {
  static auto& family = CounterFamily("reconciler_runs_total", "Runs by what has come of them");
  return family.Add({{"result", result}});
}

prometheus::Gauge& SecondsOfRun() {
  static auto& family = GaugeFamily("reconciler_run_seconds", "How long the last whole run took");
  return family.Add({});
}

prometheus::Gauge& TimeOfRun() {
  static auto& family = GaugeFamily("reconciler_last_run_timestamp_seconds",
                                    "When the last whole run ended, in seconds since 1970");
  return family.Add({});
}

std::string ResultOf(const Report& report) {
  if (!report.drifts.empty()) return "drift";
  return report.undecided > 0 ? "undecided" : "clean";
}

double SecondsSince1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

void PrintTable(const Report& report, std::ostream& out) {
  size_t kind_width = 4;
  size_t subject_width = 5;
  for (const Drift& drift : report.drifts) {
    kind_width = std::max(kind_width, Text(drift.kind).size());
    subject_width = std::max(subject_width, drift.subject.size());
  }
  const auto line = [&](std::string_view kind, std::string_view subject, std::string_view detail) {
    out << fmt::format("{:<{}}  {:<{}}  {}\n", kind, kind_width, subject, subject_width, detail);
  };
  if (!report.drifts.empty()) line("kind", "about", "what each side says");
  for (const Drift& drift : report.drifts) line(Text(drift.kind), drift.subject, drift.detail);
  out << fmt::format("{} drift: {} orders, {} products and {} events compared\n",
                     report.drifts.empty() ? "no" : std::to_string(report.drifts.size()),
                     report.orders, report.products, report.events);
  if (report.undecided > 0) {
    out << fmt::format("{} more could not be decided: {}\n", report.undecided,
                       report.why_undecided);
  }
}

int ExitCodeOf(const Report& report) {
  if (!report.drifts.empty()) return 1;
  return report.undecided > 0 ? 2 : 0;
}

Reporter::Reporter() {
  for (const KindName& name : kKinds) DriftOf(name.kind).Set(0);
  for (const char* result : {"clean", "drift", "undecided", "unreadable"}) RunsWith(result);
  SecondsOfRun();
  TimeOfRun();
}

void Reporter::Tell(const Report& report, std::chrono::duration<double> took) {
  std::map<Kind, int> counts;
  std::set<std::pair<Kind, std::string>> now;
  for (const Drift& drift : report.drifts) {
    ++counts[drift.kind];
    if (!now.emplace(drift.kind, drift.subject).second ||
        told_.contains({drift.kind, drift.subject}))
      continue;
    log::Error("drift",
               {{"kind", Text(drift.kind)}, {"about", drift.subject}, {"detail", drift.detail}});
  }
  for (const KindName& name : kKinds) DriftOf(name.kind).Set(counts[name.kind]);
  if (report.undecided > 0) {
    log::Warning("a group is behind: what follows from its events could not be compared",
                 {{"undecided", report.undecided}, {"why", report.why_undecided}});
  }
  RunsWith(ResultOf(report)).Increment();
  SecondsOfRun().Set(took.count());
  TimeOfRun().Set(SecondsSince1970());
  told_ = std::move(now);
}

void Reporter::TellUnreadable(const std::string& why) {
  RunsWith("unreadable").Increment();
  log::Warning("could not compare everything", {{"error", why}});
}

}  // namespace shop::reconciler
