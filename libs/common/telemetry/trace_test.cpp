#include "common/telemetry/trace.h"

#include <gtest/gtest.h>

namespace shop {
namespace {

constexpr char kHeader[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

TEST(TraceContext, ReadsAndWritesTheSameHeader) {
  EXPECT_EQ(TraceContext::FromHeader(kHeader).Header(), kHeader);
}

TEST(TraceContext, AChildKeepsTheTraceAndHasItsOwnSpan) {
  const TraceContext parent = TraceContext::FromHeader(kHeader);
  const TraceContext child = parent.Child();
  EXPECT_EQ(child.trace_id, parent.trace_id);
  EXPECT_NE(child.span_id, parent.span_id);
  EXPECT_TRUE(child.sampled);
}

class BadHeader : public testing::TestWithParam<const char*> {};

TEST_P(BadHeader, StartsANewTrace) {
  const TraceContext trace = TraceContext::FromHeader(GetParam());
  EXPECT_EQ(trace.trace_id.size(), 32u);
  EXPECT_NE(trace.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
}

INSTANTIATE_TEST_SUITE_P(
    All, BadHeader,
    testing::Values("", "garbage", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                    "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
                    "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
                    "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
                    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
                    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"));

}  // namespace
}  // namespace shop
