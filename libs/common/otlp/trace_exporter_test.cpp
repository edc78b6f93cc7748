#include "common/otlp/trace_exporter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <mutex>
#include <string>
#include <thread>

#include "common/telemetry/metrics.h"
#include "common/testing/loopback_listener.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.pb.h"

namespace shop {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// Answers each request of one connection after another, and keeps what it was sent.
class Collector {
 public:
  explicit Collector(bool answers = true) : answers_(answers), thread_([this] { Run(); }) {}
  ~Collector() { (void)Stop(); }

  std::string url() const { return "http://127.0.0.1:" + std::to_string(listener_.port()); }
  // All that was received.
  std::string Stop() {
    listener_.Shutdown();
    if (thread_.joinable()) thread_.join();
    return received_;
  }

 private:
  void Run() {
    for (int client; (client = listener_.Accept()) >= 0; close(client)) {
      char bytes[4096];
      std::string request;
      for (ssize_t got; (got = read(client, bytes, sizeof bytes)) > 0;) {
        request.append(bytes, static_cast<size_t>(got));
        if (!IsWhole(request) || !answers_) continue;
        received_ += request;
        request.clear();
        const std::string answer = "HTTP/1.1 200 x\r\nContent-Length: 0\r\n\r\n";
        (void)!write(client, answer.data(), answer.size());
      }
    }
  }

  static bool IsWhole(const std::string& request) {
    const size_t head = request.find("\r\n\r\n");
    const size_t length = request.find("Content-Length: ");
    if (head == std::string::npos || length == std::string::npos) return false;
    size_t expected = 0;
    std::from_chars(request.data() + length + 16, request.data() + head, expected);
    return request.size() >= head + 4 + expected;
  }

  const bool answers_;
  std::string received_;
  testing::LoopbackListener listener_;
  std::thread thread_;
};

double Counted(const char* outcome) {
  return CounterFamily("trace_spans_total", "").Add({{"outcome", outcome}}).Value();
}

void RecordOne(const char* name) {
  const TraceContext trace =
      TraceContext::FromHeader("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
  Span span(SpanKind::kServer, name, trace);
  span.LinkTo(trace);
  span.Set("shop.order.id", 7);
  span.Fail("no such thing");
}

TEST(TraceExporterTest, SendsWhatIsThereAtTheLatestWhenItEnds) {
  Collector collector;
  const double before = Counted("exported");
  {
    const TraceExporter exporter(
        {.process = "orders", .endpoint = collector.url(), .headers = {"api-key: secret"}});
    RecordOne("shop.orders.v1.OrdersService/GetOrder");
  }
  EXPECT_EQ(Counted("exported"), before + 1);
  EXPECT_FALSE(traces::On());
  const std::string received = collector.Stop();
  EXPECT_THAT(received, StartsWith("POST /v1/traces HTTP/1.1\r\n"));
  EXPECT_THAT(received, HasSubstr("Content-Type: application/x-protobuf\r\n"));
  EXPECT_THAT(received, HasSubstr("api-key: secret\r\n"));
  opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest request;
  ASSERT_TRUE(request.ParseFromString(received.substr(received.find("\r\n\r\n") + 4)));
  ASSERT_EQ(request.resource_spans_size(), 1);
  const auto& process = request.resource_spans(0);
  EXPECT_EQ(process.resource().attributes(0).key(), "service.name");
  EXPECT_EQ(process.resource().attributes(0).value().string_value(), "orders");
  ASSERT_EQ(process.scope_spans(0).spans_size(), 1);
  const auto& span = process.scope_spans(0).spans(0);
  EXPECT_EQ(span.trace_id(), "\x4b\xf9\x2f\x35\x77\xb3\x4d\xa6\xa3\xce\x92\x9d\x0e\x0e\x47\x36");
  EXPECT_EQ(span.parent_span_id(), std::string("\x00\xf0\x67\xaa\x0b\xa9\x02\xb7", 8));
  EXPECT_EQ(span.span_id().size(), 8u);
  EXPECT_EQ(span.name(), "shop.orders.v1.OrdersService/GetOrder");
  EXPECT_EQ(span.kind(), opentelemetry::proto::trace::v1::Span::SPAN_KIND_SERVER);
  EXPECT_GT(span.end_time_unix_nano(), span.start_time_unix_nano());
  EXPECT_EQ(span.attributes(0).key(), "shop.order.id");
  EXPECT_EQ(span.attributes(0).value().int_value(), 7);
  EXPECT_EQ(span.status().code(), opentelemetry::proto::trace::v1::Status::STATUS_CODE_ERROR);
  EXPECT_EQ(span.status().message(), "no such thing");
  EXPECT_EQ(span.links_size(), 1);
}

TEST(TraceExporterTest, WhatACollectorThatIsAwayDoesNotGetIsCounted) {
  std::string nobody;
  { nobody = Collector().url(); }
  const double before = Counted("failed");
  {
    const TraceExporter exporter({.process = "orders", .endpoint = nobody});
    RecordOne("GetOrder");
  }
  EXPECT_EQ(Counted("failed"), before + 1);
}

TEST(TraceExporterTest, ACollectorThatDoesNotAnswerKeepsNobody) {
  Collector collector(false);
  const auto begun = std::chrono::steady_clock::now();
  {
    const TraceExporter exporter({.process = "orders", .endpoint = collector.url()});
    RecordOne("GetOrder");
  }
  // By itself the request would go on for five seconds.
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(4));
}

TEST(TraceExporterTest, WhatIsMoreThanTheQueueHoldsIsDroppedAndCounted) {
  Collector collector(false);
  const double before = Counted("dropped");
  const TraceExporter exporter({.process = "orders", .endpoint = collector.url()});
  for (int i = 0; i < 5'000; ++i) RecordOne("GetOrder");
  // Those that were taken to be sent make room once or twice meanwhile.
  EXPECT_GE(Counted("dropped"), before + 500);
}

}  // namespace
}  // namespace shop
