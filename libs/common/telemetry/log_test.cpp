#include "common/telemetry/log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>
#include <map>
#include <sstream>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace shop::log {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

std::string Logged(const std::function<void()>& work) {
  testing::internal::CaptureStdout();
  work();
  Flush();
  return testing::internal::GetCapturedStdout();
}

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream all(text);
  for (std::string line; std::getline(all, line);) lines.push_back(line);
  return lines;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Logs from four threads, `each` lines in each of them.
void LogInThreads(
    int each, const std::function<void(int)>& after_line = [](int) {}) {
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (int number = 0; number < each; ++number) {
        Info("counted", {{"thread", thread}, {"number", number}});
        after_line(number);
      }
    });
  }
}

// Each line is whole, and those of each thread are all there, in order.
void CheckLinesOfThreads(const std::vector<std::string>& lines, int each) {
  std::map<int, int> next;
  for (const std::string& line : lines) {
    int thread = 0;
    int number = 0;
    const size_t fields = line.find(R"(,"thread":)");
    ASSERT_TRUE(line.starts_with(R"({"time":")") && fields != std::string::npos) << line;
    ASSERT_EQ(std::sscanf(line.c_str() + fields, R"(,"thread":%d,"number":%d)", &thread, &number),
              2);
    ASSERT_EQ(line.substr(fields), R"(,"thread":)" + std::to_string(thread) + R"(,"number":)" +
                                       std::to_string(number) + "}");
    ASSERT_EQ(number, next[thread]++) << line;
  }
  EXPECT_EQ(next, (std::map<int, int>{{0, each}, {1, each}, {2, each}, {3, each}}));
}

// A file for the log of a process of its own: this kind of test runs in a child, so that standard
// output of this one stays what it is. They come first, while there is no other thread.
class LogDeathTest : public testing::Test {
 protected:
  LogDeathTest() { std::filesystem::create_directories(folder_); }
  ~LogDeathTest() override { std::filesystem::remove_all(folder_); }

  // Ends the child, which has just said what it has to.
  [[noreturn]] static void End() {
    Flush();
    std::_Exit(0);
  }

  std::string folder_ = testing::TempDir() + "log_test." + std::to_string(getpid());
  std::string file_ = folder_ + "/own.log";
};

TEST_F(LogDeathTest, RotationKeepsEveryLineAndWhatElseGoesToTheStandardStreams) {
  constexpr size_t kMost = 100'000;
  const auto work = [&] {
    WriteTo(file_, kMost);
    LogInThreads(350, [](int number) {
      if (number % 50 == 0) Flush();
    });
    Flush();
    std::fputs("last words", stderr);
    End();
  };
  EXPECT_EXIT(work(), testing::ExitedWithCode(0), "");
  std::string younger = ReadFile(file_);
  ASSERT_TRUE(younger.ends_with("last words")) << younger;
  younger.resize(younger.size() - std::string("last words").size());
  const std::string older = ReadFile(file_ + ".1");
  EXPECT_GT(older.size(), 0);
  EXPECT_LE(older.size(), kMost);
  EXPECT_LE(younger.size(), kMost);
  CheckLinesOfThreads(Lines(older + younger), 350);
}

TEST_F(LogDeathTest, AnotherProcessWithTheSameFileMayHaveRotatedIt) {
  const auto work = [&] {
    WriteTo(file_, 200);
    Info("the old one", {{"text", std::string(100, 'x')}});
    Flush();
    std::filesystem::rename(file_, file_ + ".1");
    std::ofstream(file_) << "of the other process\n";
    Info("the new one");
    End();
  };
  EXPECT_EXIT(work(), testing::ExitedWithCode(0), "");
  EXPECT_NE(ReadFile(file_ + ".1").find("the old one"), std::string::npos);
  const std::vector<std::string> lines = Lines(ReadFile(file_));
  ASSERT_EQ(lines.size(), 2);
  EXPECT_EQ(lines[0], "of the other process");
  EXPECT_NE(lines[1].find("the new one"), std::string::npos);
}

TEST_F(LogDeathTest, ItsEndWritesWhatWaits) {
  const auto exit = [&] {
    WriteTo(file_);
    Info("the last line");
    std::exit(0);
  };
  EXPECT_EXIT(exit(), testing::ExitedWithCode(0), "");
  EXPECT_NE(ReadFile(file_).find("the last line"), std::string::npos);
}

TEST_F(LogDeathTest, ACrashWritesWhatWaits) {
  const auto crash = [&] {
    WriteTo(file_);
    Info("the line before");
    std::abort();
  };
  EXPECT_EXIT(crash(), testing::KilledBySignal(SIGABRT), "");
  EXPECT_NE(ReadFile(file_).find("the line before"), std::string::npos);
}

TEST_F(LogDeathTest, ALineThatFitsInPartDoesNotSpoilTheNextOne) {
  const auto work = [&] {
    WriteTo(file_);
    rlimit limit{};
    getrlimit(RLIMIT_FSIZE, &limit);
    const rlim_t before = std::exchange(limit.rlim_cur, 150);
    setrlimit(RLIMIT_FSIZE, &limit);
    Info("fits", {{"number", 1}});
    Info("fits in part", {{"number", 2}});
    Flush();
    limit.rlim_cur = before;
    setrlimit(RLIMIT_FSIZE, &limit);
    Info("fits again", {{"number", 3}});
    End();
  };
  EXPECT_EXIT(work(), testing::ExitedWithCode(0), "");
  const std::vector<std::string> lines = Lines(ReadFile(file_));
  ASSERT_EQ(lines.size(), 4);
  EXPECT_TRUE(lines[0].ends_with("\"number\":1}")) << lines[0];
  EXPECT_TRUE(lines[2].ends_with("\"number\":3}")) << lines[2];
  EXPECT_TRUE(lines[3].ends_with(R"("message":"log lines were dropped","lines":1})")) << lines[3];
}

TEST_F(LogDeathTest, AFileThatCannotBeOpenedIsSaid) {
  EXPECT_THROW(WriteTo(folder_ + "/is/not/there.log"), std::system_error);
}

TEST(Log, WritesOneJsonLineWithTypedFields) {
  Init("orders", Level::kInfo);
  const std::string line = Logged([] {
    Info("order placed", {{"orderId", 7}, {"late", false}, {"user", "ann"}});
  });
  EXPECT_NE(
      line.find(
          R"("process":"orders","message":"order placed","orderId":7,"late":false,"user":"ann"})"
          "\n"),
      std::string::npos)
      << line;
}

TEST(Log, NumbersAreThoseOfJson) {
  const std::string line = Logged([] {
    Info("numbers", {{"least", std::numeric_limits<int64_t>::min()},
                     {"most", std::numeric_limits<uint64_t>::max()},
                     {"ms", 0.083214},
                     {"none", std::nan("")}});
  });
  const std::string shown =
      R"("least":-9223372036854775808,"most":18446744073709551615,"ms":0.083214,"none":null})"
      "\n";
  EXPECT_TRUE(line.ends_with(shown)) << line;
}

TEST(Log, ATimeIsThatOfItsLine) {
  const auto shown = [] {
    std::tm utc{};
    int millis = 0;
    const std::string line = Logged([] { Info("now"); });
    EXPECT_EQ(
        std::sscanf(line.c_str(), R"({"time":"%d-%d-%dT%d:%d:%d.%3dZ")", &utc.tm_year, &utc.tm_mon,
                    &utc.tm_mday, &utc.tm_hour, &utc.tm_min, &utc.tm_sec, &millis),
        7)
        << line;
    utc.tm_year -= 1900;
    utc.tm_mon -= 1;
    return milliseconds(int64_t{timegm(&utc)} * 1000 + millis);
  };
  const auto now = [] {
    return std::chrono::duration_cast<milliseconds>(
        std::chrono::system_clock::now().time_since_epoch());
  };
  for (int turn = 0; turn < 4; ++turn) {
    const milliseconds before = now();
    const milliseconds line = shown();
    EXPECT_LE(before, line);
    EXPECT_LE(line, now());
    std::this_thread::sleep_for(milliseconds(400));  // into another second
  }
}

TEST(Log, EscapesWhatWouldBreakTheLine) {
  const std::string line = Logged([] { Info("a\"b\\c\nd\x01\x7f", {}); });
  EXPECT_NE(line.find(R"("message":"a\"b\\c\nd\u0001\u007f")"), std::string::npos) << line;
}

TEST(Log, WritesTheBeginningOfALongText) {
  const std::string line = Logged([] {
    Info("request", {{"path", "/" + std::string(16000, 'x')}, {"status", 404}});
  });
  const std::string shown = "\"/" + std::string(1023, 'x') + "… (16001 bytes)\",\"status\":404}\n";
  EXPECT_TRUE(line.ends_with(shown)) << line;
  // The cut does not go through a character.
  const std::string wide = Logged([] { Info(std::string(1022, 'x') + "\U0001F600", {}); });
  EXPECT_NE(wide.find(std::string(1022, 'x') + "… (1026 bytes)\""), std::string::npos) << wide;
  EXPECT_NE(Logged([] { Info(std::string(1024, 'y')); }).find(std::string(1024, 'y') + "\""),
            std::string::npos);
}

TEST(Log, LeavesOutWhatIsBelowTheLevel) {
  Init("orders", Level::kWarning);
  EXPECT_EQ(Logged([] { Info("quiet"); }), "");
  Init("orders", Level::kInfo);
}

TEST(Log, AScopeAddsItsFieldsUntilItEnds) {
  {
    // Its fields need not last as long as it does.
    const Scope scope({{"traceId", std::string("abc")}});
    {
      const Scope inner({{"orderId", 7}});
      EXPECT_NE(Logged([] { Info("inner"); }).find(R"(,"traceId":"abc","orderId":7})"),
                std::string::npos);
    }
    EXPECT_NE(Logged([] { Info("inside"); }).find(R"(,"traceId":"abc"})"), std::string::npos);
  }
  EXPECT_EQ(Logged([] { Info("outside"); }).find("traceId"), std::string::npos);
}

TEST(Log, LinesOfManyThreadsAreWholeAndInOrder) {
  CheckLinesOfThreads(Lines(Logged([] { LogInThreads(1000); })), 1000);
}

// Standard output is a pipe, until the end. What one call has written is read by one call.
class Pipe {
 public:
  Pipe() {
    Flush();
    std::fflush(stdout);
    int ends[2] = {};
    if (pipe2(ends, O_CLOEXEC | O_DIRECT) != 0) std::abort();
    dup2(ends[1], STDOUT_FILENO);
    close(ends[1]);
    reader_ = ends[0];
  }
  ~Pipe() {
    Restore();
    CloseReader();
  }
  void Restore() { dup2(before_, STDOUT_FILENO); }
  void CloseReader() {
    if (reader_ >= 0) close(std::exchange(reader_, -1));
  }
  // What comes in one piece, of 4 KB at most.
  std::string Read() const {
    std::string text(4096, '\0');
    text.resize(static_cast<size_t>(read(reader_, text.data(), text.size())));
    return text;
  }

 private:
  int before_ = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
  int reader_ = -1;
};

TEST(Log, LinesAreWrittenTogetherAndWarningsAtOnce) {
  size_t most_together = 0;
  auto soonest = steady_clock::duration::max();
  bool in_order = true;
  {
    const Pipe out;
    // Several turns, as this thread may have had to wait in one of them.
    for (int turn = 0; turn < 10; ++turn) {
      for (int line = 0; line < 10; ++line) Info("one of ten");
      for (size_t read = 0; read < 10;) {
        const size_t together = Lines(out.Read()).size();
        most_together = std::max(most_together, together);
        read += together;
      }
      std::this_thread::sleep_for(milliseconds(60));
      const auto begun = steady_clock::now();
      Info("before it");
      Warning("a warning");
      std::string text;
      while (text.find("a warning") == std::string::npos) text += out.Read();
      soonest = std::min(soonest, steady_clock::now() - begun);
      in_order = in_order && text.find("before it") < text.find("a warning");
    }
  }
  EXPECT_EQ(most_together, 10);
  EXPECT_LT(soonest, milliseconds(40));
  EXPECT_TRUE(in_order);
}

TEST(Log, AReaderThatStandsStillHoldsUpNobodyAndIsToldWhatItMissed) {
  const std::string text(1000, 'x');
  std::string read;
  int logged = 0;
  uint64_t dropped = Dropped();
  uint64_t dropped_loud = 0;
  {
    Pipe out;
    for (; Dropped() < dropped + 100; ++logged)
      Info("it waits", {{"number", logged}, {"text", text}});
    dropped = Dropped() - dropped;
    Warning("there is room for a warning", {{"text", text}});
    dropped_loud = Dropped();
    std::jthread reader([&] {
      while (read.find("log lines were dropped") == std::string::npos) read += out.Read();
    });
  }
  EXPECT_EQ(dropped, 100);
  EXPECT_EQ(Dropped(), dropped_loud) << "the warning was dropped";
  const std::vector<std::string> lines = Lines(read);
  const size_t kept = static_cast<size_t>(logged) - 100;
  EXPECT_GT(kept, 7000);
  ASSERT_EQ(lines.size(), kept + 2);
  for (size_t number = 0; number < kept; ++number) {
    const std::string field = ",\"number\":" + std::to_string(number) + ",";
    ASSERT_NE(lines[number].find(field), std::string::npos) << lines[number];
  }
  EXPECT_NE(lines[kept].find("room for a warning"), std::string::npos) << lines[kept];
  EXPECT_TRUE(lines[kept + 1].ends_with(R"("message":"log lines were dropped","lines":100})"))
      << lines[kept + 1];
}

TEST(Log, WhatCannotBeWrittenIsCounted) {
  const uint64_t before = Dropped();
  std::string after;
  {
    Pipe out;
    out.CloseReader();
    Info("nobody is there");
    Info("nobody is there");
    Flush();
    out.Restore();
    after = Logged([] { Info("somebody is"); });
  }
  EXPECT_EQ(Dropped(), before + 2);
  EXPECT_NE(after.find(R"("message":"log lines were dropped","lines":2})"), std::string::npos)
      << after;
}

}  // namespace
}  // namespace shop::log
