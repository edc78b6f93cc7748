// Leases, invalidation, and what happens while Redis is away. Each case has its own key prefix.
#include "products/product_cache.h"

#include <gmock/gmock.h>
#include <signal.h>

#include <algorithm>

#include "common/core/result.h"
#include "common/testing/listener.h"
#include "common/testing/servers.h"
#include "common/testing/wire.h"

namespace shop::products {
namespace {

using ::testing::ElementsAre;
using testing::Eventually;
using ::testing::IsEmpty;

// What the database keeps of pending invalidations.
class Pending {
 public:
  void Add(int64_t id) {
    const std::lock_guard lock(mutex_);
    ids_.push_back(id);
  }
  void AddSold(int64_t id) {
    const std::lock_guard lock(mutex_);
    sold_.push_back(id);
  }
  bool empty() {
    const std::lock_guard lock(mutex_);
    return ids_.empty();
  }
  void Drain(const ProductCache::Invalidate& invalidate) {
    const std::lock_guard lock(mutex_);
    if (ids_.empty() && sold_.empty()) return;
    invalidate(ids_, sold_);
    ids_.clear();
    sold_.clear();
  }

 private:
  std::mutex mutex_;
  std::vector<int64_t> ids_;
  std::vector<int64_t> sold_;
};

class ProductCacheTest : public ::testing::Test {
 protected:
  ProductCacheTest() {
    signal(SIGPIPE, SIG_IGN);
    EXPECT_TRUE(Eventually([&] { return cache_.serving(); }));
  }

  static redis::Settings Server() {
    Env env([](const std::string& name) {
      return name == "REDIS_URL" ? std::optional(testing::Server(name)) : std::nullopt;
    });
    return redis::Settings::Read(env);
  }
  redis::Settings ThroughWire() const {
    redis::Settings settings = Server();
    settings.host = "127.0.0.1";
    settings.port = wire_.port();
    return settings;
  }
  std::optional<std::string> Copy(int64_t id) { return cache_.Find(id).copy; }
  void Put(int64_t id, const std::string& copy) { cache_.Put(id, cache_.Find(id).lease, copy); }

  testing::Wire wire_{Server().port};
  redis::Client direct_{Server()};
  Pending pending_;
  const std::string prefix_ = testing::UniqueName() + ":";
  ProductCache cache_{{.redis = ThroughWire(),
                       .life = std::chrono::seconds(60),
                       .prefix = prefix_,
                       .changed_channel = prefix_ + "changed",
                       .sold_channel = prefix_ + "sold",
                       .drain_every = std::chrono::milliseconds(20)},
                      [this](const ProductCache::Invalidate& remove) { pending_.Drain(remove); }};
};

TEST_F(ProductCacheTest, WhatWasKeptIsFound) {
  const ProductCache::Found miss = cache_.Find(1);
  EXPECT_FALSE(miss.copy);
  ASSERT_FALSE(miss.lease.empty());
  const std::string bytes("a\0b\r\n\xff", 6);
  cache_.Put(1, miss.lease, bytes);
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
  cache_.Put(1, lease, "stale");
  EXPECT_FALSE(Copy(1));
}

TEST_F(ProductCacheTest, ALeaseOfBeforeAnInvalidationDoesNotPassForTheNextOne) {
  const std::string before = cache_.Find(1).lease;
  cache_.Remove({1});
  const std::string after = cache_.Find(1).lease;
  ASSERT_FALSE(after.empty());
  cache_.Put(1, before, "stale");
  cache_.Put(1, after, "fresh");
  EXPECT_EQ(Copy(1), "fresh");
}

TEST_F(ProductCacheTest, NothingIsKeptWithoutALease) {
  cache_.Put(1, "", "copy");
  cache_.Put(1, "made up", "copy");
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

// Gateways end all their lists for the one, and none for the other.
TEST_F(ProductCacheTest, WhatWasSoldIsPublishedApartFromWhatHasChanged) {
  testing::Listener listener(Server(), {prefix_ + "changed", prefix_ + "sold"});
  Put(1, "one");
  Put(2, "two");
  Put(3, "three");
  cache_.RemoveSold({1, 2});
  EXPECT_FALSE(Copy(1));
  EXPECT_FALSE(Copy(2));
  EXPECT_EQ(Copy(3), "three");
  cache_.Remove({3, 4});
  EXPECT_FALSE(Copy(3));
  EXPECT_EQ(listener.Next(), prefix_ + "sold: 1 2");
  EXPECT_EQ(listener.Next(), prefix_ + "changed: 3 4");
}

TEST_F(ProductCacheTest, WhatIsMadeLaterIsPublishedAsWhatItWas) {
  testing::Listener listener(Server(), {prefix_ + "changed", prefix_ + "sold"});
  Put(1, "one");
  pending_.AddSold(1);
  EXPECT_EQ(listener.Next(), prefix_ + "sold: 1");
  EXPECT_FALSE(Copy(1));
  pending_.Add(2);
  EXPECT_EQ(listener.Next(), prefix_ + "changed: 2");
}

TEST_F(ProductCacheTest, WithRedisAwayEveryReadIsAMissAtOnce) {
  Put(1, "one");
  wire_.Cut();
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 1000; ++i) {
    const ProductCache::Found found = cache_.Find(1);
    EXPECT_FALSE(found.copy);
    EXPECT_THAT(found.lease, IsEmpty());
    cache_.Put(1, found.lease, "one");
    cache_.Remove({1});
  }
  // Waiting each time would take more than a minute.
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

TEST_F(ProductCacheTest, ARedisThatDoesNotAnswerIsWaitedForOnce) {
  wire_.Mute();
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 1000; ++i) cache_.Find(1);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
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

// Its row of the database may be too late for the drain that is under way.
TEST_F(ProductCacheTest, AChangeMadeWhileRedisHealsIsRemovedFromItAtOnce) {
  Put(1, "stale");
  std::atomic<bool> draining = false;
  std::atomic<bool> drained = false;
  ProductCache healing({.redis = Server(),
                        .life = std::chrono::seconds(60),
                        .prefix = prefix_,
                        .drain_every = std::chrono::milliseconds(20)},
                       [&](const ProductCache::Invalidate&) {
                         draining = true;
                         EXPECT_TRUE(Eventually([&] { return drained.load(); }));
                       });
  ASSERT_TRUE(Eventually([&] { return draining.load(); }));
  healing.Remove({1});
  EXPECT_EQ(direct_.Command({"EXISTS", prefix_ + "1"}), "0");
  drained = true;
  EXPECT_TRUE(Eventually([&] { return healing.serving(); }));
  EXPECT_FALSE(healing.Find(1).copy);
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
                           remove({1}, {});
                         });
  EXPECT_FALSE(Eventually([&] { return restarted.Find(1).copy.has_value(); },
                          std::chrono::milliseconds(200)));
  database_away = false;
  EXPECT_TRUE(Eventually([&] { return restarted.serving(); }));
  EXPECT_FALSE(restarted.Find(1).copy);
}

}  // namespace
}  // namespace shop::products
