#include "common/telemetry/log.h"

#include <unistd.h>

#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <ctime>

namespace shop::log {
namespace {

std::string g_process = "unnamed";
std::atomic<Level> g_least = Level::kInfo;

thread_local std::vector<Field> t_scope;

// How much of a text is written: what clients send must not drive older lines out of the log.
constexpr size_t kLongestText = 1024;

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
  for (const char c : text.substr(0, left)) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out->push_back('\\');
      out->push_back(c);
    } else if (c == '\n') {
      out->append("\\n");
    } else if (byte < 0x20 || byte == 0x7f) {
      out->append("\\u00");
      out->push_back(kHex[byte >> 4]);
      out->push_back(kHex[byte & 15]);
    } else {
      out->push_back(c);
    }
  }
  if (left < text.size()) out->append("… (").append(std::to_string(text.size())).append(" bytes)");
  out->push_back('"');
}

void AppendTime(std::string* out) {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto millis =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char text[40];
  const size_t length = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
  out->append(text, length);
  std::snprintf(text, sizeof text, ".%03dZ", static_cast<int>(millis));
  out->append(text);
}

void AppendField(const Field& field, std::string* out) {
  out->push_back(',');
  AppendString(field.key, out);
  out->push_back(':');
  if (field.quoted) {
    AppendString(field.value, out);
  } else {
    out->append(field.value);
  }
}

}  // namespace

Field::Field(std::string_view key, double number) : key(key), quoted(false) {
  char text[32];
  const auto [end, error] =
      std::to_chars(text, text + sizeof text, number, std::chars_format::general, 6);
  value.assign(text, error == std::errc() ? end : text);
}

void Init(std::string_view process, Level least) {
  g_process = process;
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

void Write(Level level, std::string_view message, std::initializer_list<Field> fields) {
  if (level < g_least.load(std::memory_order_relaxed)) return;
  std::string line = R"({"time":")";
  AppendTime(&line);
  line.append(R"(","level":")").append(Name(level)).append(R"(","process":)");
  AppendString(g_process, &line);
  line.append(R"(,"message":)");
  AppendString(message, &line);
  for (const Field& field : t_scope) AppendField(field, &line);
  for (const Field& field : fields) AppendField(field, &line);
  line.append("}\n");
  // A log that cannot be written is nothing a process should die of.
  [[maybe_unused]] const ssize_t written = ::write(STDOUT_FILENO, line.data(), line.size());
}

Scope::Scope(std::initializer_list<Field> fields) : count_(fields.size()) {
  t_scope.insert(t_scope.end(), fields.begin(), fields.end());
}

Scope::~Scope() {
  t_scope.erase(t_scope.end() - static_cast<std::ptrdiff_t>(count_), t_scope.end());
}

}  // namespace shop::log
