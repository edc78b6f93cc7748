#include "common/telemetry/log.h"

#include <fcntl.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

namespace shop::log {
namespace {

using std::chrono::milliseconds;

// How much of a text is written: what clients send must not drive older lines out of the log.
constexpr size_t kLongestText = 1024;

// How long the writer lets lines come together, and how many bytes of them at most.
constexpr milliseconds kPause{50};
constexpr size_t kBatch = 64 << 10;
// Beyond these, lines are dropped: all, or those that are no warnings.
constexpr size_t kMostWaiting = 9 << 20;
constexpr size_t kMostQuiet = 8 << 20;
constexpr milliseconds kFlushLimit{1000};

// --- a line ---------------------------------------------------------------------------------------

std::string g_process = R"(,"process":"unnamed","message":)";
std::atomic<Level> g_least = Level::kInfo;

thread_local std::string t_scope;  // its fields, as they are written

constexpr std::array<bool, 256> kEscaped = [] {
  std::array<bool, 256> escaped{};
  for (size_t byte = 0; byte < 0x20; ++byte) escaped[byte] = true;
  escaped['"'] = escaped['\\'] = escaped[0x7f] = true;
  return escaped;
}();

// Control characters are escaped; bytes that are not UTF-8 pass through, as no reader of logs
// should lose a line over them.
void AppendString(std::string_view text, std::string* out) {
  static constexpr char kHex[] = "0123456789abcdef";
  out->push_back('"');
  size_t left = text.size();
  if (left > kLongestText) {
    left = kLongestText;
    while (left > kLongestText - 4 && (text[left] & 0xc0) == 0x80) --left;  // whole characters
  }
  size_t begin = 0;
  for (size_t at = 0; at < left; ++at) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (!kEscaped[byte]) continue;
    out->append(text, begin, at - begin);
    begin = at + 1;
    if (byte == '"' || byte == '\\') {
      out->push_back('\\');
      out->push_back(text[at]);
    } else if (byte == '\n') {
      out->append("\\n");
    } else {
      out->append("\\u00");
      out->push_back(kHex[byte >> 4]);
      out->push_back(kHex[byte & 15]);
    }
  }
  out->append(text, begin, left - begin);
  if (left < text.size()) out->append("… (").append(std::to_string(text.size())).append(" bytes)");
  out->push_back('"');
}

void AppendTime(std::string* out) {
  // Only its milliseconds change from one line to the next, for the most part.
  thread_local int64_t t_second = -1;
  thread_local char t_text[] = "1970-01-01T00:00:00.000Z";
  const int64_t now =
      std::chrono::duration_cast<milliseconds>(std::chrono::system_clock::now().time_since_epoch())
          .count();
  if (now / 1000 != t_second) {
    t_second = now / 1000;
    const std::time_t seconds = t_second;
    std::tm utc{};
    gmtime_r(&seconds, &utc);
    t_text[std::strftime(t_text, sizeof t_text, "%Y-%m-%dT%H:%M:%S", &utc)] = '.';
  }
  const auto millis = static_cast<int>(now % 1000);
  t_text[20] = static_cast<char>('0' + millis / 100);
  t_text[21] = static_cast<char>('0' + millis / 10 % 10);
  t_text[22] = static_cast<char>('0' + millis % 10);
  out->append(t_text, sizeof t_text - 1);
}

template <typename Number, typename... Format>
void AppendNumber(Number number, std::string* out, Format... format) {
  char text[32];
  out->append(text, std::to_chars(text, text + sizeof text, number, format...).ptr);
}

void AppendField(const Field& field, std::string* out) {
  out->append(",\"").append(field.key).append("\":");
  if (const auto* text = std::get_if<std::string_view>(&field.value)) {
    AppendString(*text, out);
  } else if (const auto* flag = std::get_if<bool>(&field.value)) {
    out->append(*flag ? "true" : "false");
  } else if (const auto* number = std::get_if<double>(&field.value)) {
    if (std::isfinite(*number)) {
      AppendNumber(*number, out, std::chars_format::general, 6);
    } else {
      out->append("null");  // JSON has no word for it
    }
  } else if (const auto* integer = std::get_if<int64_t>(&field.value)) {
    AppendNumber(*integer, out);
  } else {
    AppendNumber(std::get<uint64_t>(field.value), out);
  }
}

std::string Line(Level level, std::string_view message, std::initializer_list<Field> fields) {
  std::string line;
  line.reserve(512);
  line.append(R"({"time":")");
  AppendTime(&line);
  line.append(R"(","level":")").append(Name(level)).append("\"").append(g_process);
  AppendString(message, &line);
  line.append(t_scope);
  for (const Field& field : fields) AppendField(field, &line);
  return line.append("}\n");
}

// --- where it is written ----------------------------------------------------------------------------

// It is standard output in any case: a file of our own is put in its place.
struct Sink {
  std::mutex mutex;
  std::string file;  // "": what standard output was from the start
  size_t most = 0;
  bool torn = false;  // the last line was written in part

