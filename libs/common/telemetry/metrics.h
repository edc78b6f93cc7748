// The process's Prometheus registry, served at /metrics of the admin port.
//
//   auto& family =
//       prometheus::BuildCounter().Name("rpc_handled_total").Help("…").Register(Metrics());
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

// Buckets for durations of requests and events, in seconds: 0.5 ms to 10 s.
const prometheus::Histogram::BucketBoundaries& DurationBuckets();

}  // namespace shop
