#include "products/product_cache.h"

#include <fmt/format.h>

#include "common/core/result.h"
#include "common/crypto/random.h"
#include "common/telemetry/log.h"
#include "common/telemetry/metrics.h"

namespace shop::products {
namespace {

// Longer than a read of the database takes; the copy of a slower reader is not stored.
constexpr char kLeaseMilliseconds[] = "3000";

constexpr char kKeepScript[] =
    "if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end "
    "redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3]) "
    "redis.call('DEL', KEYS[2]) "
    "return 1";

// Deletes first: a subscriber that is notified of the change must find no stale copy.
constexpr char kDeleteScript[] =
    "redis.call('DEL', unpack(KEYS)) "
    "redis.call('PUBLISH', ARGV[1], ARGV[2]) "
    "return 1";

// No two processes' leases are ever the same.
std::string RandomPrefix() {
  return fmt::format("{:016x}-", ThreadRandom()());
}

prometheus::Counter& Requests(const std::string& outcome) {
  return prometheus::BuildCounter()
      .Name("cache_requests_total")
      .Help("Reads of products, by whether the cache had a copy or was bypassed")
      .Register(Metrics())
      .Add({{"outcome", outcome}});
}

}  // namespace

ProductCache::Settings ProductCache::Settings::Read(Env& env) {
  Settings settings;
  settings.redis = redis::Settings::Read(env);
  settings.life = std::chrono::seconds(env.Integer("CACHE_TTL_SECONDS", 300, 1, 86'400));
  return settings;
}

ProductCache::ProductCache(Settings settings, Drain drain)
    : settings_(std::move(settings)),
      drain_(std::move(drain)),
      token_prefix_(RandomPrefix()),
      redis_(settings_.redis),
      hits_(Requests("hit")),
      misses_(Requests("miss")),
      bypasses_(Requests("bypass")),
      thread_([this] { DrainUntilStopped(); }) {}

ProductCache::~ProductCache() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

std::string ProductCache::CopyKey(int64_t id) const {
  return settings_.prefix + std::to_string(id);
}

std::string ProductCache::LeaseKey(int64_t id) const {
  return CopyKey(id) + ":lease";
}

ProductCache::Found ProductCache::Find(int64_t id) {
  if (!serving()) {
    bypasses_.Increment();
    return {};
  }
  try {
    if (std::optional<std::string> copy = redis_.Command({"GET", CopyKey(id)})) {
      hits_.Increment();
      return {std::move(copy), {}};
    }
    misses_.Increment();
    std::string token = token_prefix_ + std::to_string(++tokens_);
    if (!redis_.Command({"SET", LeaseKey(id), token, "NX", "PX", kLeaseMilliseconds})) return {};
    return {std::nullopt, std::move(token)};
  } catch (const Unavailable& error) {
    bypasses_.Increment();
    Failed(error);
    return {};
  }
}

void ProductCache::Put(int64_t id, const std::string& lease, const std::string& copy) {
  if (lease.empty() || !serving()) return;
  try {
    redis_.Command({"EVAL", kKeepScript, "2", CopyKey(id), LeaseKey(id), lease, copy,
                    std::to_string(settings_.life.count())});
  } catch (const Unavailable& error) {
    Failed(error);
  }
}

void ProductCache::Remove(const std::vector<int64_t>& ids) {
  RemoveNow(ids, settings_.changed_channel);
}

void ProductCache::RemoveSold(const std::vector<int64_t>& ids) {
  RemoveNow(ids, settings_.sold_channel);
}

void ProductCache::RemoveNow(const std::vector<int64_t>& ids, const std::string& channel) {
  if (!reachable_) return;  // the next drain begins after this commit, and includes it
  try {
    Delete(ids, channel);
  } catch (const Unavailable& error) {
    Failed(error);
  }
}

void ProductCache::Delete(const std::vector<int64_t>& ids, const std::string& channel) {
  if (ids.empty()) return;
  std::vector<std::string> words{"EVAL", kDeleteScript, std::to_string(2 * ids.size())};
  std::string names;
  for (const int64_t id : ids) {
    words.push_back(CopyKey(id));
    words.push_back(LeaseKey(id));
    names += (names.empty() ? "" : " ") + std::to_string(id);
  }
  words.push_back(channel);
  words.push_back(std::move(names));
  redis_.Command(words);
}

void ProductCache::Failed(const std::exception& error) {
  const bool served = serving();
  reachable_ = false;
  ++failures_;
  if (served) log::Warning("the cache is bypassed", {{"error", error.what()}});
}

void ProductCache::DrainOnce() {
  const uint64_t failures = failures_;
  try {
    redis_.Command({"PING"});
    reachable_ = true;
  } catch (const Unavailable& error) {
    Failed(error);
    return;
  }
  try {
    drain_([this](const std::vector<int64_t>& changed, const std::vector<int64_t>& sold) {
      try {
        Delete(changed, settings_.changed_channel);
        Delete(sold, settings_.sold_channel);
      } catch (const Unavailable& error) {
        Failed(error);
        throw;
      }
    });
  } catch (const std::exception& error) {
    // While the database is away nothing changes, so the copies that are served stay valid.
    log::Debug("pending invalidations are retried later", {{"error", error.what()}});
    return;
  }
  if (healed_.exchange(failures) != failures) log::Info("the cache is in use");
}

void ProductCache::DrainUntilStopped() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    lock.unlock();
    DrainOnce();
    lock.lock();
    wake_.wait_for(lock, settings_.drain_every, [this] { return stopping_; });
  }
}

}  // namespace shop::products
