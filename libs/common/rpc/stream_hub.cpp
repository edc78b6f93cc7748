#include "common/rpc/stream_hub.h"

#include <exception>
#include <utility>

#include "common/core/deadline.h"
#include "common/telemetry/log.h"

namespace shop::rpc {
namespace {

constexpr std::chrono::seconds kPollLimit{5};
// Between two polls, however many ask for one.
constexpr std::chrono::milliseconds kPause{20};

}  // namespace

StreamHub::StreamHub(Newest newest, std::chrono::milliseconds poll)
    : newest_(std::move(newest)),
      poll_(poll),
      thread_([this](const std::stop_token& stop) { Run(stop); }) {}

StreamHub::~StreamHub() = default;

void StreamHub::Wake(int64_t key) noexcept {
  const std::lock_guard lock(mutex_);
  const auto [first, last] = listeners_.equal_range(key);
  for (auto at = first; at != last; ++at) at->second->Wake();
}

StreamHub::Listeners::iterator StreamHub::Add(int64_t key, std::shared_ptr<Listener> listener) {
  const std::lock_guard lock(mutex_);
  return listeners_.emplace(key, std::move(listener));
}

void StreamHub::Remove(Listeners::iterator place) {
  Listeners::node_type removed;  // destroyed without the lock
  const std::lock_guard lock(mutex_);
  removed = listeners_.extract(place);
}

void StreamHub::PollSoon() noexcept {
  {
    const std::lock_guard lock(mutex_);
    soon_ = true;
  }
  wait_.notify_one();
}

void StreamHub::Run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    {
      std::unique_lock lock(mutex_);
      wait_.wait_for(lock, stop, kPause, [] { return false; });
      wait_.wait_for(lock, stop, poll_, [this] { return soon_; });
      soon_ = false;
    }
    if (stop.stop_requested()) return;
    const DeadlineScope until(std::chrono::steady_clock::now() + kPollLimit, stop);
    try {
      Poll();
      away_ = false;
    } catch (const std::exception& error) {
      if (!away_) log::Warning("cannot look for news of streams", {{"error", error.what()}});
      away_ = true;
    }
  }
}

void StreamHub::Poll() {
  std::vector<int64_t> keys;
  {
    const std::lock_guard lock(mutex_);
    for (auto at = listeners_.begin(); at != listeners_.end();
         at = listeners_.upper_bound(at->first)) {
      keys.push_back(at->first);
    }
  }
  if (keys.empty()) return;
  const std::map<int64_t, int64_t> newest = newest_(keys);
  const std::lock_guard lock(mutex_);
  for (const auto& [key, id] : newest) {
    const auto [first, last] = listeners_.equal_range(key);
    for (auto at = first; at != last; ++at) {
      if (at->second->cursor() < id) at->second->Wake();
    }
  }
}

}  // namespace shop::rpc
