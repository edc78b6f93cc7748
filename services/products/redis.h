// Commands to one Redis server, over connections that are kept open.
//
// Connecting and answering are each waited for 100 ms: whoever asks Redis can also do without, and
// should soon know that it must. Thread-safe: each caller has a connection to itself for a command,
// so there are at most as many as there are callers at once.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/core/env.h"

struct redisContext;

namespace shop::products {

class Redis {
 public:
  struct Settings {
    std::string host;
    uint16_t port = 6379;
    std::string password = {};
    int database = 0;

    // REDIS_URL: redis://[:password@]host[:port][/database]
    static Settings Read(Env& env);
  };

  // Connects when first needed. Expects SIGPIPE to be ignored, as shop::Process does.
  explicit Redis(Settings settings);
  ~Redis();
  Redis(const Redis&) = delete;
  Redis& operator=(const Redis&) = delete;

  // The reply as text, nothing for nil. A connection that was found dead is replaced and the
  // command sent again, so only send what may run twice. Throws Unavailable when Redis is away or
  // late, or answers an error.
  std::optional<std::string> Command(const std::vector<std::string>& words);

 private:
  struct Close {
    void operator()(redisContext* context) const;
  };
  using Connection = std::unique_ptr<redisContext, Close>;

  Connection Connect() const;
  Connection TakeIdle();

  const Settings settings_;
  std::mutex mutex_;
  std::vector<Connection> idle_;
};

}  // namespace shop::products
