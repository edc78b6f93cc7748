// What /metrics says of the process itself, under the names that Prometheus's own client libraries use.
#pragma once

#include <prometheus/metric_family.h>

#include <vector>

namespace shop {

// As /proc has it now.
std::vector<prometheus::MetricFamily> ProcessMetrics();

}  // namespace shop
