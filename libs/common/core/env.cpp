#include "common/core/env.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>

namespace shop {
namespace {

std::optional<std::string> FromProcess(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return std::string(value);
}

}  // namespace

Env::Env() : lookup_(FromProcess) {}

std::optional<std::string> Env::Optional(const std::string& name) {
  std::optional<std::string> value = lookup_(name);
  if (value && value->empty()) value.reset();
  return value;
}

std::string Env::Text(const std::string& name, const std::string& fallback) {
  return Optional(name).value_or(fallback);
}

std::string Env::Required(const std::string& name) {
  std::optional<std::string> value = Optional(name);
  if (!value) Wrong(name, "is not set");
  return value.value_or("");
}

int64_t Env::Integer(const std::string& name, int64_t fallback, int64_t min, int64_t max) {
  const std::optional<std::string> text = Optional(name);
  if (!text) return fallback;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size() || value < min || value > max) {
    Wrong(name, "is not a whole number from " + std::to_string(min) + " to " + std::to_string(max));
    return fallback;
  }
  return value;
}

std::optional<std::chrono::milliseconds> Env::Seconds(const std::string& name) {
  constexpr double kLongest = 30 * 24 * 3600;
  const std::optional<std::string> text = Optional(name);
  if (!text) return std::nullopt;
  double seconds = 0;
  const auto [end, error] =
      std::from_chars(text->data(), text->data() + text->size(), seconds, std::chars_format::fixed);
  if (error != std::errc() || end != text->data() + text->size() ||
      !(seconds >= 0 && seconds <= kLongest)) {
    Wrong(name, "is not a number of seconds, such as 30 or 0.25, of at most 30 days");
    return std::nullopt;
  }
  return std::chrono::milliseconds(std::llround(seconds * 1000));
}

double Env::Ratio(const std::string& name, double fallback) {
  const std::optional<std::string> text = Optional(name);
  if (!text) return fallback;
  double ratio = 0;
  const auto [end, error] =
      std::from_chars(text->data(), text->data() + text->size(), ratio, std::chars_format::fixed);
  if (error != std::errc() || end != text->data() + text->size() || !(ratio >= 0 && ratio <= 1)) {
    Wrong(name, "is not a number from 0 to 1");
    return fallback;
  }
  return ratio;
}

uint16_t Env::Port(const std::string& name, uint16_t fallback) {
  return static_cast<uint16_t>(Integer(name, fallback, 1, 65535));
}

bool Env::Flag(const std::string& name, bool fallback) {
  std::optional<std::string> text = Optional(name);
  if (!text) return fallback;
  std::transform(text->begin(), text->end(), text->begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (*text == "true" || *text == "1" || *text == "on" || *text == "yes") return true;
  if (*text == "false" || *text == "0" || *text == "off" || *text == "no") return false;
  Wrong(name, "is neither true nor false");
  return fallback;
}

std::string Env::Currency() {
  const std::string code = Text("CURRENCY", "USD");
  if (code.size() != 3 ||
      code.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ") != std::string::npos) {
    Wrong("CURRENCY", "is not an ISO 4217 code such as USD");
  }
  return code;
}

std::optional<std::string> Env::Secret(const std::string& name) {
  const std::optional<std::string> direct = Optional(name);
  const std::optional<std::string> path = Optional(name + "_FILE");
  if (direct && path) {
    Wrong(name, "and " + name + "_FILE are both set: keep one");
    return direct;
  }
  if (!path) return direct;
  std::ifstream file(*path, std::ios::binary);
  std::string content{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  while (!content.empty() && (content.back() == '\n' || content.back() == '\r')) content.pop_back();
  if (!file || content.empty()) {
    Wrong(name + "_FILE", "names a file that is empty or cannot be read");
    return std::nullopt;
  }
  return content;
}

std::string Env::RequiredSecret(const std::string& name) {
  const size_t before = problems_.size();
  std::optional<std::string> value = Secret(name);
  if (!value && problems_.size() == before) Wrong(name, "is not set (nor " + name + "_FILE)");
  return value.value_or("");
}

void Env::Wrong(const std::string& name, const std::string& why) {
  problems_.push_back(name + " " + why);
}

}  // namespace shop
