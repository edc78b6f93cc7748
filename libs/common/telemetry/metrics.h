// The process's Prometheus registry, served at /metrics of the admin port.
//
//   auto& family = CounterFamily("rpc_handled_total", "…");
//
// Keep the counters that family.Add(labels) gives: looking one up takes a lock. Labels come from
// bounded sets (methods, topics, codes), never from what a client sent.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

namespace shop {

prometheus::Registry& Metrics();

// The metrics of a name, one for each set of labels: the same family at each call.
inline prometheus::Family<prometheus::Counter>& CounterFamily(const char* name, const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(Metrics());
}
inline prometheus::Family<prometheus::Gauge>& GaugeFamily(const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(Metrics());
}
inline prometheus::Family<prometheus::Histogram>& HistogramFamily(const char* name,
                                                                  const char* help) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(Metrics());
}

// Buckets for durations of requests and events, in seconds: 0.5 ms to 10 s.
const prometheus::Histogram::BucketBoundaries& DurationBuckets();

}  // namespace shop
