// What is published on Redis, and what becomes of cached responses.
#include "gateway/cache/invalidation.h"

#include <gtest/gtest.h>
#include <signal.h>

#include "common/testing/servers.h"
#include "common/testing/wire.h"

namespace shop::gateway {
namespace {

using testing::Eventually;
using testing::UniqueName;

redis::Settings Server() {
  Env env([](const std::string& name) {
    return name == "REDIS_URL" ? std::optional(testing::Server(name)) : std::nullopt;
  });
  return redis::Settings::Read(env);
}

class InvalidationTest : public ::testing::Test {
 protected:
  InvalidationTest() {
    signal(SIGPIPE, SIG_IGN);
    redis::Settings settings = Server();
    settings.host = "127.0.0.1";
    settings.port = wire_.port();
    subscription_ = SubscribeInvalidations(settings, {tag_, other_}, cache_);
  }

  // Caches one response about all of each tag, and two about one thing of the first.
  void CacheAll() {
    ASSERT_TRUE(Eventually([this] { return cache_.IsEnabled(); }));
    Put("list", {tag_});
    Put("one", {tag_, 1});
    Put("two", {tag_, 2});
    Put("other", {other_});
  }
  void Put(const std::string& target, const ResponseCache::Subject& subject) {
    HttpResponse response;
    response.shared_body = std::make_shared<const SharedBody>(target);
    cache_.Put(target, response, subject, cache_.Now());
  }
  // The targets whose responses are there.
  std::string Cached() {
    std::string cached;
    for (const char* target : {"list", "one", "two", "other"}) {
      if (cache_.Find(target)) cached += (cached.empty() ? "" : " ") + std::string(target);
    }
    return cached;
  }
  void Publish(const std::string& channel, const std::string& message) {
    direct_.Command({"PUBLISH", channel, message});
  }
  bool Becomes(const std::string& expected) {
    return Eventually([&] { return Cached() == expected; });
  }

  const std::string tag_ = UniqueName();
  const std::string other_ = UniqueName();
  testing::Wire wire_{Server().port};
  redis::Client direct_{Server()};
  ResponseCache cache_{std::chrono::hours(1)};
  std::unique_ptr<redis::Subscription> subscription_;
};

TEST_F(InvalidationTest, AChangeEndsWhatShowsThoseThings) {
  CacheAll();
  EXPECT_EQ(Cached(), "list one two other");
  Publish(tag_ + ":changed", "1 7");
  EXPECT_TRUE(Becomes("two other")) << Cached();
}

TEST_F(InvalidationTest, ASaleLeavesTheLists) {
  CacheAll();
  Publish(tag_ + ":sold", "1 7");
  EXPECT_TRUE(Becomes("list two other")) << Cached();
}

TEST_F(InvalidationTest, WhatIsNoListOfIdsIsAChangeOfEverything) {
  for (const std::string& channel : {tag_ + ":changed", tag_ + ":sold"}) {
    for (const char* message : {"", "1,2", "all", "1 x", "99999999999999999999", " 1"}) {
      CacheAll();
      Publish(channel, message);
      ASSERT_TRUE(Becomes("other")) << channel << ' ' << message << ": " << Cached();
    }
  }
}

TEST_F(InvalidationTest, WithoutASubscriptionNothingIsCached) {
  CacheAll();
  wire_.Cut();
  EXPECT_TRUE(Becomes("")) << Cached();
  Put("one", {tag_, 1});
  EXPECT_EQ(Cached(), "");
  wire_.Mend();
  CacheAll();
  EXPECT_EQ(Cached(), "list one two other");
}

TEST_F(InvalidationTest, ACallFromBeforeALostConnectionIsNotFreshAfterIt) {
  ASSERT_TRUE(Eventually([this] { return cache_.IsEnabled(); }));
  const ResponseCache::Stamp stamp = cache_.Now();
  wire_.Cut();
  ASSERT_TRUE(Eventually([this] { return !cache_.IsEnabled(); }));
  wire_.Mend();
  ASSERT_TRUE(Eventually([this] { return cache_.IsEnabled(); }));
  EXPECT_FALSE(cache_.IsFresh({tag_, 1}, stamp))
      << "a change may have been missed while the connection was down";
}

TEST_F(InvalidationTest, NothingIsCachedAfterTheEnd) {
  CacheAll();
  subscription_.reset();
  EXPECT_EQ(Cached(), "");
}

}  // namespace
}  // namespace shop::gateway
