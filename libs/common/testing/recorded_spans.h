// The spans that are exported while a test runs.
#pragma once

#include <algorithm>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "common/telemetry/span.h"

namespace shop::testing {

// Nothing else may record spans at its beginning and its end.
class RecordedSpans : public SpanSink {
 public:
  explicit RecordedSpans(const TraceSelection& selection = {}) { SetSpanSink(this, selection); }
  ~RecordedSpans() override { SetSpanSink(nullptr); }

  void Take(std::vector<SpanRecord> part) override {
    const std::lock_guard lock(mutex_);
    for (SpanRecord& span : part) spans_.push_back(std::move(span));
  }

  std::vector<SpanRecord> All() const {
    const std::lock_guard lock(mutex_);
    return spans_;
  }
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const SpanRecord& span : All()) names.push_back(span.name);
    return names;
  }
  // The first of this name. Throws where there is none.
  SpanRecord Find(std::string_view name) const {
    const std::vector<SpanRecord> spans = All();
    const auto found = std::ranges::find(spans, name, &SpanRecord::name);
    if (found == spans.end()) throw std::runtime_error("no span " + std::string(name));
    return *found;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<SpanRecord> spans_;
};

// The value of a span's attribute as text; "" without it.
inline std::string AttributeOf(const SpanRecord& span, std::string_view key) {
  for (const auto& [name, value] : span.attributes) {
    if (name != key) continue;
    if (const auto* text = std::get_if<std::string>(&value)) return *text;
    return std::to_string(std::get<int64_t>(value));
  }
  return {};
}

}  // namespace shop::testing
