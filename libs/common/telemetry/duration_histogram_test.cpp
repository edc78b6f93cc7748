#include "common/telemetry/duration_histogram.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <set>
#include <sstream>

namespace shop {
namespace {

using std::chrono::milliseconds;
using ::testing::ContainsRegex;
using ::testing::EndsWith;
using ::testing::HasSubstr;

const std::string kTrace = "4bf92f3577b34da6a3ce929d0e0e4736";

TraceContext Trace(bool sampled) {
  return TraceContext::FromHeader("00-" + kTrace + "-00f067aa0ba902b7-0" + (sampled ? "1" : "0"));
}

TEST(DurationHistogramTest, ABucketLeadsToTheLastSampledTraceThatFellIntoIt) {
  DurationHistogram histogram("walk_seconds", "How long walks take", {{"to", "shop"}});
  histogram.Observe(milliseconds(4), Trace(true));
  histogram.Observe(milliseconds(40), Trace(false));
  // The same histogram by another name for it.
  DurationHistogram("walk_seconds", "How long walks take", {{"to", "shop"}})
      .Observe(std::chrono::seconds(60), Trace(true));
  const std::string text = OpenMetricsText(Metrics().Collect());
  const std::string exemplar = " # \\{trace_id=\"" + kTrace + "\"\\} ";
  EXPECT_THAT(
      text, HasSubstr("# TYPE walk_seconds histogram\n# HELP walk_seconds How long walks take\n"));
  EXPECT_THAT(text, ContainsRegex("walk_seconds_bucket\\{to=\"shop\",le=\"0.005\"\\} 1" + exemplar +
                                  "0.004 [0-9]{10}\\.[0-9]{3}\n"));
  EXPECT_THAT(text, HasSubstr("walk_seconds_bucket{to=\"shop\",le=\"0.05\"} 2\n"));
  EXPECT_THAT(text, ContainsRegex("walk_seconds_bucket\\{to=\"shop\",le=\"\\+Inf\"\\} 3" +
                                  exemplar + "60 "));
  EXPECT_THAT(text, HasSubstr("walk_seconds_count{to=\"shop\"} 3\n"));
  EXPECT_THAT(text, EndsWith("# EOF\n"));
}

// Prometheus may be given the one or the other.
TEST(DurationHistogramTest, BothFormatsHaveTheSameSamples) {
  CounterFamily("walks_total", "Walks").Add({{"to", "a \"shop\"\nor \\"}}).Increment(3);
  GaugeFamily("walkers", "Who walks").Add({}).Set(0.1);
  DurationHistogram("ride_seconds", "How long rides take", {})
      .Observe(milliseconds(123), Trace(true));
  const auto samples = [](const std::string& text) {
    std::set<std::string> found;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      if (!line.starts_with('#')) found.insert(line.substr(0, line.find(" # ")));
    }
    return found;
  };
  EXPECT_EQ(samples(OpenMetricsText(Metrics().Collect())),
            samples(prometheus::TextSerializer().Serialize(Metrics().Collect())));
  EXPECT_THAT(OpenMetricsText(Metrics().Collect()), HasSubstr("# TYPE walks counter\n"));
}

}  // namespace
}  // namespace shop
