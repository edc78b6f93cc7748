#include "common/telemetry/span.h"

#include <atomic>
#include <charconv>
#include <exception>

namespace shop {
namespace {

std::atomic<SpanSink*> g_sink = nullptr;
TraceSelection g_selection;  // written before the sink is

thread_local Span* t_current = nullptr;

}  // namespace

void SetSpanSink(SpanSink* sink, const TraceSelection& selection) {
  g_selection = selection;
  g_sink = sink;
}

namespace traces {

bool On() {
  return g_sink.load(std::memory_order_acquire) != nullptr;
}

// By its last 56 bits, which are random: https://www.w3.org/TR/trace-context-2/#randomness-of-trace-id
bool Samples(std::string_view trace_id) {
  if (!On() || trace_id.size() != 32) return false;
  uint64_t bits = 0;
  const std::string_view random = trace_id.substr(18);
  std::from_chars(random.data(), random.data() + random.size(), bits, 16);
  return static_cast<double>(bits) < g_selection.ratio * static_cast<double>(uint64_t{1} << 56);
}

bool IsRemarkable(bool failed, std::chrono::nanoseconds took) {
  return On() && (failed || took > g_selection.slow);
}

void Export(SpanRecord span) {
  SpanSink* sink = g_sink;
  if (sink == nullptr) return;
  if (!span.context.sampled && !IsRemarkable(span.failed, span.duration)) return;
  std::vector<SpanRecord> part;
  part.push_back(std::move(span));
  sink->Take(std::move(part));
}

}  // namespace traces

Span::Span(SpanKind kind, std::string_view name, const TraceContext& parent) {
  if (!traces::On()) return;
  if (!parent.begins) {
    Begin(kind, name, parent.Child(), parent.span_id);
    return;
  }
  TraceContext own = parent;
  own.begins = false;
  Begin(kind, name, std::move(own), {});
}

Span::Span(SpanKind kind, std::string_view name) {
  if (t_current == nullptr || !*t_current) return;
  root_ = t_current->root_ != nullptr ? t_current->root_ : t_current;
  const TraceContext& parent = t_current->record_->context;
  Begin(kind, name, parent.Child(), parent.span_id);
}

void Span::Begin(SpanKind kind, std::string_view name, TraceContext context,
                 std::string parent_span_id) {
  record_ = std::make_unique<SpanRecord>();
  record_->kind = kind;
  record_->name = name;
  record_->context = std::move(context);
  record_->parent_span_id = std::move(parent_span_id);
  record_->start = std::chrono::system_clock::now();
  begun_ = std::chrono::steady_clock::now();
  exceptions_ = std::uncaught_exceptions();
}

Span::~Span() {
  SpanSink* sink = g_sink;
  if (!record_ || sink == nullptr) return;
  record_->duration = std::chrono::steady_clock::now() - begun_;
  if (std::uncaught_exceptions() > exceptions_) record_->failed = true;
  if (root_ != nullptr) {
    root_->children_.push_back(std::move(*record_));
    return;
  }
  if (!record_->context.sampled && !traces::IsRemarkable(record_->failed, record_->duration))
    return;
  children_.push_back(std::move(*record_));
  sink->Take(std::move(children_));
}

void Span::Rename(std::string name) {
  if (record_) record_->name = std::move(name);
}

void Span::Set(std::string_view key, std::string_view value) {
  if (record_) record_->attributes.emplace_back(key, std::string(value));
}

void Span::Set(std::string_view key, int64_t value) {
  if (record_) record_->attributes.emplace_back(key, value);
}

void Span::LinkTo(const TraceContext& other) {
  if (record_) record_->links.push_back(other);
}

void Span::Fail(std::string_view error) {
  if (!record_) return;
  record_->failed = true;
  record_->error = error;
}

void Span::Discard() {
  record_.reset();
  children_.clear();
}

Span::Scope::Scope(Span& span) : outer_(t_current) {
  t_current = &span;
}

Span::Scope::~Scope() {
  t_current = outer_;
}

}  // namespace shop
