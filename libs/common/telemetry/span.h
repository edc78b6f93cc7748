// Spans: what this process did for a trace, when it began and how long it took, in the terms of OpenTelemetry
// (https://opentelemetry.io/docs/specs/otel/trace/api/). A TraceExporter sends them away.
//
//   Span span(SpanKind::kServer, "shop.orders.v1.OrdersService/CreateOrder", call.trace);
//   const Span::Scope scope(span);                 // what this thread does from here on belongs to it
//   …
//   Span statement(SpanKind::kClient, "SELECT orders");  // a child of the thread's span
//
// Without an exporter nothing is recorded, and a Span costs a look at a flag. With one, every span is recorded, as only
// the end tells which are worth keeping: those of sampled traces, and, of all others, what this process did for them
// where that failed or was slow.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "common/telemetry/trace.h"

namespace shop {

enum class SpanKind { kInternal, kServer, kClient, kProducer, kConsumer };

struct SpanRecord {
  // The keys have static storage: they are the names of OpenTelemetry's semantic conventions, or begin with `shop.`.
  using Attribute = std::pair<std::string_view, std::variant<std::string, int64_t>>;

  SpanKind kind = SpanKind::kInternal;
  std::string name;
  TraceContext context;
  std::string parent_span_id;  // empty: the trace begins here
  std::chrono::system_clock::time_point start;
  std::chrono::nanoseconds duration{};
  std::vector<Attribute> attributes = {};
  std::vector<TraceContext> links = {};
  bool failed = false;
  std::string error = {};  // why, as far as it may be shown
};

// Takes what has ended.
class SpanSink {
 public:
  virtual ~SpanSink() = default;
  // The spans of one part of a trace. Called by any thread, and does not block.
  virtual void Take(std::vector<SpanRecord> part) = 0;
};

// Which traces are kept.
struct TraceSelection {
  double ratio = 1;  // of all traces, these are sampled; chosen by the trace's id
  std::chrono::milliseconds slow{1'000};  // what takes longer is kept in any case
};

// From here on spans are recorded for `sink`, which has to outlive them; null: no longer.
void SetSpanSink(SpanSink* sink, const TraceSelection& selection = {});

namespace traces {
// Whether anything is recorded.
bool On();
// Whether a trace that begins here, or comes from outside, is sampled. Every process says the same of the same id.
bool Samples(std::string_view trace_id);
// Whether a part of a trace that is not sampled is kept all the same.
bool IsRemarkable(bool failed, std::chrono::nanoseconds took);
// Exports a span that was timed by its maker, if it is one to be kept. For what runs in no thread of its own.
void Export(SpanRecord span);
}  // namespace traces

// Used by the thread that made it.
class Span {
 public:
  // The first of this process's part of a trace. It decides whether the part is exported.
  Span(SpanKind kind, std::string_view name, const TraceContext& parent);
  // A child of the thread's span (Scope); records nothing where there is none. Ends before its parent does.
  Span(SpanKind kind, std::string_view name);
  // Ends it: as failed, when an exception is what destroys it.
  ~Span();
  Span(const Span&) = delete;
  Span& operator=(const Span&) = delete;

  // Whether anything is recorded. What follows does nothing otherwise.
  explicit operator bool() const { return record_ != nullptr; }
  // What is passed on to those that do something for it; `parent` where nothing is recorded.
  TraceContext ContextOr(const TraceContext& parent) const {
    return record_ ? record_->context : parent;
  }
  void Rename(std::string name);
  void Set(std::string_view key, std::string_view value);
  void Set(std::string_view key, int64_t value);
  void LinkTo(const TraceContext& other);
  void Fail(std::string_view error);
  // It is as if it had never begun, its children included.
  void Discard();

  // Makes a span the thread's.
  class Scope {
   public:
    explicit Scope(Span& span);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Span* outer_;
  };

 private:
  void Begin(SpanKind kind, std::string_view name, TraceContext context,
             std::string parent_span_id);

  std::unique_ptr<SpanRecord> record_;
  std::chrono::steady_clock::time_point begun_;
  int exceptions_ = 0;
  Span* root_ = nullptr;              // of a child
  std::vector<SpanRecord> children_;  // of a root
};

}  // namespace shop
