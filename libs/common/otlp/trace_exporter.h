// Sends spans to a collector by OTLP over HTTP (https://opentelemetry.io/docs/specs/otlp/#otlphttp), as protobufs.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/telemetry/span.h"

namespace shop {

// While it is there, spans are recorded. Nothing ever waits for a collector: what it does not take within a few seconds
// is lost, and so is what comes while more than the queue holds is waiting. Both are counted (trace_spans_total).
class TraceExporter : public SpanSink {
 public:
  struct Settings {
    std::string process;                    // service.name
    std::string endpoint;                   // http://localhost:4318; spans go to its /v1/traces
    std::vector<std::string> headers = {};  // "Name: value", such as a collector's token
    std::string ca_file = {};               // whose certificate the collector has to show
    TraceSelection selection = {};
  };

  explicit TraceExporter(const Settings& settings);
  // Sends what is there, for at most a second.
  ~TraceExporter() override;

  void Take(std::vector<SpanRecord> part) override;

  // So that what is counted is there, with 0, before the first span and where nothing is exported.
  static void ShowMetrics();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop
