#include "common/telemetry/process_metrics.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <ctime>
#include <stdexcept>
#include <string>
#include <thread>

namespace shop {
namespace {

double Value(const std::string& name) {
  for (const prometheus::MetricFamily& family : ProcessMetrics()) {
    if (family.name != name) continue;
    const prometheus::ClientMetric& metric = family.metric.at(0);
    return family.type == prometheus::MetricType::Counter ? metric.counter.value
                                                          : metric.gauge.value;
  }
  throw std::out_of_range(name);
}

TEST(ProcessMetrics, CpuTimeIsThatOfTheProcess) {
  const double before = Value("process_cpu_seconds_total");
  const auto used = [] { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; };
  for (const double begun = used(); used() < begun + 0.1;) continue;
  EXPECT_GT(Value("process_cpu_seconds_total"), before + 0.05);
  EXPECT_LT(Value("process_cpu_seconds_total"), used() + 0.1);
}

TEST(ProcessMetrics, MemoryIsWhatIsInUse) {
  constexpr size_t kSize = 64 << 20;
  const double before = Value("process_resident_memory_bytes");
  void* memory = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  std::memset(memory, 1, kSize);
  const double with = Value("process_resident_memory_bytes");
  munmap(memory, kSize);
  EXPECT_GT(with, before + kSize * 0.9);
  EXPECT_LT(with, before + kSize * 4.0);
}

TEST(ProcessMetrics, OpenFilesAndThreadsAreCounted) {
  const double files = Value("process_open_fds");
  const double threads = Value("process_threads");
  const int opened = open("/dev/null", O_RDONLY);
  std::atomic<bool> end = false;
  std::thread thread([&] {
    while (!end) std::this_thread::yield();
  });
  EXPECT_EQ(Value("process_open_fds"), files + 1);
  EXPECT_EQ(Value("process_threads"), threads + 1);
  end = true;
  thread.join();
  close(opened);
  EXPECT_GT(Value("process_max_fds"), Value("process_open_fds"));
}

TEST(ProcessMetrics, TheStartIsATimeOfTheClock) {
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  const double start = Value("process_start_time_seconds");
  EXPECT_LT(start, now.count() + 1);
  EXPECT_GT(start, now.count() - 3600);
  EXPECT_EQ(Value("process_start_time_seconds"), start);
}

}  // namespace
}  // namespace shop
