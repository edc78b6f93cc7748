// Wakes the open streams of a service when there may be something new for them.
//
//   rpc::StreamHub changes_{[this](const std::vector<int64_t>& orders) {
//     return NewestChanges(db_, orders);  // SELECT order_id, max(seq) … = ANY($1) GROUP BY order_id
//   }};
//   …
//   changes_.Wake(order_id);  // after the commit, on whatever thread
//
// Wake makes it quick, for what this process has committed. The poll is what is promised: by one
// question for all watched keys it finds what other replicas have committed, or what a wake was lost for.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <thread>
#include <vector>

namespace shop::rpc {

// Thread-safe.
class StreamHub {
 public:
  // Of each of these keys the newest id; keys without any may be left out. Called on the hub's own
  // thread, within a DeadlineScope; when it throws, the next poll asks again.
  using Newest = std::function<std::map<int64_t, int64_t>(const std::vector<int64_t>& keys)>;

  explicit StreamHub(Newest newest,
                     std::chrono::milliseconds poll = std::chrono::milliseconds(500));
  // No stream may be open any more.
  ~StreamHub();
  StreamHub(const StreamHub&) = delete;
  StreamHub& operator=(const StreamHub&) = delete;

  // Wakes the streams of this key. Returns at once and never throws.
  void Wake(int64_t key) noexcept;

  // Polls at once, for commits of this process whose keys are not at hand: what Pool::Subscribe calls.
  // Returns at once and never throws. Many calls are one poll, at most fifty times a second.
  void PollSoon() noexcept;

  // One stream, as the hub sees it. Both are called on any thread and must not block.
  class Listener {
   public:
    virtual ~Listener() = default;
    virtual void Wake() = 0;
    // The id of the last message that was written.
    virtual int64_t cursor() const = 0;
  };
  using Listeners = std::multimap<int64_t, std::shared_ptr<Listener>>;

  Listeners::iterator Add(int64_t key, std::shared_ptr<Listener> listener);
  void Remove(Listeners::iterator place);

 private:
  void Run(const std::stop_token& stop);
  void Poll();

  const Newest newest_;
  const std::chrono::milliseconds poll_;
  bool away_ = false;  // whether the last poll failed; of the thread alone
  std::mutex mutex_;
  std::condition_variable_any wait_;
  bool soon_ = false;
  Listeners listeners_;
  std::jthread thread_;  // the last: it uses the rest
};

}  // namespace shop::rpc
