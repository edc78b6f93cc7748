// Leases, invalidation, and what happens while Redis is away. Each case has its own key prefix.
#include "products/product_cache.h"

#include <gmock/gmock.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "common/core/result.h"
#include "common/testing/servers.h"

namespace shop::products {
namespace {

using ::testing::ElementsAre;
using testing::Eventually;
using ::testing::IsEmpty;

// A port of loopback between clients and Redis that can be cut (connections end, new ones are
// refused), muted (bytes arrive and no answer comes) and mended.
class Wire {
 public:
  explicit Wire(uint16_t to) : to_(to) { Mend(); }
  ~Wire() { Cut(); }

  uint16_t port() const { return port_; }
  void Mute() { muted_ = true; }
  void Mend() {
    muted_ = false;
    listener_ = socket(AF_INET, SOCK_STREAM, 0);
    const int yes = 1;
    setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    sockaddr_in address = Loopback(port_);
    if (bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        listen(listener_, 64) != 0) {
      throw std::runtime_error("no port for the wire");
    }
    socklen_t size = sizeof address;
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { Accept(); });
  }
  void Cut() {
    if (!acceptor_.joinable()) return;
    shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    close(listener_);
    for (const int end : ends_) shutdown(end, SHUT_RDWR);
    for (std::thread& pump : pumps_) pump.join();
    for (const int end : ends_) close(end);
    pumps_.clear();
    ends_.clear();
  }

 private:
  static sockaddr_in Loopback(uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }
  void Accept() {
    for (;;) {
      const int client = accept(listener_, nullptr, nullptr);
      if (client < 0) return;
      const int server = socket(AF_INET, SOCK_STREAM, 0);
      const sockaddr_in address = Loopback(to_);
      if (connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        shutdown(client, SHUT_RDWR);
      }
      ends_.insert(ends_.end(), {client, server});
      pumps_.emplace_back([this, client, server] { Pump(client, server); });
      pumps_.emplace_back([this, client, server] { Pump(server, client); });
    }
  }
  void Pump(int from, int to) {
    char bytes[4096];
    for (ssize_t got; (got = read(from, bytes, sizeof bytes)) > 0;) {
      if (muted_) continue;
      if (write(to, bytes, static_cast<size_t>(got)) != got) break;
    }
    shutdown(to, SHUT_RDWR);
  }

  const uint16_t to_;
  uint16_t port_ = 0;
  int listener_ = -1;
  std::atomic<bool> muted_ = false;
  std::thread acceptor_;
  std::vector<std::thread> pumps_;
  std::vector<int> ends_;
};

// What the database keeps of pending invalidations.
class Pending {
 public:
  void Add(int64_t id) {
    const std::lock_guard lock(mutex_);
    ids_.push_back(id);
  }
  bool empty() {
    const std::lock_guard lock(mutex_);
    return ids_.empty();
  }
  void Drain(const ProductCache::Invalidate& invalidate) {
    const std::lock_guard lock(mutex_);
    if (ids_.empty()) return;
    invalidate(ids_);
    ids_.clear();
  }

 private:
  std::mutex mutex_;
  std::vector<int64_t> ids_;
};

class ProductCacheTest : public ::testing::Test {
 protected:
  ProductCacheTest() {
    signal(SIGPIPE, SIG_IGN);
    EXPECT_TRUE(Eventually([&] { return cache_.serving(); }));
  }

  static Redis::Settings Server() {
    Env env([](const std::string& name) { return std::optional(testing::Server(name)); });
    return Redis::Settings::Read(env);
  }
  Redis::Settings ThroughWire() const {
    Redis::Settings settings = Server();
    settings.host = "127.0.0.1";
    settings.port = wire_.port();
    return settings;
  }
  std::optional<std::string> Copy(int64_t id) { return cache_.Find(id).copy; }
  void Put(int64_t id, const std::string& copy) { cache_.Keep(id, cache_.Find(id).lease, copy); }

