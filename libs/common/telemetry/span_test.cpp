#include "common/telemetry/span.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "common/testing/recorded_spans.h"

namespace shop {
namespace {

using std::chrono::milliseconds;
using testing::AttributeOf;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::RecordedSpans;
using ::testing::SizeIs;

constexpr TraceSelection kAll{.ratio = 1};
constexpr TraceSelection kNone{.ratio = 0, .slow = milliseconds(600'000)};

TraceContext FromAnother(bool sampled) {
  return TraceContext::FromHeader("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0" +
                                  std::string(sampled ? "1" : "0"));
}

TEST(SpanTest, WithoutAnExporterNothingIsRecorded) {
  Span span(SpanKind::kServer, "GetOrder", FromAnother(true));
  EXPECT_FALSE(span);
  EXPECT_EQ(span.ContextOr(FromAnother(true)).span_id, FromAnother(true).span_id);
  EXPECT_FALSE(TraceContext::New().sampled);
}

TEST(SpanTest, ChildrenBelongToTheThreadsSpanAndAreExportedWithIt) {
  RecordedSpans spans(kAll);
  {
    Span server(SpanKind::kServer, "GetOrder", FromAnother(true));
    const Span::Scope scope(server);
    { const Span statement(SpanKind::kClient, "SELECT orders"); }
    EXPECT_THAT(spans.All(), IsEmpty());
  }
  { const Span outside(SpanKind::kClient, "SELECT nothing"); }
  ASSERT_THAT(spans.Names(), ElementsAre("SELECT orders", "GetOrder"));
  const SpanRecord server = spans.Find("GetOrder");
  const SpanRecord statement = spans.Find("SELECT orders");
  EXPECT_EQ(server.context.trace_id, FromAnother(true).trace_id);
  EXPECT_EQ(server.parent_span_id, FromAnother(true).span_id);
  EXPECT_EQ(statement.context.trace_id, server.context.trace_id);
  EXPECT_EQ(statement.parent_span_id, server.context.span_id);
  EXPECT_LE(statement.duration, server.duration);
}

TEST(SpanTest, ATraceThatBeginsHereHasNoParent) {
  RecordedSpans spans(kAll);
  const TraceContext trace = TraceContext::New();
  { const Span sweep(SpanKind::kInternal, "sweep", trace); }
  EXPECT_EQ(spans.Find("sweep").parent_span_id, "");
  EXPECT_EQ(spans.Find("sweep").context.span_id, trace.span_id);
}

TEST(SpanTest, WhatIsNotSampledIsKeptWhereItFailsOrIsSlow) {
  {
    RecordedSpans spans(kNone);
    { const Span quick(SpanKind::kServer, "quick", FromAnother(false)); }
    {
      Span failing(SpanKind::kServer, "failing", FromAnother(false));
      const Span::Scope scope(failing);
      { const Span part(SpanKind::kClient, "part"); }
      failing.Fail("no");
    }
    ASSERT_THAT(spans.Names(), ElementsAre("part", "failing"));
    EXPECT_TRUE(spans.Find("failing").failed);
    EXPECT_EQ(spans.Find("failing").error, "no");
    EXPECT_FALSE(spans.Find("part").failed);
  }
  RecordedSpans spans({.ratio = 0, .slow = milliseconds(0)});
  { const Span slow(SpanKind::kServer, "slow", FromAnother(false)); }
  EXPECT_THAT(spans.Names(), ElementsAre("slow"));
}

TEST(SpanTest, AnExceptionThatEndsItIsAFailure) {
  RecordedSpans spans(kNone);
  EXPECT_THROW(
      {
        const Span failing(SpanKind::kServer, "failing", FromAnother(false));
        throw std::runtime_error("no");
      },
      std::runtime_error);
  EXPECT_TRUE(spans.Find("failing").failed);
}

TEST(SpanTest, TheFailureOfAPartAloneIsNoneOfTheWhole) {
  RecordedSpans spans(kNone);
  {
    Span server(SpanKind::kServer, "Register", FromAnother(false));
    const Span::Scope scope(server);
    Span statement(SpanKind::kClient, "INSERT accounts");
    statement.Fail("unique_violation");
  }
  EXPECT_THAT(spans.All(), IsEmpty());
}

TEST(SpanTest, WhatIsDiscardedIsNotExportedAndNorAreItsParts) {
  RecordedSpans spans(kAll);
  {
    Span server(SpanKind::kServer, "server", FromAnother(true));
    const Span::Scope scope(server);
    { const Span part(SpanKind::kClient, "part"); }
    server.Discard();
    { const Span part(SpanKind::kClient, "later part"); }
  }
  EXPECT_THAT(spans.All(), IsEmpty());
}

TEST(SpanTest, HasItsAttributesAndLinks) {
  RecordedSpans spans(kAll);
  {
    Span span(SpanKind::kConsumer, "process orders", FromAnother(true));
    span.Set("messaging.message.id", "7");
    span.Set("messaging.kafka.offset", 12);
    span.LinkTo(FromAnother(true));
    span.Rename("process stock");
  }
  const SpanRecord span = spans.Find("process stock");
  EXPECT_EQ(AttributeOf(span, "messaging.message.id"), "7");
  EXPECT_EQ(AttributeOf(span, "messaging.kafka.offset"), "12");
  EXPECT_THAT(span.links, SizeIs(1));
}

TEST(SpanTest, TheRatioOfTracesIsSampledAndTheSameEverywhere) {
  RecordedSpans spans({.ratio = 0.25});
  int sampled = 0;
  for (int i = 0; i < 4'000; ++i) {
    const TraceContext trace = TraceContext::New();
    EXPECT_EQ(traces::Samples(trace.trace_id), trace.sampled);
    sampled += trace.sampled;
  }
  EXPECT_NEAR(sampled, 1'000, 200);  // seven standard deviations
}

TEST(SpanTest, TheRequestsIdGoesOnWithTheTrace) {
  TraceContext trace = FromAnother(true);
  EXPECT_EQ(trace.RequestId(), trace.trace_id);
  trace.request_id = "r-1";
  EXPECT_EQ(trace.Child().RequestId(), "r-1");
}

}  // namespace
}  // namespace shop
