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
  if (found == entries_.end() || !Good(found->second.subject, found->second.asked)) {
    misses_.Increment();
    return std::nullopt;
  }
  hits_.Increment();
  return found->second.answer;
}

AnswerCache::Asked AnswerCache::Now() const {
  const std::lock_guard lock(mutex_);
  return {moment_, Clock::now()};
}

bool AnswerCache::Serves(const Subject& subject, const Asked& asked) const {
  const std::lock_guard lock(mutex_);
  return Good(subject, asked);
}

bool AnswerCache::Keeps() const {
  const std::lock_guard lock(mutex_);
  return heard_ && life_.count() > 0;
}

void AnswerCache::Keep(std::string_view target, const HttpResponse& answer, const Subject& subject,
                       const Asked& asked) {
  const size_t size = SizeOf(target, *answer.kept);
  const std::lock_guard lock(mutex_);
  if (size > max_bytes_ / 16 || !Good(subject, asked)) return;
  if (bytes_ + size > max_bytes_) {
    entries_.clear();
    bytes_ = 0;
  }
  const auto [entry, added] = entries_.try_emplace(std::string(target));
  if (!added) bytes_ -= SizeOf(target, *entry->second.answer.kept);
  bytes_ += size;
  entry->second = {answer, subject, asked};
}

void AnswerCache::Changed(const std::string& tag, const std::vector<int64_t>& ids) {
  const std::lock_guard lock(mutex_);
  Changes& changes = changes_[tag];
  changes.lists = ++moment_;
  Note(changes, ids);
}

void AnswerCache::Sold(const std::string& tag, const std::vector<int64_t>& ids) {
  const std::lock_guard lock(mutex_);
  ++moment_;
  Note(changes_[tag], ids);
}

void AnswerCache::Note(Changes& changes, const std::vector<int64_t>& ids) {
  const bool too_many = changes.by_id.size() + ids.size() > kMostIds;
  if (too_many) changes.by_id.clear();
  if (ids.empty() || too_many) changes.each = moment_;
  for (const int64_t id : ids) changes.by_id[id] = moment_;
}

void AnswerCache::Hear(bool heard) {
  const std::lock_guard lock(mutex_);
  heard_ = heard;
  forgotten_ = ++moment_;
  entries_.clear();
  bytes_ = 0;
}

bool AnswerCache::Good(const Subject& subject, const Asked& asked) const {
  return heard_ && asked.moment >= forgotten_ && asked.moment >= LastChange(subject) &&
         Clock::now() < asked.at + life_;
}

uint64_t AnswerCache::LastChange(const Subject& subject) const {
  const auto changes = changes_.find(subject.tag);
  if (changes == changes_.end()) return 0;
  if (!subject.id) return changes->second.lists;
  const auto one = changes->second.by_id.find(*subject.id);
  return std::max(changes->second.each, one == changes->second.by_id.end() ? 0 : one->second);
}

}  // namespace shop::gateway
