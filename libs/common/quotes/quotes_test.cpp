#include "common/quotes/quotes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <future>
#include <limits>
#include <mutex>
#include <numeric>
#include <thread>

#include "common/rpc/identity.h"
#include "common/rpc/server.h"
#include "common/testing/callers.h"
#include "common/testing/fake_service.h"

namespace shop {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;
using Ids = std::vector<int64_t>;

constexpr int64_t kMug = 31;
constexpr int64_t kLamp = 12;
constexpr int64_t kGone = 99;
constexpr int64_t kRefused = 666;  // a call that asks for it is refused
constexpr int64_t kBroken = 667;   // and for this one fails

// products, whose answers can be held back.
class QuotesTest : public ::testing::Test {
 protected:
  void TearDown() override { Open(); }

  std::future<Result<SharedQuotes>> Ask(const Ids& ids) {
    return std::async(std::launch::async, [this, ids] { return quotes.Get(SomeCall(), ids); });
  }

  static Call SomeCall() {
    return rpc::BackgroundCall(TraceContext::New(), std::chrono::seconds(30));
  }

  // As many calls as may be under way together, all of them held back.
  std::vector<std::future<Result<SharedQuotes>>> AskUntilOthersWait() {
    std::vector<std::future<Result<SharedQuotes>>> first;
    for (size_t i = 1; i <= 2; ++i) {
      first.push_back(Ask({kMug}));
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return calls.size() == i; });
    }
    return first;
  }

  void UntilWaiting(size_t count) const {
    while (quotes.waiting() < count) std::this_thread::yield();
  }

  void Open() { Answer(std::numeric_limits<size_t>::max()); }

  // Answers the first of those under way, so that what waits is the next call, and when that has come all others.
  void LetOthersShareACall() {
    Answer(1);
    {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return calls.size() == 3; });
    }
    Open();
  }

  Result<products::v1::QuoteProductsResponse> Quote(
      const Call&, const products::v1::QuoteProductsRequest& request) {
    std::unique_lock lock(mutex);
    calls.emplace_back(request.ids().begin(), request.ids().end());
    const size_t number = calls.size();
    changed.notify_all();
    changed.wait(lock, [&] { return number <= answered; });
    products::v1::QuoteProductsResponse response;
    for (const int64_t id : request.ids()) {
      if (id == kRefused) return Refusal{Code::kFailedPrecondition, "not these"};
      if (id == kBroken) throw std::runtime_error("broken");
      if (id == kGone) continue;
      products::v1::Quote& quote = *response.add_items();
      quote.set_product_id(id);
      quote.set_price(100 * id);
    }
    return response;
  }

  void Answer(size_t count) {
    {
      const std::lock_guard lock(mutex);
      answered = count;
    }
    changed.notify_all();
  }

  std::vector<Ids> Calls() {
    const std::lock_guard lock(mutex);
    return calls;
  }

  std::mutex mutex;
  std::condition_variable changed;
  size_t answered = 0;  // how many of the calls may have their answer
  std::vector<Ids> calls;

  rpc::Identity products_identity{testing::IdentityOf("products"),
                                  [] { return std::vector<auth::PublicKey>(); }};
  rpc::ServerSettings settings = [] {
    rpc::ServerSettings made;
    made.host = "127.0.0.1";
    return made;
  }();
  rpc::Server server{
      settings, products_identity,
      std::vector{testing::FakeService(rpc::Service("shop.products.v1.ProductsService")
                                           .On("QuoteProducts", this, &QuotesTest::Quote))}};
  rpc::Identity identity{testing::IdentityOf("cart"),
                         [] { return std::vector<auth::PublicKey>(); }};
  rpc::Channel channel{"products", server.address(), identity};
  QuoteClient quotes{channel};
};

TEST_F(QuotesTest, EverybodyGetsWhatThereIsOfTheProductsThatWereAskedFor) {
  Open();
  const Result<SharedQuotes> found = quotes.Get(SomeCall(), {kMug, kGone});
  ASSERT_TRUE(found) << found.refusal().message;
  ASSERT_THAT(**found, SizeIs(1));
  EXPECT_EQ((*found)->at(kMug).price(), 3100);
}

TEST_F(QuotesTest, ThoseWhoAskMeanwhileShareTheNextCall) {
  auto first = AskUntilOthersWait();
  std::vector<std::future<Result<SharedQuotes>>> later;
  for (const Ids& ids : {Ids{kMug}, Ids{kLamp, kMug}, Ids{kGone}}) {
    later.push_back(Ask(ids));
    UntilWaiting(later.size());
  }
  LetOthersShareACall();
  for (auto& answer : first) EXPECT_TRUE(answer.get());
  for (auto& answer : later) {
    const Result<SharedQuotes> found = answer.get();
    ASSERT_TRUE(found) << found.refusal().message;
    EXPECT_EQ((*found)->at(kMug).price(), 3100);
    EXPECT_EQ((*found)->at(kLamp).price(), 1200);
    EXPECT_FALSE((*found)->contains(kGone));
  }
  EXPECT_THAT(Calls(), ElementsAre(Ids{kMug}, Ids{kMug}, UnorderedElementsAre(kLamp, kMug, kGone)));
}

TEST_F(QuotesTest, WhereASharedCallFailsEachGetsTheAnswerToItsOwn) {
  auto first = AskUntilOthersWait();
  auto good = Ask({kMug});
  auto refusing = Ask({kRefused});
  auto broken = Ask({kBroken});
  UntilWaiting(3);
  LetOthersShareACall();
  for (auto& answer : first) EXPECT_TRUE(answer.get());
  const Result<SharedQuotes> found = good.get();
  ASSERT_TRUE(found) << found.refusal().message;
  EXPECT_EQ((*found)->at(kMug).price(), 3100);
  const Result<SharedQuotes> refused = refusing.get();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.refusal().code, Code::kFailedPrecondition);
  EXPECT_THROW((void)broken.get(), std::runtime_error);
  EXPECT_THAT(Calls(), SizeIs(2 + 1 + 3));
}

TEST_F(QuotesTest, WhatFailsForOneAloneIsNotAskedAgain) {
  Open();
  const Result<SharedQuotes> refused = quotes.Get(SomeCall(), {kRefused});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.refusal().code, Code::kFailedPrecondition);
  EXPECT_THROW((void)quotes.Get(SomeCall(), {kBroken}), std::runtime_error);
  EXPECT_THAT(Calls(), SizeIs(2));
}

TEST_F(QuotesTest, MoreThanACallMayAskForAreSeveralCalls) {
  Open();
  Ids many(2001);
  std::iota(many.begin(), many.end(), 1000);
  const Result<SharedQuotes> found = quotes.Get(SomeCall(), many);
  ASSERT_TRUE(found) << found.refusal().message;
  EXPECT_THAT(**found, SizeIs(2001));
  EXPECT_THAT(Calls(), ElementsAre(SizeIs(1000), SizeIs(1000), SizeIs(1)));
}

}  // namespace
}  // namespace shop
