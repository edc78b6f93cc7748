#include "common/telemetry/trace.h"

#include "common/crypto/random.h"
#include "common/telemetry/span.h"

namespace shop {
namespace {

std::string RandomHex(size_t digits) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  text.reserve(digits);
  while (text.size() < digits) {
    uint64_t bits = ThreadRandom()();
    for (int i = 0; i < 16 && text.size() < digits; ++i, bits >>= 4)
      text.push_back(kHex[bits & 15]);
  }
  return text;
}

bool IsHex(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool IsZero(std::string_view text) {
  return text.find_first_not_of('0') == std::string_view::npos;
}

}  // namespace

TraceContext TraceContext::New() {
  TraceContext trace{RandomHex(32), RandomHex(16)};
  trace.sampled = traces::Samples(trace.trace_id);
  trace.begins = true;
  return trace;
}

TraceContext TraceContext::FromHeader(std::string_view header) {
  // version "-" trace-id "-" parent-id "-" flags; a later version may be longer.
  if (header.size() < 55 || header[2] != '-' || header[35] != '-' || header[52] != '-')
    return New();
  const std::string_view version = header.substr(0, 2);
  const std::string_view trace_id = header.substr(3, 32);
  const std::string_view span_id = header.substr(36, 16);
  const std::string_view flags = header.substr(53, 2);
  if (!IsHex(version) || version == "ff" || (version == "00" && header.size() != 55)) return New();
  if (header.size() > 55 && header[55] != '-') return New();
  if (!IsHex(trace_id) || IsZero(trace_id) || !IsHex(span_id) || IsZero(span_id) || !IsHex(flags)) {
    return New();
  }
  const char low = flags[1];
  const int bits = low <= '9' ? low - '0' : low - 'a' + 10;
  return {std::string(trace_id), std::string(span_id), (bits & 1) != 0};
}

TraceContext TraceContext::Child() const {
  if (trace_id.empty()) return New();
  return {trace_id, RandomHex(16), sampled, false, request_id};
}

std::string TraceContext::Header() const {
  if (trace_id.empty()) return {};
  return "00-" + trace_id + "-" + span_id + (sampled ? "-01" : "-00");
}

}  // namespace shop
