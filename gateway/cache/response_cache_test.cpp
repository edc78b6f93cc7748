#include "gateway/cache/response_cache.h"

#include <gtest/gtest.h>

namespace shop::gateway {
namespace {

constexpr std::chrono::hours kLong{1};

HttpResponse Saying(const std::string& body) {
  HttpResponse response;
  response.shared_body = std::make_shared<const SharedBody>(body);
  return response;
}

class ResponseCacheTest : public ::testing::Test {
 protected:
  ResponseCacheTest() { cache_.SetSubscribed(true); }

  void Put(const std::string& target, const ResponseCache::Subject& subject) {
    cache_.Put(target, Saying("of " + target), subject, cache_.Now());
  }
  bool Has(const std::string& target) {
    const std::optional<HttpResponse> found = cache_.Find(target);
    return found && found->content() == "of " + target;
  }

  ResponseCache cache_{kLong, 1 << 20};
};

TEST_F(ResponseCacheTest, AResponseIsFoundByItsWholeTarget) {
  Put("/a?x=1", {"things"});
  EXPECT_TRUE(Has("/a?x=1"));
  EXPECT_FALSE(Has("/a"));
  EXPECT_FALSE(Has("/a?x=2"));
}

TEST_F(ResponseCacheTest, AChangeEndsResponsesAboutThatThingAndAboutAll) {
  Put("/things/1", {"things", 1});
  Put("/things/2", {"things", 2});
  Put("/things", {"things"});
  Put("/others", {"others"});
  cache_.Changed("things", {1, 7});
  EXPECT_FALSE(Has("/things/1"));
  EXPECT_TRUE(Has("/things/2"));
  EXPECT_FALSE(Has("/things"));
  EXPECT_TRUE(Has("/others"));
}

TEST_F(ResponseCacheTest, AChangeOfUnknownThingsEndsAllResponsesOfTheTag) {
  Put("/things/1", {"things", 1});
  Put("/things", {"things"});
  cache_.Changed("things");
  EXPECT_FALSE(Has("/things/1"));
  EXPECT_FALSE(Has("/things"));
}

TEST_F(ResponseCacheTest, ACallThatBeganBeforeAChangeIsNotCachedAfterIt) {
  const ResponseCache::Stamp stamp = cache_.Now();
  cache_.Changed("things", {1});
  cache_.Put("/things/1", Saying("of /things/1"), {"things", 1}, stamp);
  cache_.Put("/things/2", Saying("of /things/2"), {"things", 2}, stamp);
  cache_.Put("/things", Saying("of /things"), {"things"}, stamp);
  EXPECT_FALSE(Has("/things/1"));
  EXPECT_TRUE(Has("/things/2"));
  EXPECT_FALSE(Has("/things"));
  Put("/things/1", {"things", 1});
  EXPECT_TRUE(Has("/things/1"));
}

TEST_F(ResponseCacheTest, ASaleEndsResponsesAboutThatThingAlone) {
  Put("/things/1", {"things", 1});
  Put("/things/2", {"things", 2});
  Put("/things", {"things"});
  const ResponseCache::Stamp stamp = cache_.Now();
  cache_.Sold("things", {1});
  EXPECT_FALSE(Has("/things/1"));
  EXPECT_TRUE(Has("/things/2"));
  EXPECT_TRUE(Has("/things"));
  EXPECT_FALSE(cache_.IsFresh({"things", 1}, stamp));
  EXPECT_TRUE(cache_.IsFresh({"things"}, stamp));
  EXPECT_TRUE(cache_.IsFresh({"things", 1}, cache_.Now()));
}

TEST_F(ResponseCacheTest, VeryManySalesEndNoList) {
  Put("/things/1", {"things", 1});
  Put("/things", {"things"});
  for (int64_t id = 2; id < 50'000; ++id) cache_.Sold("things", {id});
  cache_.Sold("things", {1});
  EXPECT_FALSE(Has("/things/1"));
  EXPECT_TRUE(Has("/things"));
}

TEST_F(ResponseCacheTest, AResponseIsAsOldAsItsCall) {
  ResponseCache cache(std::chrono::seconds(1));
  cache.SetSubscribed(true);
  ResponseCache::Stamp stamp = cache.Now();
  stamp.time -= std::chrono::milliseconds(1001);
  cache.Put("/a", Saying("a"), {"things"}, stamp);
  EXPECT_FALSE(cache.Find("/a")) << "it was a second old when it came";
  EXPECT_FALSE(cache.IsFresh({"things"}, stamp));
}

TEST_F(ResponseCacheTest, ResponsesThatCameTogetherEndOneAfterTheOtherInTheLastQuarterOfTheirTime) {
  const auto left_of_300_at = [&](std::chrono::minutes age) {
    ResponseCache cache(kLong);
    cache.SetSubscribed(true);
    ResponseCache::Stamp stamp = cache.Now();
    stamp.time -= age;
    int left = 0;
    for (int i = 0; i < 300; ++i) {
      const std::string target = "/things/" + std::to_string(i);
      cache.Put(target, Saying("a thing"), {"things", i}, stamp);
      if (cache.Find(target)) ++left;
    }
    return left;
  };
  EXPECT_EQ(left_of_300_at(std::chrono::minutes(44)), 300);
  EXPECT_GT(left_of_300_at(std::chrono::minutes(52)), 100);
  EXPECT_LT(left_of_300_at(std::chrono::minutes(52)), 220);
  EXPECT_EQ(left_of_300_at(std::chrono::minutes(61)), 0);
}

TEST_F(ResponseCacheTest, TheAgeCountsFromTheBeginningOfTheCall) {
  ResponseCache::Stamp stamp = cache_.Now();
  stamp.time -=
      kLong - std::chrono::seconds(1);  // the call took nearly as long as its response is fresh
  cache_.Put("/a", Saying("a"), {"things"}, stamp);
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (cache_.Find("/a")) ASSERT_LT(std::chrono::steady_clock::now(), until);
}

TEST(ResponseCache, NothingIsCachedBeforeTheFirstSubscription) {
  ResponseCache cache(kLong);
  cache.Put("/a", Saying("a"), {"things"}, cache.Now());
  EXPECT_FALSE(cache.Find("/a"));
  EXPECT_FALSE(cache.IsEnabled());
  EXPECT_FALSE(cache.IsFresh({"things"}, cache.Now()));
}

TEST_F(ResponseCacheTest, NothingIsCachedWithoutASubscription) {
  Put("/things", {"things"});
  cache_.SetSubscribed(false);
  EXPECT_FALSE(Has("/things"));
  Put("/things", {"things"});
  EXPECT_FALSE(Has("/things"));
  const ResponseCache::Stamp stamp = cache_.Now();
  cache_.SetSubscribed(true);
  EXPECT_FALSE(Has("/things"));
  cache_.Put("/things", Saying("of /things"), {"things"}, stamp);
  EXPECT_FALSE(Has("/things")) << "a change since then may not have been received";
  Put("/things", {"things"});
  EXPECT_TRUE(Has("/things"));
}

TEST_F(ResponseCacheTest, AResponseEndsAtItsMaximumAge) {
  ResponseCache brief(std::chrono::milliseconds(1));
  brief.SetSubscribed(true);
  brief.Put("/a", Saying("a"), {"things"}, brief.Now());
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (brief.Find("/a")) ASSERT_LT(std::chrono::steady_clock::now(), until);
}

TEST_F(ResponseCacheTest, AMaximumAgeOfZeroCachesNothing) {
  ResponseCache none(std::chrono::milliseconds(0));
  none.SetSubscribed(true);
  none.Put("/a", Saying("a"), {"things"}, none.Now());
  EXPECT_FALSE(none.Find("/a"));
}

TEST_F(ResponseCacheTest, ItStaysWithinItsBytes) {
  const std::string large(10'000, 'x');
  for (int i = 0; i < 1000; ++i) {
    const std::string target = "/things/" + std::to_string(i);
    cache_.Put(target, Saying(large), {"things", i}, cache_.Now());
    EXPECT_TRUE(cache_.Find(target)) << "the newest is there";
  }
  int found = 0;
  for (int i = 0; i < 1000; ++i) found += cache_.Find("/things/" + std::to_string(i)).has_value();
  EXPECT_LE(found, (1 << 20) / 10'000);
  cache_.Put("/huge", Saying(std::string(1 << 20, 'x')), {"things"}, cache_.Now());
  EXPECT_FALSE(cache_.Find("/huge"));
}

TEST_F(ResponseCacheTest, VeryManyChangesEndMoreThanTheyHadToAndNeverLess) {
  Put("/things/1", {"things", 1});
  std::vector<int64_t> ids;
  for (int64_t id = 2; id < 50'000; ++id) cache_.Changed("things", {id});
  cache_.Changed("things", {1});
  EXPECT_FALSE(Has("/things/1"));
  Put("/things/1", {"things", 1});
  EXPECT_TRUE(Has("/things/1"));
}

}  // namespace
}  // namespace shop::gateway
