// JSON lines: one event a line, on standard output or in a file of the process's own, from any thread.
//
//   log::Info("order placed", {{"orderId", id}, {"total", total}});
//
// Of a text longer than 1 KB its beginning is written, and its length. The least level that is written comes from
// LOG_LEVEL (debug, info, warning, error), and the admin port changes it while the process runs. The fields of a Scope
// are added to every line of its thread. Never pass a password, a token or a card number.
//
// No thread waits for its lines to be written: a writer, which is a thread of its own, does that, 50 ms after the first
// of them or once there are 64 KB, and at once with a warning or an error. What waits is written before the process
// ends, by itself, by exit() or by a crash; kill -9 takes the lines of the last 50 ms along. While the reader of standard output
// is slower than the process, up to 8 MB wait, then lines are dropped, those of the level info first, and a warning says
// how many. A child made by fork() has no writer.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <variant>

namespace shop::log {

enum class Level { kDebug, kInfo, kWarning, kError };

// Refers to its texts, so it is good until the end of the statement that it is made in. The key is written as it stands,
// a value is escaped.
struct Field {
  Field(std::string_view key, std::string_view text) : key(key), value(text) {}
  Field(std::string_view key, const std::string& text) : key(key), value(std::string_view(text)) {}
  Field(std::string_view key, const char* text) : key(key), value(std::string_view(text)) {}
  Field(std::string_view key, bool flag) : key(key), value(flag) {}
  Field(std::string_view key, double number) : key(key), value(number) {}
  template <std::signed_integral Integer>
  Field(std::string_view key, Integer number) : key(key), value(int64_t{number}) {}
  template <std::unsigned_integral Integer>
  Field(std::string_view key, Integer number) : key(key), value(uint64_t{number}) {}

  std::string_view key;
  std::variant<std::string_view, bool, double, int64_t, uint64_t> value;
};

// Once, before the first line: the name that every line carries, and the least level written.
void Init(std::string_view process, Level least);
void SetLeast(Level least);
Level Least();
bool ParseLevel(std::string_view text, Level* level);
const char* Name(Level level);

// Lines are appended to a file from here on, and so is what else goes to standard output and standard error, as the last
// words of a library. A file that would get longer than `most` bytes is renamed to <file>.1, in the place of the one
// before, and another one is begun. Throws std::system_error when it cannot be opened.
void WriteTo(const std::string& file, size_t most = 20'000'000);

void Write(Level level, std::string_view message, std::initializer_list<Field> fields);
inline void Debug(std::string_view message, std::initializer_list<Field> fields = {}) {
  Write(Level::kDebug, message, fields);
}
inline void Info(std::string_view message, std::initializer_list<Field> fields = {}) {
  Write(Level::kInfo, message, fields);
}
inline void Warning(std::string_view message, std::initializer_list<Field> fields = {}) {
  Write(Level::kWarning, message, fields);
}
inline void Error(std::string_view message, std::initializer_list<Field> fields = {}) {
  Write(Level::kError, message, fields);
}

// Waits until all lines of before are written, for a second at most. For who ends the process by _Exit().
void Flush();

// How many lines could not be written: `log_lines_dropped_total`.
uint64_t Dropped();

// Adds fields to every line this thread writes until the scope ends. Scopes nest.
class Scope {
 public:
  explicit Scope(std::initializer_list<Field> fields);
  ~Scope();
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

 private:
  size_t before_;
};

}  // namespace shop::log
