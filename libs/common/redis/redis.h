// One Redis server: commands over connections that are kept open, and what is published on it.
//
// Connecting and answering are each waited for 100 ms: whoever asks Redis can also do without, and
// should soon know that it must. A Client is thread-safe: each caller has a connection to itself
// for a command, so there are at most as many as there are callers at once.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "common/core/env.h"

struct redisContext;

namespace shop::redis {

struct Settings {
  std::string host;
  uint16_t port = 6379;
  std::string password = {};
  int database = 0;

  // REDIS_URL(_FILE): redis://[:password@]host[:port][/database]
  static Settings Read(Env& env);
};

struct Close {
  void operator()(redisContext* context) const;
};
using Connection = std::unique_ptr<redisContext, Close>;

class Client {
 public:
  // Connects when first needed. Expects SIGPIPE to be ignored, as shop::Process does.
  explicit Client(Settings settings);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // The reply as text, nothing for nil. A connection that was found dead is replaced and the
  // command sent again, so only send what may run twice. Throws Unavailable when Redis is away or
  // late, or answers an error.
  std::optional<std::string> Command(const std::vector<std::string>& words);

 private:
  Connection TakeIdle();

  const Settings settings_;
  std::mutex mutex_;
  std::vector<Connection> idle_;
};

// Hears what is published on some channels, in a thread of its own, for as long as it lives.
//
// What is published while Redis is away is lost (https://redis.io/docs/latest/develop/pubsub/), so
// the listener is told when that may be: `connected` comes before the first message of a
// connection, `lost` once that connection may miss one. A connection that says nothing for two
// seconds, to a PING either, is lost.
class Subscription {
 public:
  struct Listener {
    std::function<void()> connected;
    std::function<void(const std::string& channel, const std::string& message)> received;
    std::function<void()> lost;
  };

  // Expects SIGPIPE to be ignored. The listener is called from the subscription's thread alone and
  // must not throw.
  Subscription(Settings settings, std::vector<std::string> channels, Listener listener);
  ~Subscription();
  Subscription(const Subscription&) = delete;
  Subscription& operator=(const Subscription&) = delete;

 private:
  void Run(const std::stop_token& stop);
  void Listen(const std::stop_token& stop);

  const Settings settings_;
  const std::vector<std::string> channels_;
  const Listener listener_;
  std::jthread thread_;  // the last: it uses the others
};

}  // namespace shop::redis
