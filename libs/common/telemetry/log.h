// JSON lines on standard output: one event a line, written with one system call, from any thread.
//
//   log::Info("order placed", {{"orderId", id}, {"total", total}});
//
// Of a text longer than 1 KB its beginning is written, and its length. The least level that is written comes from
// LOG_LEVEL (debug, info, warning, error), and the admin port changes it while the process runs. The fields of a Scope
// are added to every line of its thread. Never pass a password, a token or a card number.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace shop::log {

enum class Level { kDebug, kInfo, kWarning, kError };

struct Field {
  Field(std::string_view key, std::string_view text) : key(key), value(text), quoted(true) {}
  Field(std::string_view key, const std::string& text) : key(key), value(text), quoted(true) {}
  Field(std::string_view key, const char* text) : key(key), value(text), quoted(true) {}
  Field(std::string_view key, bool flag)
      : key(key), value(flag ? "true" : "false"), quoted(false) {}
  Field(std::string_view key, double number);
  template <typename Integer>
  requires(std::is_integral_v<Integer> && !std::is_same_v<Integer, bool>)
      Field(std::string_view key, Integer number)
      : key(key), value(std::to_string(number)), quoted(false) {}

  std::string key;
  std::string value;
  bool quoted;
};

// Once, before the first line: the name that every line carries, and the least level written.
void Init(std::string_view process, Level least);
void SetLeast(Level least);
Level Least();
bool ParseLevel(std::string_view text, Level* level);
const char* Name(Level level);

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

// Adds fields to every line this thread writes until the scope ends. Scopes nest.
class Scope {
 public:
  explicit Scope(std::initializer_list<Field> fields);
  ~Scope();
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

 private:
  size_t count_;
};

}  // namespace shop::log
