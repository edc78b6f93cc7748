// One Redis server: commands over connections that are kept open, and subscriptions.
//
// Connecting and each command may take 100 ms: whoever asks Redis can do without it, and should soon
// know that it must. A Client is thread-safe: each command has a connection to itself, so there are at
// most as many connections as commands that run at the same time.
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
  std::string user = {};  // of Redis' access control lists; empty: the user `default`
  std::string password = {};
  int database = 0;

  // REDIS_URL(_FILE): redis://[[user]:password@]host[:port][/database]
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

  // The reply as text, nothing for nil. When an idle connection turns out to be dead, the command is
  // sent again over a new one, so send only what may run twice. Throws Unavailable when Redis is
  // away, late, or replies with an error.
  std::optional<std::string> Command(const std::vector<std::string>& words);

 private:
  Connection TakeIdle();

  const Settings settings_;
  std::mutex mutex_;
  std::vector<Connection> idle_;
};

// Subscribes to some channels, in a thread of its own, for as long as it lives.
//
// Messages that are published while Redis is away are lost
// (https://redis.io/docs/latest/develop/pubsub/). The listener learns when that may have happened:
// `connected` comes before the first message of a connection, `lost` as soon as the connection may
// miss one. A connection that sends nothing for two seconds, not even the reply to a PING, is lost.
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
