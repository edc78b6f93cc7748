// Work that costs little more for many than for one, such as a transaction or a call: what several threads want done at the
// same moment is done at once ("group commit").
//
//   Batcher<Placing> placings(1, 64, [&](const std::vector<Placing*>& batch) { …  // one transaction });
//   …
//   Placing placing{order};
//   if (!placings.Do(placing)) …  // the batch has failed: does it on its own
//
// Nobody waits for others to come. Where fewer batches are under way than may be, an item is worked on at once, alone; those
// that come meanwhile wait, and the next batch takes them all, first come first served.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "common/core/deadline.h"
#include "common/core/result.h"
#include "common/telemetry/log.h"

namespace shop {

// Thread-safe.
template <typename Item>
class Batcher {
 public:
  // What is done for a batch, by the thread of its first item and within that thread's DeadlineScope. It may read and change
  // all of the items: their threads wait.
  using Work = std::function<void(const std::vector<Item*>& batch)>;

  // At most `at_once` batches are under way together, and a batch has at most `most` items.
  Batcher(int at_once, size_t most, Work work)
      : at_once_(at_once), most_(most), work_(std::move(work)) {}
  Batcher(const Batcher&) = delete;
  Batcher& operator=(const Batcher&) = delete;

  // Has the item worked on, and returns when its batch has ended. False when the work threw, whichever item was to blame.
  // Throws Unavailable when the caller's DeadlineScope ends before its batch begins: then it is in none. From there on it
  // waits for the end, as its item is being worked on; the batch is led by the thread that has most time left.
  bool Do(Item& item) {
    Entry entry{.item = &item, .deadline = DeadlineScope::Current()};
    std::unique_lock lock(mutex_);
    waiting_.push_back(&entry);
    LetNextLead();
    const bool begun = entry.changed.wait_until(lock, DeadlineScope::Stop(), entry.deadline,
                                                [&] { return entry.state != State::kWaiting; });
    if (!begun) {
      std::erase(waiting_, &entry);
      throw Unavailable("the caller's deadline has passed, or it was told to stop");
    }
    if (entry.state == State::kLeads) Lead(lock, entry);
    entry.changed.wait(
        lock, [&] { return entry.state == State::kDone || entry.state == State::kFailed; });
    return entry.state == State::kDone;
  }

  // How many items wait for a batch that has not begun.
  size_t waiting() const {
    const std::lock_guard lock(mutex_);
    return waiting_.size();
  }

 private:
  enum class State { kWaiting, kLeads, kTaken, kDone, kFailed };
  struct Entry {
    Item* item;
    DeadlineScope::TimePoint deadline;
    State state = State::kWaiting;
    std::condition_variable_any changed = {};
  };

  // With the lock held, as is what follows.
  void LetNextLead() {
    while (under_way_ < at_once_ && !waiting_.empty()) {
      const auto next = std::ranges::max_element(waiting_, {}, &Entry::deadline);
      Change(**next, State::kLeads);
      waiting_.erase(next);
      ++under_way_;
    }
  }

  // Takes all that have come by now, which may be more than had when it was told to lead.
  void Lead(std::unique_lock<std::mutex>& lock, Entry& leader) {
    std::vector<Entry*> batch{&leader};
    while (!waiting_.empty() && batch.size() < most_) {
      waiting_.front()->state = State::kTaken;
      batch.push_back(waiting_.front());
      waiting_.pop_front();
    }
    lock.unlock();
    const bool done = Works(batch);
    lock.lock();
    for (Entry* entry : batch) Change(*entry, done ? State::kDone : State::kFailed);
    --under_way_;
    LetNextLead();
  }

  // Under the lock, as the entry is gone once its thread has seen the change.
  static void Change(Entry& entry, State state) {
    entry.state = state;
    entry.changed.notify_one();
  }

  bool Works(const std::vector<Entry*>& batch) {
    std::vector<Item*> items;
    for (const Entry* entry : batch) items.push_back(entry->item);
    try {
      work_(items);
      return true;
    } catch (const std::exception& error) {
      if (items.size() > 1) {
        log::Warning("what was done for several requests at once failed, each goes on by itself",
                     {{"requests", items.size()}, {"error", error.what()}});
      }
      return false;
    }
  }

  const int at_once_;
  const size_t most_;
  const Work work_;
  mutable std::mutex mutex_;
  std::deque<Entry*> waiting_;
  int under_way_ = 0;
};

}  // namespace shop
