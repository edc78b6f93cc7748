#include "gateway/cache/response_cache.h"

#include <algorithm>
#include <random>
#include <utility>

#include "common/crypto/random.h"
#include "common/telemetry/metrics.h"

namespace shop::gateway {
namespace {

// Of one tag: with more of them a change of one counts as a change of all.
constexpr size_t kMostIds = 10'000;

prometheus::Counter& Requests(const std::string& outcome) {
  return prometheus::BuildCounter()
      .Name("answer_cache_requests_total")
      .Help("Reads whose responses may be cached: found, not found, or caching is off.")
      .Register(Metrics())
      .Add({{"outcome", outcome}});
}

size_t SizeOf(std::string_view target, const SharedBody& body) {
  return target.size() + 2 * body.plain().size() + 256;  // it may be compressed later
}

}  // namespace

ResponseCache::ResponseCache(std::chrono::milliseconds max_age, size_t max_bytes)
    : max_age_(max_age),
      max_bytes_(max_bytes),
      hits_(Requests("hit")),
      misses_(Requests("miss")),
      bypasses_(Requests("bypass")) {}

std::optional<HttpResponse> ResponseCache::Find(std::string_view target) {
  const std::lock_guard lock(mutex_);
  if (!subscribed_ || max_age_.count() == 0) {
    bypasses_.Increment();
    return std::nullopt;
  }
  const auto found = entries_.find(target);
  if (found == entries_.end() || !IsFreshLocked(found->second.subject, found->second.stamp)) {
    misses_.Increment();
    return std::nullopt;
  }
  hits_.Increment();
  return found->second.response;
}

ResponseCache::Stamp ResponseCache::Now() const {
  const std::lock_guard lock(mutex_);
  return {sequence_, Clock::now()};
}

bool ResponseCache::IsFresh(const Subject& subject, const Stamp& stamp) const {
  const std::lock_guard lock(mutex_);
  return IsFreshLocked(subject, stamp);
}

bool ResponseCache::IsEnabled() const {
  const std::lock_guard lock(mutex_);
  return subscribed_ && max_age_.count() > 0;
}

void ResponseCache::Put(std::string_view target, const HttpResponse& response,
                        const Subject& subject, const Stamp& stamp) {
  const size_t size = SizeOf(target, *response.shared_body);
  const std::lock_guard lock(mutex_);
  if (size > max_bytes_ / 16 || !IsFreshLocked(subject, stamp)) return;
  if (bytes_ + size > max_bytes_) {
    entries_.clear();
    bytes_ = 0;
  }
  const auto [entry, added] = entries_.try_emplace(std::string(target));
  if (!added) bytes_ -= SizeOf(target, *entry->second.response.shared_body);
  bytes_ += size;
  // As if it were up to a quarter of its time older: what was asked for at one moment is not asked for
  // again at one moment.
  std::uniform_int_distribution<Clock::rep> older(0, Clock::duration(max_age_).count() / 4);
  entry->second = {
      response, subject, {stamp.sequence, stamp.time - Clock::duration(older(ThreadRandom()))}};
}

void ResponseCache::Changed(const std::string& tag, const std::vector<int64_t>& ids) {
  const std::lock_guard lock(mutex_);
  Changes& changes = changes_[tag];
  changes.lists = ++sequence_;
  Note(changes, ids);
}

void ResponseCache::Sold(const std::string& tag, const std::vector<int64_t>& ids) {
  const std::lock_guard lock(mutex_);
  ++sequence_;
  Note(changes_[tag], ids);
}

void ResponseCache::Note(Changes& changes, const std::vector<int64_t>& ids) {
  const bool too_many = changes.by_id.size() + ids.size() > kMostIds;
  if (too_many) changes.by_id.clear();
  if (ids.empty() || too_many) changes.each = sequence_;
  for (const int64_t id : ids) changes.by_id[id] = sequence_;
}

void ResponseCache::SetSubscribed(bool subscribed) {
  const std::lock_guard lock(mutex_);
  subscribed_ = subscribed;
  cleared_at_ = ++sequence_;
  entries_.clear();
  bytes_ = 0;
}

bool ResponseCache::IsFreshLocked(const Subject& subject, const Stamp& stamp) const {
  return subscribed_ && stamp.sequence >= cleared_at_ && stamp.sequence >= LastChange(subject) &&
         Clock::now() < stamp.time + max_age_;
}

uint64_t ResponseCache::LastChange(const Subject& subject) const {
  const auto changes = changes_.find(subject.tag);
  if (changes == changes_.end()) return 0;
  if (!subject.id) return changes->second.lists;
  const auto one = changes->second.by_id.find(*subject.id);
  return std::max(changes->second.each, one == changes->second.by_id.end() ? 0 : one->second);
}

}  // namespace shop::gateway