  // 0, or why not.
  int Open() const {
    const int opened = open(file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (opened < 0) return errno;
    dup2(opened, STDOUT_FILENO);
    dup2(opened, STDERR_FILENO);
    if (opened > STDERR_FILENO) close(opened);
    return 0;
  }

  // When the other one cannot be opened, the next lines go to the old one, and try again.
  void MakeRoom(size_t bytes) const {
    struct stat opened {
    }, named{};
    if (fstat(STDOUT_FILENO, &opened) != 0 || opened.st_size == 0 ||
        static_cast<size_t>(opened.st_size) + bytes <= most) {
      return;
    }
    // Unless another process that has the same file was first.
    if (stat(file.c_str(), &named) == 0 && named.st_ino == opened.st_ino &&
        named.st_dev == opened.st_dev) {
      rename(file.c_str(), (file + ".1").c_str());
    }
    Open();
  }

  // Answers how many lines could not be written. A log that cannot be written is nothing that a
  // process should die of.
  size_t Write(std::string_view text) {
    const std::lock_guard lock(mutex);
    if (!file.empty()) MakeRoom(text.size());
    if (torn) torn = ::write(STDOUT_FILENO, "\n", 1) != 1;
    std::string_view left = text;
    while (!left.empty()) {
      const ssize_t written = ::write(STDOUT_FILENO, left.data(), left.size());
      if (written > 0) {
        left.remove_prefix(static_cast<size_t>(written));
      } else if (errno == EAGAIN) {
        pollfd full{STDOUT_FILENO, POLLOUT, 0};
        poll(&full, 1, -1);
      } else if (errno != EINTR) {
        torn = torn || (left.size() < text.size() && text[text.size() - left.size() - 1] != '\n');
        return static_cast<size_t>(std::ranges::count(left, '\n'));
      }
    }
    return 0;
  }
};

// --- the writer -------------------------------------------------------------------------------------

struct Queue {
  Queue() { sem_init(&wake, 0, 0); }

