#include "common/telemetry/duration_histogram.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <limits>
#include <locale>
#include <map>
#include <mutex>
#include <optional>
#include <sstream>

namespace shop {

class Exemplars {
 public:
  struct Exemplar {
    std::string trace_id;
    double value;
    double time;  // seconds since the epoch
  };

  // The one of a histogram, made at its first use, for as long as the process.
  static Exemplars& Of(const std::string& name, const prometheus::Labels& labels) {
    const std::lock_guard lock(Mutex());
    return All()[{name, labels}];
  }
  // None of a histogram without.
  static Exemplars* Find(const std::string& name, const prometheus::Labels& labels) {
    const std::lock_guard lock(Mutex());
    const auto found = All().find({name, labels});
    return found == All().end() ? nullptr : &found->second;
  }

  void Note(double value, const std::string& trace_id) {
    const auto& bounds = DurationBuckets();
    const auto bucket = std::ranges::lower_bound(bounds, value) - bounds.begin();
    const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
    const std::lock_guard lock(mutex_);
    buckets_[static_cast<size_t>(bucket)] = {trace_id, value, now.count()};
  }
  std::optional<Exemplar> At(size_t bucket) const {
    const std::lock_guard lock(mutex_);
    return bucket < buckets_.size() ? buckets_[bucket] : std::nullopt;
  }

 private:
  using Key = std::pair<std::string, prometheus::Labels>;
  static std::mutex& Mutex() {
    static auto* const mutex = new std::mutex;
    return *mutex;
  }
  static std::map<Key, Exemplars>& All() {
    static auto* const all = new std::map<Key, Exemplars>;
    return *all;
  }

  mutable std::mutex mutex_;
  std::vector<std::optional<Exemplar>> buckets_{DurationBuckets().size() + 1};
};

DurationHistogram::DurationHistogram(const char* name, const char* help,
                                     const prometheus::Labels& labels)
    : histogram_(HistogramFamily(name, help).Add(labels, DurationBuckets())),
      exemplars_(Exemplars::Of(name, labels)) {}

void DurationHistogram::Observe(std::chrono::duration<double> took, const TraceContext& trace) {
  histogram_.Observe(took.count());
  if (trace.sampled) exemplars_.Note(took.count(), trace.trace_id);
}

namespace {

using prometheus::ClientMetric;

std::string Escaped(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '\n') {
      escaped += "\\n";
      continue;
    }
    if (c == '\\' || c == '"') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

void WriteNumber(std::ostream& out, double value) {
  if (std::isinf(value)) {
    out << (value < 0 ? "-Inf" : "+Inf");
  } else if (std::isnan(value)) {
    out << "NaN";
  } else {
    out << value;
  }
}

void WriteLabels(std::ostream& out, const ClientMetric& metric, const double* bound = nullptr) {
  const char* before = "{";
  for (const ClientMetric::Label& label : metric.label) {
    out << before << label.name << "=\"" << Escaped(label.value) << '"';
    before = ",";
  }
  if (bound != nullptr) {
    out << before << "le=\"";
    WriteNumber(out, *bound);
    out << '"';
    before = ",";
  }
  if (*before == ',') out << '}';
}

void WriteHistogram(std::ostream& out, const std::string& name, const ClientMetric& metric) {
  prometheus::Labels labels;
  for (const ClientMetric::Label& label : metric.label) labels[label.name] = label.value;
  const Exemplars* exemplars = Exemplars::Find(name, labels);
  for (size_t i = 0; i < metric.histogram.bucket.size(); ++i) {
    const ClientMetric::Bucket& bucket = metric.histogram.bucket[i];
    out << name << "_bucket";
    WriteLabels(out, metric, &bucket.upper_bound);
    out << ' ' << bucket.cumulative_count;
    if (const auto exemplar = exemplars ? exemplars->At(i) : std::nullopt) {
      out << " # {trace_id=\"" << exemplar->trace_id << "\"} " << exemplar->value << ' '
          << std::fixed << std::setprecision(3) << exemplar->time << std::defaultfloat
          << std::setprecision(std::numeric_limits<double>::max_digits10 - 1);
    }
    out << '\n';
  }
  out << name << "_count";
  WriteLabels(out, metric);
  out << ' ' << metric.histogram.sample_count << '\n' << name << "_sum";
  WriteLabels(out, metric);
  out << ' ';
  WriteNumber(out, metric.histogram.sample_sum);
  out << '\n';
}

void WriteFamily(std::ostream& out, const prometheus::MetricFamily& family) {
  constexpr std::string_view kTotal = "_total";
  const bool counter = family.type == prometheus::MetricType::Counter;
  const bool histogram = family.type == prometheus::MetricType::Histogram;
  std::string name = family.name;
  // A counter's family has its name without the end that its samples have.
  if (counter && name.ends_with(kTotal)) name.resize(name.size() - kTotal.size());
  out << "# TYPE " << name << ' '
      << (counter     ? "counter"
          : histogram ? "histogram"
                      : "gauge")
      << "\n# HELP " << name << ' ' << Escaped(family.help) << '\n';
  for (const ClientMetric& metric : family.metric) {
    if (histogram) {
      WriteHistogram(out, name, metric);
      continue;
    }
    out << name << (counter ? kTotal : "");
    WriteLabels(out, metric);
    out << ' ';
    WriteNumber(out, counter ? metric.counter.value : metric.gauge.value);
    out << '\n';
  }
}

}  // namespace

std::string OpenMetricsText(const std::vector<prometheus::MetricFamily>& families) {
  std::ostringstream out;
  out.imbue(std::locale::classic());
  // Numbers, those of the buckets above all, look as they do in the other format: both have the same series.
  out.precision(std::numeric_limits<double>::max_digits10 - 1);
  for (const prometheus::MetricFamily& family : families) WriteFamily(out, family);
  out << "# EOF\n";
  return std::move(out).str();
}

}  // namespace shop
