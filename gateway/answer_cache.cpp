#include "gateway/answer_cache.h"

#include <algorithm>
#include <utility>

#include "common/telemetry/metrics.h"

namespace shop::gateway {
namespace {

// Of one tag: with more of them a change of one counts as a change of all.
constexpr size_t kMostIds = 10'000;

prometheus::Counter& Requests(const std::string& outcome) {
  return prometheus::BuildCounter()
      .Name("answer_cache_requests_total")
      .Help("Reads whose answers may be kept, by whether one was there or none is kept now.")
      .Register(Metrics())
      .Add({{"outcome", outcome}});
}

size_t SizeOf(std::string_view target, const KeptBody& body) {
  return target.size() + body.plain.size() + body.gzip.size() + 256;
}

}  // namespace

AnswerCache::AnswerCache(std::chrono::milliseconds life, size_t max_bytes)
    : life_(life),
      max_bytes_(max_bytes),
      hits_(Requests("hit")),
      misses_(Requests("miss")),
      bypasses_(Requests("bypass")) {}

std::optional<HttpResponse> AnswerCache::Find(std::string_view target) {
  const std::lock_guard lock(mutex_);
  if (!heard_ || life_.count() == 0) {
    bypasses_.Increment();
    return std::nullopt;
  }
  const auto found = entries_.find(target);
  if (found == entries_.end() || found->second.until < Clock::now() ||
      found->second.asked < LastChange(found->second.subject)) {
    misses_.Increment();
    return std::nullopt;
  }
  hits_.Increment();
  return found->second.answer;
}

uint64_t AnswerCache::Moment() const {
  const std::lock_guard lock(mutex_);
  return moment_;
}

void AnswerCache::Keep(std::string_view target, const HttpResponse& answer, const Subject& subject,
                       uint64_t asked) {
  const size_t size = SizeOf(target, *answer.kept);
  const std::lock_guard lock(mutex_);
  if (!heard_ || life_.count() == 0 || size > max_bytes_ / 16) return;
  if (asked < forgotten_ || asked < LastChange(subject)) return;
  if (bytes_ + size > max_bytes_) {
    entries_.clear();
    bytes_ = 0;
  }
  const auto [entry, added] = entries_.try_emplace(std::string(target));
  if (!added) bytes_ -= SizeOf(target, *entry->second.answer.kept);
  bytes_ += size;
  entry->second = {answer, subject, asked, Clock::now() + life_};
}

void AnswerCache::Changed(const std::string& tag, const std::vector<int64_t>& ids) {
  const std::lock_guard lock(mutex_);
  Changes& changes = changes_[tag];
  changes.some = ++moment_;
  const bool too_many = changes.by_id.size() + ids.size() > kMostIds;
  if (too_many) changes.by_id.clear();
  if (ids.empty() || too_many) changes.all = moment_;
  for (const int64_t id : ids) changes.by_id[id] = moment_;
}

void AnswerCache::Hear(bool heard) {
  const std::lock_guard lock(mutex_);
  heard_ = heard;
  forgotten_ = ++moment_;
  entries_.clear();
  bytes_ = 0;
}

uint64_t AnswerCache::LastChange(const Subject& subject) const {
  const auto changes = changes_.find(subject.tag);
  if (changes == changes_.end()) return 0;
  if (!subject.id) return changes->second.some;
  const auto one = changes->second.by_id.find(*subject.id);
  return std::max(changes->second.all, one == changes->second.by_id.end() ? 0 : one->second);
}

}  // namespace shop::gateway
