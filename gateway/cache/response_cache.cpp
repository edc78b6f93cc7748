#include "gateway/cache/response_cache.h"

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

size_t SizeOf(std::string_view target, const SharedBody& body) {
  return target.size() + body.plain.size() + body.gzip.size() + 256;
}

}  // namespace

ResponseCache::ResponseCache(std::chrono::milliseconds life, size_t max_bytes)
    : life_(life),
      max_bytes_(max_bytes),
      hits_(Requests("hit")),
      misses_(Requests("miss")),
      bypasses_(Requests("bypass")) {}

std::optional<HttpResponse> ResponseCache::Find(std::string_view target) {
  const std::lock_guard lock(mutex_);
  if (!subscribed_ || life_.count() == 0) {
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

ResponseCache::Asked ResponseCache::Now() const {
  const std::lock_guard lock(mutex_);
  return {moment_, Clock::now()};
}

bool ResponseCache::Serves(const Subject& subject, const Asked& asked) const {
  const std::lock_guard lock(mutex_);
  return Good(subject, asked);
}

bool ResponseCache::Keeps() const {
  const std::lock_guard lock(mutex_);
  return subscribed_ && life_.count() > 0;
}

void ResponseCache::Put(std::string_view target, const HttpResponse& answer, const Subject& subject,
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

void ResponseCache::Changed(const std::string& tag, const std::vector<int64_t>& ids) {
  const std::lock_guard lock(mutex_);
  Changes& changes = changes_[tag];
  changes.lists = ++moment_;
  Note(changes, ids);
}

void ResponseCache::Sold(const std::string& tag, const std::vector<int64_t>& ids) {
  const std::lock_guard lock(mutex_);
  ++moment_;
  Note(changes_[tag], ids);
}

void ResponseCache::Note(Changes& changes, const std::vector<int64_t>& ids) {
  const bool too_many = changes.by_id.size() + ids.size() > kMostIds;
  if (too_many) changes.by_id.clear();
  if (ids.empty() || too_many) changes.each = moment_;
  for (const int64_t id : ids) changes.by_id[id] = moment_;
}

void ResponseCache::SetSubscribed(bool subscribed) {
  const std::lock_guard lock(mutex_);
  subscribed_ = subscribed;
  forgotten_ = ++moment_;
  entries_.clear();
  bytes_ = 0;
}

bool ResponseCache::Good(const Subject& subject, const Asked& asked) const {
  return subscribed_ && asked.moment >= forgotten_ && asked.moment >= LastChange(subject) &&
         Clock::now() < asked.at + life_;
}

uint64_t ResponseCache::LastChange(const Subject& subject) const {
  const auto changes = changes_.find(subject.tag);
  if (changes == changes_.end()) return 0;
  if (!subject.id) return changes->second.lists;
  const auto one = changes->second.by_id.find(*subject.id);
  return std::max(changes->second.each, one == changes->second.by_id.end() ? 0 : one->second);
}

}  // namespace shop::gateway
