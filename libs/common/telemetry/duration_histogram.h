// A histogram of durations whose buckets lead to a trace each: an exemplar
// (https://prometheus.io/docs/specs/om/open_metrics_spec/#exemplars).
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "common/telemetry/metrics.h"
#include "common/telemetry/trace.h"

namespace shop {

// Thread-safe. Those of the same name and labels are one.
class DurationHistogram {
 public:
  // Of seconds, in DurationBuckets.
  DurationHistogram(const char* name, const char* help, const prometheus::Labels& labels);

  // The bucket remembers the trace, if it is a sampled one, until the next.
  void Observe(std::chrono::duration<double> took, const TraceContext& trace);

 private:
  prometheus::Histogram& histogram_;
  class Exemplars& exemplars_;
};

// Metrics in OpenMetrics' text format, which has a place for exemplars.
std::string OpenMetricsText(const std::vector<prometheus::MetricFamily>& families);

}  // namespace shop