  std::mutex mutex;
  std::string lines;          // what waits
  size_t dropped = 0;         // lines that no line has told of yet
  bool has_writer = false;    // it is started with the first line, and never ends
  bool writer_sleeps = true;  // until there is a line
  bool hurries = false;       // it has been told not to wait for more
  sem_t wake;
  // In bytes, of all times. Whoever flushes reads these alone, in the handler of a signal too.
  std::atomic<uint64_t> put = 0;
  std::atomic<uint64_t> written = 0;
  std::atomic<uint64_t> dropped_ever = 0;
  Sink sink;
};

// Never destroyed: lines are logged to the very end.
Queue& TheQueue() {
  static auto* const queue = new Queue;
  return *queue;
}

// False when there is nothing to write.
bool WriteBatch(Queue& queue, std::string& batch) {
  size_t dropped = 0;
  uint64_t put = 0;
  {
    const std::lock_guard lock(queue.mutex);
    queue.hurries = false;
    queue.writer_sleeps = queue.lines.empty();
    if (queue.writer_sleeps) return false;
    batch.swap(queue.lines);
    dropped = std::exchange(queue.dropped, 0);
    put = queue.put;
  }
  const size_t lost = queue.sink.Write(batch);
  if (dropped > 0 && lost == 0 &&
      queue.sink.Write(Line(Level::kWarning, "log lines were dropped", {{"lines", dropped}})) ==
          0) {
    dropped = 0;
  }
  queue.written = put;
  if (dropped + lost > 0) {
    const std::lock_guard lock(queue.mutex);
    queue.dropped += dropped + lost;
    queue.dropped_ever += lost;
  }
  if (batch.capacity() > 16 * kBatch) batch = std::string();
  batch.clear();
  return true;
}

[[noreturn]] void WriteForEver(Queue& queue) {
  std::string batch;
  for (;;) {
    while (sem_wait(&queue.wake) != 0) continue;
    do {
      timespec until{};
      clock_gettime(CLOCK_MONOTONIC, &until);
      until.tv_nsec += std::chrono::nanoseconds(kPause).count();
      until.tv_sec += until.tv_nsec / 1'000'000'000;
      until.tv_nsec %= 1'000'000'000;
      sem_clockwait(&queue.wake, CLOCK_MONOTONIC, &until);
    } while (WriteBatch(queue, batch));
  }
}

// The lines before a crash are those that say what it came of. The signal is blocked in here, so it
// ends the process as it would have done, once this returns.
void FlushAndDie(int signal) {
  Flush();
  raise(signal);
}

void StartWriter(Queue& queue) {
  queue.has_writer = true;
  // No signal that somebody else waits for may come to this thread.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread([&queue] { WriteForEver(queue); }).detach();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  for (const int crash : {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL}) {
    struct sigaction present {};
    sigaction(crash, nullptr, &present);
    if (present.sa_handler != SIG_DFL) continue;  // a sanitizer's
    present.sa_handler = FlushAndDie;
    present.sa_flags = static_cast<int>(SA_RESETHAND);
    sigaction(crash, &present, nullptr);
  }
  std::atexit(Flush);
}

void Put(Level level, std::string_view line) {
  Queue& queue = TheQueue();
  const std::lock_guard lock(queue.mutex);
  const size_t size = queue.lines.size() + line.size();
  if (size > (level >= Level::kWarning ? kMostWaiting : kMostQuiet)) {
    ++queue.dropped;
    ++queue.dropped_ever;
    return;
  }
  if (!queue.has_writer) StartWriter(queue);
  queue.lines.append(line);
  queue.put += line.size();
  if (std::exchange(queue.writer_sleeps, false)) sem_post(&queue.wake);
  if ((level >= Level::kWarning || size >= kBatch) && !std::exchange(queue.hurries, true)) {
    sem_post(&queue.wake);
  }
}

}  // namespace

void Init(std::string_view process, Level least) {
  g_process = R"(,"process":)";
  AppendString(process, &g_process);
  g_process += R"(,"message":)";
  g_least = least;
}

void SetLeast(Level least) {
  g_least = least;
}

Level Least() {
  return g_least;
}

const char* Name(Level level) {
  switch (level) {
    case Level::kDebug:
      return "debug";
    case Level::kInfo:
      return "info";
    case Level::kWarning:
      return "warning";
    case Level::kError:
      return "error";
  }
  return "info";
}

bool ParseLevel(std::string_view text, Level* level) {
  for (const Level known : {Level::kDebug, Level::kInfo, Level::kWarning, Level::kError}) {
    if (text == Name(known)) {
      *level = known;
      return true;
    }
  }
  return false;
}

void WriteTo(const std::string& file, size_t most) {
  Flush();
  Sink& sink = TheQueue().sink;
  const std::lock_guard lock(sink.mutex);
  sink.file = file;
  sink.most = most;
  if (const int error = sink.Open(); error != 0) {
    sink.file.clear();
    throw std::system_error(error, std::generic_category(), file);
  }
}

void Write(Level level, std::string_view message, std::initializer_list<Field> fields) {
  if (level < g_least.load(std::memory_order_relaxed)) return;
  Put(level, Line(level, message, fields));
}

void Flush() {
  Queue& queue = TheQueue();
  const uint64_t all = queue.put;
  constexpr timespec kMoment{0, 1'000'000};
  for (int waited = 0; queue.written < all && waited < kFlushLimit.count(); ++waited) {
    sem_post(&queue.wake);
    nanosleep(&kMoment, nullptr);
  }
}

uint64_t Dropped() {
  return TheQueue().dropped_ever;
}

Scope::Scope(std::initializer_list<Field> fields) : before_(t_scope.size()) {
  for (const Field& field : fields) AppendField(field, &t_scope);
}

Scope::~Scope() {
  t_scope.resize(before_);
}

}  // namespace shop::log