  Wire wire_{Server().port};
  Redis direct_{Server()};
  Pending pending_;
  const std::string prefix_ = testing::UniqueName() + ":";
  ProductCache cache_{{.redis = ThroughWire(),
                       .life = std::chrono::seconds(60),
                       .prefix = prefix_,
                       .drain_every = std::chrono::milliseconds(20)},
                      [this](const ProductCache::Invalidate& remove) { pending_.Drain(remove); }};
};

TEST_F(ProductCacheTest, WhatWasKeptIsFound) {
  const ProductCache::Found miss = cache_.Find(1);
  EXPECT_FALSE(miss.copy);
  ASSERT_FALSE(miss.lease.empty());
  const std::string bytes("a\0b\r\n\xff", 6);
  cache_.Keep(1, miss.lease, bytes);
  EXPECT_EQ(Copy(1), bytes);
  EXPECT_FALSE(Copy(2));
}

TEST_F(ProductCacheTest, OneReaderAtATimeGetsTheLease) {
  EXPECT_FALSE(cache_.Find(1).lease.empty());
  EXPECT_THAT(cache_.Find(1).lease, IsEmpty());
}

TEST_F(ProductCacheTest, WhatWasReadBeforeAnInvalidationIsNotKept) {
  const std::string lease = cache_.Find(1).lease;
  cache_.Remove({1});
  cache_.Keep(1, lease, "stale");
  EXPECT_FALSE(Copy(1));
}

TEST_F(ProductCacheTest, ALeaseOfBeforeAnInvalidationDoesNotPassForTheNextOne) {
  const std::string before = cache_.Find(1).lease;
  cache_.Remove({1});
  const std::string after = cache_.Find(1).lease;
  ASSERT_FALSE(after.empty());
  cache_.Keep(1, before, "stale");
  cache_.Keep(1, after, "fresh");
  EXPECT_EQ(Copy(1), "fresh");
}

TEST_F(ProductCacheTest, NothingIsKeptWithoutALease) {
  cache_.Keep(1, "", "copy");
  cache_.Keep(1, "made up", "copy");
  EXPECT_FALSE(Copy(1));
}

TEST_F(ProductCacheTest, AnInvalidationRemovesEveryCopyItNames) {
  Put(1, "one");
  Put(2, "two");
  Put(3, "three");
  cache_.Remove({1, 2});
  EXPECT_FALSE(Copy(1));
  EXPECT_FALSE(Copy(2));
  EXPECT_EQ(Copy(3), "three");
}

TEST_F(ProductCacheTest, CopiesDoNotLiveForever) {
  Put(1, "one");
  const std::string life = direct_.Command({"TTL", prefix_ + "1"}).value();
  EXPECT_GT(std::stoi(life), 0);
  EXPECT_LE(std::stoi(life), 60);
}

TEST_F(ProductCacheTest, APendingInvalidationIsMadeLater) {
  Put(1, "one");
  pending_.Add(1);
  EXPECT_TRUE(Eventually([&] { return !Copy(1); }));
}

TEST_F(ProductCacheTest, WithRedisAwayEveryReadIsAMissAtOnce) {
  Put(1, "one");
  wire_.Cut();
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 1000; ++i) {
    const ProductCache::Found found = cache_.Find(1);
    EXPECT_FALSE(found.copy);
    EXPECT_THAT(found.lease, IsEmpty());
    cache_.Keep(1, found.lease, "one");
    cache_.Remove({1});
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
}

TEST_F(ProductCacheTest, ARedisThatDoesNotAnswerIsWaitedForOnce) {
  wire_.Mute();
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 1000; ++i) cache_.Find(1);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
}

TEST_F(ProductCacheTest, ACopyThatOutlivedAnOutageIsRemovedBeforeItIsServed) {
  Put(1, "stale");
  Put(2, "right");
  wire_.Cut();
  EXPECT_FALSE(Copy(2));
  pending_.Add(1);
  cache_.Remove({1});
  wire_.Mend();
  std::vector<std::string> served;
  EXPECT_TRUE(Eventually([&] {
    if (const std::optional<std::string> copy = Copy(1)) served.push_back(*copy);
    return Copy(2) == "right";
  }));
  EXPECT_THAT(served, IsEmpty());
  EXPECT_FALSE(Copy(1));
}

TEST_F(ProductCacheTest, NothingIsServedWhileInvalidationsArePending) {
  Put(1, "stale");
  std::atomic<bool> database_away = true;
  ProductCache restarted({.redis = Server(),
                          .life = std::chrono::seconds(60),
                          .prefix = prefix_,
                          .drain_every = std::chrono::milliseconds(20)},
                         [&](const ProductCache::Invalidate& remove) {
                           if (database_away) throw Unavailable("the database is away");
                           remove({1});
                         });
  EXPECT_FALSE(Eventually([&] { return restarted.Find(1).copy.has_value(); },
                          std::chrono::milliseconds(200)));
  database_away = false;
  EXPECT_TRUE(Eventually([&] { return restarted.serving(); }));
  EXPECT_FALSE(restarted.Find(1).copy);
}

TEST_F(ProductCacheTest, ConnectionsThatBrokeWhileIdleAreReplaced) {
  Put(1, "one");
  Redis redis(ThroughWire());
  EXPECT_EQ(redis.Command({"GET", prefix_ + "1"}), "one");
  wire_.Cut();
  wire_.Mend();
  EXPECT_EQ(redis.Command({"GET", prefix_ + "1"}), "one");
}

TEST(RedisSettings, AUrlMayNamePasswordPortAndDatabase) {
  const auto read = [](const std::string& url, size_t problems) {
    Env env([&](const std::string&) { return std::optional(url); });
    const Redis::Settings settings = Redis::Settings::Read(env);
    EXPECT_EQ(env.problems().size(), problems) << url;
    return settings;
  };
  const Redis::Settings full = read("redis://:p@ss@cache.example:7000/3", 0);
  EXPECT_EQ(full.host, "cache.example");
  EXPECT_EQ(full.port, 7000);
  EXPECT_EQ(full.password, "p@ss");
  EXPECT_EQ(full.database, 3);
  EXPECT_EQ(read("redis://cache", 0).port, 6379);
  for (const char* url : {"cache:6379", "http://cache", "redis://", "redis://cache:0",
                          "redis://cache:x", "redis://cache/x", "redis://user@cache"}) {
    read(url, 1);
  }
}

}  // namespace
}  // namespace shop::products
