// What is published on Redis, and what becomes of kept answers.
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

class ChangesTest : public ::testing::Test {
 protected:
  ChangesTest() {
    signal(SIGPIPE, SIG_IGN);
    redis::Settings settings = Server();
    settings.host = "127.0.0.1";
    settings.port = wire_.port();
    subscription_ = SubscribeInvalidations(settings, {tag_, other_}, answers_);
  }

  // Keeps one answer about all of each tag, and two about one thing of the first.
  void KeepAll() {
    ASSERT_TRUE(Eventually([this] { return answers_.Keeps(); }));
    Put("list", {tag_});
    Put("one", {tag_, 1});
    Put("two", {tag_, 2});
    Put("other", {other_});
  }
  void Put(const std::string& target, const ResponseCache::Subject& subject) {
    HttpResponse answer;
    answer.kept = std::make_shared<const SharedBody>(SharedBody{target});
    answers_.Put(target, answer, subject, answers_.Now());
  }
  // The targets whose answers are there.
  std::string Kept() {
    std::string kept;
    for (const char* target : {"list", "one", "two", "other"}) {
      if (answers_.Find(target)) kept += (kept.empty() ? "" : " ") + std::string(target);
    }
    return kept;
  }
  void Publish(const std::string& channel, const std::string& message) {
    direct_.Command({"PUBLISH", channel, message});
  }
  bool Becomes(const std::string& kept) {
    return Eventually([&] { return Kept() == kept; });
  }

  const std::string tag_ = UniqueName();
  const std::string other_ = UniqueName();
  testing::Wire wire_{Server().port};
  redis::Client direct_{Server()};
  ResponseCache answers_{std::chrono::hours(1)};
  std::unique_ptr<redis::Subscription> subscription_;
};

TEST_F(ChangesTest, AChangeEndsWhatShowsThoseThings) {
  KeepAll();
  EXPECT_EQ(Kept(), "list one two other");
  Publish(tag_ + ":changed", "1 7");
  EXPECT_TRUE(Becomes("two other")) << Kept();
}

TEST_F(ChangesTest, ASaleLeavesTheLists) {
  KeepAll();
  Publish(tag_ + ":sold", "1 7");
  EXPECT_TRUE(Becomes("list two other")) << Kept();
}

TEST_F(ChangesTest, WhatIsNoListOfIdsIsAChangeOfEverything) {
  for (const std::string& channel : {tag_ + ":changed", tag_ + ":sold"}) {
    for (const char* message : {"", "1,2", "all", "1 x", "99999999999999999999", " 1"}) {
      KeepAll();
      Publish(channel, message);
      ASSERT_TRUE(Becomes("other")) << channel << ' ' << message << ": " << Kept();
    }
  }
}

TEST_F(ChangesTest, WithoutASubscriptionNothingIsKept) {
  KeepAll();
  wire_.Cut();
  EXPECT_TRUE(Becomes("")) << Kept();
  Put("one", {tag_, 1});
  EXPECT_EQ(Kept(), "");
  wire_.Mend();
  KeepAll();
  EXPECT_EQ(Kept(), "list one two other");
}

TEST_F(ChangesTest, NothingIsKeptOfThoseWhoCannotHear) {
  ASSERT_TRUE(Eventually([this] { return answers_.Keeps(); }));
  const ResponseCache::Asked asked = answers_.Now();
  wire_.Cut();
  ASSERT_TRUE(Eventually([this] { return !answers_.Keeps(); }));
  wire_.Mend();
  ASSERT_TRUE(Eventually([this] { return answers_.Keeps(); }));
  EXPECT_FALSE(answers_.Serves({tag_, 1}, asked))
      << "a change may have been missed while the connection was down";
}

TEST_F(ChangesTest, NothingIsKeptAfterTheEnd) {
  KeepAll();
  subscription_.reset();
  EXPECT_EQ(Kept(), "");
}

}  // namespace
}  // namespace shop::gateway
