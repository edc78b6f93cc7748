#include "common/core/batcher.h"

#include <gmock/gmock.h>

#include <atomic>
#include <future>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <thread>

#include "common/testing/servers.h"

namespace shop {
namespace {

using shop::testing::Eventually;
using std::chrono::milliseconds;
using std::chrono::steady_clock;
using ::testing::ElementsAre;

struct Item {
  int number;
  int answer = 0;
};

// Squares numbers, each batch once the test lets it.
class BatcherTest : public ::testing::Test {
 protected:
  void Square(const std::vector<Item*>& batch) {
    std::vector<int> numbers;
    for (const Item* item : batch) numbers.push_back(item->number);
    {
      std::unique_lock lock(mutex_);
      batches_.push_back(numbers);
      most_at_once_ = std::max(most_at_once_, ++at_once_);
      changed_.notify_all();
      changed_.wait(lock, [&] { return let_ > 0; });
      --let_;
      --at_once_;
    }
    for (Item* item : batch) {
      if (item->number < 0) throw std::runtime_error("no root");
      item->answer = item->number * item->number;
    }
  }
  void Let(int batches) {
    const std::lock_guard lock(mutex_);
    let_ += batches;
    changed_.notify_all();
  }
  size_t Begun() {
    const std::lock_guard lock(mutex_);
    return batches_.size();
  }
  // In a thread of its own. The answer; 0 of a batch that failed.
  static std::future<int> Ask(Batcher<Item>& batcher, int number,
                              milliseconds limit = milliseconds(20'000)) {
    return std::async(std::launch::async, [&batcher, number, limit] {
      const DeadlineScope scope(steady_clock::now() + limit);
      Item item{number};
      return batcher.Do(item) ? item.answer : 0;
    });
  }
  // The same, and waits until it is one of `waiting` items that wait.
  static std::future<int> AskAndWait(Batcher<Item>& batcher, int number, size_t waiting,
                                     milliseconds limit = milliseconds(20'000)) {
    std::future<int> answer = Ask(batcher, number, limit);
    EXPECT_TRUE(Eventually([&] { return batcher.waiting() == waiting; }));
    return answer;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::vector<int>> batches_;
  int at_once_ = 0;
  int most_at_once_ = 0;
  int let_ = 0;
};

TEST_F(BatcherTest, OneThatComesAloneIsWorkedOnAtOnce) {
  Batcher<Item> batcher(1, 8, [&](const auto& batch) { Square(batch); });
  Let(2);
  EXPECT_EQ(Ask(batcher, 3).get(), 9);
  EXPECT_EQ(Ask(batcher, 4).get(), 16);
  EXPECT_THAT(batches_, ElementsAre(ElementsAre(3), ElementsAre(4)));
}

TEST_F(BatcherTest, ThoseThatComeDuringABatchAreTheNextOneUpToItsLimit) {
  Batcher<Item> batcher(1, 3, [&](const auto& batch) { Square(batch); });
  std::vector<std::future<int>> answers;
  answers.push_back(Ask(batcher, 1));
  ASSERT_TRUE(Eventually([&] { return Begun() == 1; }));
  for (int number = 2; number <= 5; ++number) {
    answers.push_back(AskAndWait(batcher, number, static_cast<size_t>(number - 1),
                                 milliseconds(30'000 - 1'000 * number)));
  }
  Let(3);
  for (int number = 1; number <= 5; ++number) {
    EXPECT_EQ(answers[static_cast<size_t>(number - 1)].get(), number * number);
  }
  EXPECT_THAT(batches_, ElementsAre(ElementsAre(1), ElementsAre(2, 3, 4), ElementsAre(5)));
}

TEST_F(BatcherTest, NoMoreBatchesThanMayAreUnderWayTogether) {
  Batcher<Item> batcher(2, 1, [&](const auto& batch) { Square(batch); });
  std::vector<std::future<int>> answers;
  for (int number = 1; number <= 6; ++number) answers.push_back(Ask(batcher, number));
  ASSERT_TRUE(Eventually([&] { return batcher.waiting() == 4; }));
  Let(6);
  for (std::future<int>& answer : answers) EXPECT_NE(answer.get(), 0);
  EXPECT_EQ(most_at_once_, 2);
}

TEST_F(BatcherTest, AFailureIsToldToAllOfTheBatchAndToNobodyElse) {
  Batcher<Item> batcher(1, 2, [&](const auto& batch) { Square(batch); });
  std::future<int> before = Ask(batcher, 1);
  ASSERT_TRUE(Eventually([&] { return Begun() == 1; }));
  std::future<int> bad = AskAndWait(batcher, -1, 1);
  std::future<int> good = AskAndWait(batcher, 2, 2);
  std::future<int> after = AskAndWait(batcher, 3, 3, milliseconds(10'000));
  Let(3);
  EXPECT_EQ(before.get(), 1);
  EXPECT_EQ(bad.get(), 0);
  EXPECT_EQ(good.get(), 0);
  EXPECT_EQ(after.get(), 9);
}

TEST_F(BatcherTest, OneWhoseDeadlinePassesBeforeItsBatchLeaves) {
  Batcher<Item> batcher(1, 8, [&](const auto& batch) { Square(batch); });
  std::future<int> before = Ask(batcher, 1);
  ASSERT_TRUE(Eventually([&] { return Begun() == 1; }));
  std::future<int> late = Ask(batcher, 2, milliseconds(20));
  EXPECT_THROW((void)late.get(), Unavailable);
  std::future<int> after = AskAndWait(batcher, 3, 1);
  Let(2);
  EXPECT_EQ(after.get(), 9);
  EXPECT_THAT(batches_, ElementsAre(ElementsAre(1), ElementsAre(3)));
}

TEST_F(BatcherTest, OneThatIsToldToStopLeaves) {
  Batcher<Item> batcher(1, 8, [&](const auto& batch) { Square(batch); });
  std::future<int> before = Ask(batcher, 1);
  ASSERT_TRUE(Eventually([&] { return Begun() == 1; }));
  std::stop_source stop;
  std::future<void> stopped = std::async(std::launch::async, [&] {
    const DeadlineScope scope(DeadlineScope::TimePoint::max(), stop.get_token());
    Item item{2};
    EXPECT_THROW((void)batcher.Do(item), Unavailable);
  });
  ASSERT_TRUE(Eventually([&] { return batcher.waiting() == 1; }));
  stop.request_stop();
  stopped.get();
  Let(1);
  EXPECT_EQ(before.get(), 1);
}

// What one has no time left for must not fail for the others.
TEST_F(BatcherTest, ABatchHasTheDeadlineOfTheItemWithMostTimeLeft) {
  std::atomic<bool> passed = false;
  Batcher<Item> batcher(1, 8, [&](const auto& batch) {
    Square(batch);
    passed = DeadlineScope::HasPassed();
  });
  std::future<int> before = Ask(batcher, 1);
  ASSERT_TRUE(Eventually([&] { return Begun() == 1; }));
  std::future<int> hasty = AskAndWait(batcher, 2, 1, milliseconds(500));
  std::future<int> patient = AskAndWait(batcher, 3, 2);
  Let(1);
  ASSERT_TRUE(Eventually([&] { return Begun() == 2; }));
  std::this_thread::sleep_for(milliseconds(600));
  Let(1);
  EXPECT_EQ(patient.get(), 9);
  EXPECT_EQ(hasty.get(), 4);
  EXPECT_FALSE(passed);
  EXPECT_THAT(batches_.back(), ElementsAre(3, 2));
}

TEST_F(BatcherTest, UnderLoadEverybodyIsAnsweredOnce) {
  std::atomic<int> worked = 0;
  Batcher<Item> batcher(2, 4, [&](const std::vector<Item*>& batch) {
    for (Item* item : batch) item->answer += item->number;
    worked += static_cast<int>(batch.size());
  });
  constexpr int kThreads = 16;
  constexpr int kEach = 500;
  std::atomic<int> wrong = 0;
  {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&] {
        for (int number = 1; number <= kEach; ++number) {
          Item item{number};
          if (!batcher.Do(item) || item.answer != number) ++wrong;
        }
      });
    }
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(worked, kThreads * kEach);
}

}  // namespace
}  // namespace shop
