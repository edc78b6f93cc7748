#include "common/telemetry/process_metrics.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <sstream>
#include <string>

#include "common/telemetry/log.h"

namespace shop {
namespace {

// What is used of /proc/self/stat (proc(5)).
struct Stat {
  double cpu_ticks = 0;
  double threads = 0;
  double start_ticks = 0;  // since the machine's start
  double resident_pages = 0;
};

Stat ReadStat() {
  std::ifstream file("/proc/self/stat");
  std::string line;
  std::getline(file, line);
  // The second field is a name, and may hold anything: what follows it is counted from 3.
  std::istringstream rest(line.substr(line.rfind(')') + 1));
  std::string text;
  Stat stat;
  for (int field = 3; rest >> text; ++field) {
    if (field == 14 || field == 15) stat.cpu_ticks += std::stod(text);
    if (field == 20) stat.threads = std::stod(text);
    if (field == 22) stat.start_ticks = std::stod(text);
    if (field == 24) stat.resident_pages = std::stod(text);
  }
  return stat;
}

double OpenFiles() {
  DIR* folder = opendir("/proc/self/fd");
  if (folder == nullptr) return 0;
  int entries = 0;
  while (readdir(folder) != nullptr) ++entries;
  closedir(folder);
  return entries - 3;  // ".", ".." and that of the folder
}

double MostOpenFiles() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<double>(limit.rlim_cur);
}

// In seconds since 1970. Computed once: the machine's clock may be set meanwhile.
double StartTime(const Stat& stat, double ticks_a_second) {
  static const double start = [&] {
    double since_boot = 0;
    std::ifstream("/proc/uptime") >> since_boot;
    const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
    return now.count() - since_boot + stat.start_ticks / ticks_a_second;
  }();
  return start;
}

prometheus::MetricFamily Family(const char* name, const char* help, prometheus::MetricType type,
                                double value) {
  prometheus::ClientMetric metric;
  if (type == prometheus::MetricType::Counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
  return {name, help, type, {metric}};
}

}  // namespace

std::vector<prometheus::MetricFamily> ProcessMetrics() {
  using prometheus::MetricType;
  const Stat stat = ReadStat();
  const auto ticks_a_second = static_cast<double>(sysconf(_SC_CLK_TCK));
  return {
      Family("process_cpu_seconds_total", "CPU time used, by the process and for it by the system",
             MetricType::Counter, stat.cpu_ticks / ticks_a_second),
      Family("process_resident_memory_bytes", "Memory in use", MetricType::Gauge,
             stat.resident_pages * static_cast<double>(sysconf(_SC_PAGESIZE))),
      Family("process_open_fds", "Open files and sockets", MetricType::Gauge, OpenFiles()),
      Family("process_max_fds", "How many may be open", MetricType::Gauge, MostOpenFiles()),
      Family("process_threads", "Threads", MetricType::Gauge, stat.threads),
      Family("process_start_time_seconds", "When the process started, in seconds since 1970",
             MetricType::Gauge, StartTime(stat, ticks_a_second)),
      Family("log_lines_dropped_total", "Lines of the log that could not be written",
             MetricType::Counter, static_cast<double>(log::Dropped())),
  };
}

}  // namespace shop
