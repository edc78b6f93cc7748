#include "common/otlp/trace_exporter.h"

#include <boost/algorithm/hex.hpp>

#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <thread>

#include "common/http/http_client.h"
#include "common/telemetry/log.h"
#include "common/telemetry/metrics.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.pb.h"

namespace shop {
namespace {

namespace otlp = opentelemetry::proto;
using Request = otlp::collector::trace::v1::ExportTraceServiceRequest;

// The defaults of OpenTelemetry's batch processor, which sends every five seconds, though.
constexpr size_t kLongestQueue = 2048;
constexpr size_t kFullBatch = 512;
constexpr std::chrono::seconds kInterval{1};
constexpr std::chrono::milliseconds kSendLimit{5'000};
constexpr std::chrono::seconds kCloseLimit{1};

otlp::trace::v1::Span::SpanKind KindOf(SpanKind kind) {
  switch (kind) {
    case SpanKind::kInternal:
      return otlp::trace::v1::Span::SPAN_KIND_INTERNAL;
    case SpanKind::kServer:
      return otlp::trace::v1::Span::SPAN_KIND_SERVER;
    case SpanKind::kClient:
      return otlp::trace::v1::Span::SPAN_KIND_CLIENT;
    case SpanKind::kProducer:
      return otlp::trace::v1::Span::SPAN_KIND_PRODUCER;
    case SpanKind::kConsumer:
      return otlp::trace::v1::Span::SPAN_KIND_CONSUMER;
  }
  return otlp::trace::v1::Span::SPAN_KIND_UNSPECIFIED;
}

void SetAttribute(std::string_view key, std::string_view value, otlp::common::v1::KeyValue* made) {
  made->set_key(std::string(key));
  made->mutable_value()->set_string_value(std::string(value));
}

void Translate(const SpanRecord& span, otlp::trace::v1::Span* made) {
  const auto nanoseconds = [](std::chrono::nanoseconds time) {
    return static_cast<uint64_t>(time.count());
  };
  made->set_trace_id(boost::algorithm::unhex(span.context.trace_id));
  made->set_span_id(boost::algorithm::unhex(span.context.span_id));
  made->set_parent_span_id(boost::algorithm::unhex(span.parent_span_id));
  made->set_flags(span.context.sampled ? 1 : 0);
  made->set_name(span.name);
  made->set_kind(KindOf(span.kind));
  made->set_start_time_unix_nano(nanoseconds(span.start.time_since_epoch()));
  made->set_end_time_unix_nano(nanoseconds(span.start.time_since_epoch() + span.duration));
  for (const auto& [key, value] : span.attributes) {
    otlp::common::v1::KeyValue* attribute = made->add_attributes();
    if (const auto* text = std::get_if<std::string>(&value)) {
      SetAttribute(key, *text, attribute);
    } else {
      attribute->set_key(std::string(key));
      attribute->mutable_value()->set_int_value(std::get<int64_t>(value));
    }
  }
  for (const TraceContext& link : span.links) {
    otlp::trace::v1::Span::Link* other = made->add_links();
    other->set_trace_id(boost::algorithm::unhex(link.trace_id));
    other->set_span_id(boost::algorithm::unhex(link.span_id));
  }
  if (span.failed) {
    made->mutable_status()->set_code(otlp::trace::v1::Status::STATUS_CODE_ERROR);
    made->mutable_status()->set_message(span.error);
  }
}

prometheus::Counter& Spans(const char* outcome) {
  return CounterFamily("trace_spans_total", "Spans by what became of them")
      .Add({{"outcome", outcome}});
}

}  // namespace

struct TraceExporter::State {
  explicit State(const Settings& chosen)
      : settings(chosen), client({.timeout = kSendLimit, .ca_file = chosen.ca_file}) {}

  void Run();
  void Send(const std::vector<SpanRecord>& spans);

  const Settings settings;
  HttpClient client;
  prometheus::Counter& exported = Spans("exported");
  prometheus::Counter& dropped = Spans("dropped");
  prometheus::Counter& failed = Spans("failed");
  bool away = false;

  std::mutex mutex;
  std::condition_variable changed;
  std::vector<SpanRecord> queue;
  bool stopping = false;
  bool stopped = false;
  std::stop_source cut;  // ends a request that is under way
  std::thread thread;
};

void TraceExporter::ShowMetrics() {
  for (const char* outcome : {"exported", "dropped", "failed"}) Spans(outcome);
}

TraceExporter::TraceExporter(const Settings& settings) : state_(std::make_unique<State>(settings)) {
  state_->thread = std::thread([state = state_.get()] { state->Run(); });
  SetSpanSink(this, settings.selection);
}

TraceExporter::~TraceExporter() {
  SetSpanSink(nullptr);
  {
    std::unique_lock lock(state_->mutex);
    state_->stopping = true;
    state_->changed.notify_all();
    state_->changed.wait_for(lock, kCloseLimit, [&] { return state_->stopped; });
  }
  state_->cut.request_stop();
  state_->thread.join();
}

void TraceExporter::Take(std::vector<SpanRecord> part) {
  const std::lock_guard lock(state_->mutex);
  if (state_->queue.size() + part.size() > kLongestQueue) {
    state_->dropped.Increment(static_cast<double>(part.size()));
    return;
  }
  for (SpanRecord& span : part) state_->queue.push_back(std::move(span));
  if (state_->queue.size() >= kFullBatch) state_->changed.notify_all();
}

void TraceExporter::State::Run() {
  std::unique_lock lock(mutex);
  for (bool last = false; !last;) {
    changed.wait_for(lock, kInterval, [&] { return stopping || queue.size() >= kFullBatch; });
    last = stopping;
    std::vector<SpanRecord> taken;
    taken.swap(queue);
    lock.unlock();
    if (!taken.empty()) Send(taken);
    lock.lock();
  }
  stopped = true;
  changed.notify_all();
}

void TraceExporter::State::Send(const std::vector<SpanRecord>& taken) {
  Request request;
  otlp::trace::v1::ResourceSpans* of_process = request.add_resource_spans();
  SetAttribute("service.name", settings.process, of_process->mutable_resource()->add_attributes());
  SetAttribute("service.namespace", "shop", of_process->mutable_resource()->add_attributes());
  otlp::trace::v1::ScopeSpans* of_scope = of_process->add_scope_spans();
  of_scope->mutable_scope()->set_name("shop");
  for (const SpanRecord& span : taken) Translate(span, of_scope->add_spans());

  const HttpReply reply = client.Send({.method = "POST",
                                       .url = settings.endpoint + "/v1/traces",
                                       .headers = settings.headers,
                                       .body = request.SerializeAsString(),
                                       .content_type = "application/x-protobuf"},
                                      cut.get_token());
  const bool sent = reply.status == 200;
  (sent ? exported : failed).Increment(static_cast<double>(taken.size()));
  if (!sent && !away) {
    log::Warning("spans cannot be sent and are lost",
                 {{"status", reply.status}, {"error", reply.error}});
  } else if (sent && away) {
    log::Info("spans are sent again");
  }
  away = !sent;
}

}  // namespace shop
