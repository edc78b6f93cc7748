#include "gateway/http/request_headers.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <iterator>
#include <utility>

namespace shop::gateway {
namespace {

// What a token is made of (RFC 6750, section 2.1), by byte.
constexpr std::array<bool, 256> kOfTokens = [] {
  std::array<bool, 256> of_tokens{};
  for (const char c :
       std::string_view("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                        "-._~+/=")) {
    of_tokens[static_cast<uint8_t>(c)] = true;
  }
  return of_tokens;
}();

}  // namespace

Result<std::optional<std::string_view>> BearerToken(const HttpRequest& request) {
  std::optional<std::string_view> token;
  const Refusal malformed{Code::kUnauthenticated,
                          "the Authorization header is not of the form: Bearer <token>"};
  for (const auto& [name, value] : request.headers) {
    if (!EqualsIgnoringCase(name, "authorization")) continue;
    if (token || value.size() < 8 || !EqualsIgnoringCase(value.substr(0, 7), "bearer ")) {
      return malformed;
    }
    token = value.substr(std::min(value.find_first_not_of(' ', 7), value.size()));
    const bool legal = std::all_of(token->begin(), token->end(),
                                   [](char c) { return kOfTokens[static_cast<uint8_t>(c)]; });
    if (token->empty() || !legal) return malformed;
  }
  return token;
}

Result<std::chrono::milliseconds> RequestTimeout(const HttpRequest& request,
                                                 std::chrono::milliseconds most) {
  using std::chrono::milliseconds;
  double seconds = 0;
  const auto parse = [&seconds](std::string_view text) {
    // from_chars would take "inf", too.
    if (text.find_first_not_of("0123456789.") != std::string_view::npos) return false;
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), seconds, std::chars_format::fixed);
    return error == std::errc() && end == text.data() + text.size();
  };
  const auto limit = [&] {
    if (seconds >= std::chrono::duration<double>(most).count()) return most;
    return std::max(milliseconds(static_cast<int64_t>(seconds * 1000)), milliseconds(1));
  };
  if (const std::string_view text = request.Header("request-timeout"); !text.empty()) {
    if (!parse(text)) return InvalidField("Request-Timeout", "must be a number of seconds");
    return limit();
  }
  if (const std::string_view text = request.Header("grpc-timeout"); !text.empty()) {
    static constexpr std::pair<char, double> kUnits[] = {{'H', 3600}, {'M', 60},   {'S', 1},
                                                         {'m', 1e-3}, {'u', 1e-6}, {'n', 1e-9}};
    const auto* unit = std::find_if(std::begin(kUnits), std::end(kUnits),
                                    [&](const auto& known) { return known.first == text.back(); });
    const std::string_view digits = text.substr(0, text.size() - 1);
    if (unit == std::end(kUnits) || digits.size() > 8 ||
        digits.find('.') != std::string_view::npos || !parse(digits)) {
      return InvalidField("Grpc-Timeout", "must be digits and one of H, M, S, m, u, n");
    }
    seconds *= unit->second;
    return limit();
  }
  return most;
}

bool IsJson(std::string_view content_type) {
  const std::vector<std::string_view> parts = Split(content_type, ';');
  if (!EqualsIgnoringCase(Trim(parts.front()), "application/json")) return false;
  for (size_t i = 1; i < parts.size(); ++i) {
    const std::string_view parameter = Trim(parts[i]);
    if (parameter.size() < 8 || !EqualsIgnoringCase(parameter.substr(0, 8), "charset=")) continue;
    std::string_view charset = parameter.substr(8);
    if (charset.size() > 1 && charset.front() == '"' && charset.back() == '"') {
      charset = charset.substr(1, charset.size() - 2);
    }
    if (!EqualsIgnoringCase(charset, "utf-8")) return false;
  }
  return true;
}

}  // namespace shop::gateway
