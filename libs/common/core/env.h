// Settings from the environment, read once at the start.
//
// Every reader records what is wrong and goes on, so that one start names every wrong variable.
// Values of secrets are never part of a message.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace shop {

class Env {
 public:
  // Returns a variable's value; by default that of the process's environment.
  using Lookup = std::function<std::optional<std::string>(const std::string&)>;

  Env();
  explicit Env(Lookup lookup) : lookup_(std::move(lookup)) {}

  // An empty value counts as not set, for all of these.
  std::string Text(const std::string& name, const std::string& fallback);
  // Has no default: not set is an error.
  std::string Required(const std::string& name);
  std::optional<std::string> Optional(const std::string& name);
  int64_t Integer(const std::string& name, int64_t fallback, int64_t min, int64_t max);
  // A time in seconds, such as 30 or 0.25; nothing where it is not set.
  std::optional<std::chrono::milliseconds> Seconds(const std::string& name);
  // A number from 0 to 1, such as 0.1.
  double Ratio(const std::string& name, double fallback);
  uint16_t Port(const std::string& name, uint16_t fallback);
  bool Flag(const std::string& name, bool fallback);  // true/false, 1/0, on/off, yes/no
  // CURRENCY, the ISO 4217 code of this deployment; the default is USD.
  std::string Currency();
  // NAME, or the content of the file that NAME_FILE names; both is an error.
  std::optional<std::string> Secret(const std::string& name);
  std::string RequiredSecret(const std::string& name);

  // Records that a value is wrong, for a reason that only the caller knows.
  void Wrong(const std::string& name, const std::string& why);
  const std::vector<std::string>& problems() const { return problems_; }

 private:
  Lookup lookup_;
  std::vector<std::string> problems_;
};

}  // namespace shop
