#include "gateway/limits/client_limits.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace shop::gateway {
namespace {

using boost::asio::ip::make_address;
using Verdict = ClientLimits::Verdict;
using Shares = std::vector<std::unique_ptr<ClientLimits::Share>>;

constexpr ClientLimits::Settings kLimits{
    .connections = 5, .connections_per_client = 3, .bytes = 100, .bytes_per_client = 60};

class ClientLimitsTest : public ::testing::Test {
 protected:
  // Connects, and keeps the connection when there is a place.
  Verdict Connect(const char* address) {
    auto [share, verdict] = limits_.Connect(make_address(address));
    EXPECT_EQ(share != nullptr, verdict == Verdict::kGiven);
    if (share) shares_.push_back(std::move(share));
    return verdict;
  }
  ClientLimits::Share& Last() { return *shares_.back(); }

  ClientLimits limits_{kLimits};
  Shares shares_;
};

TEST_F(ClientLimitsTest, OneClientHasNoMoreConnectionsThanItsShare) {
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Connect("10.0.0.1"), Verdict::kGiven);
  EXPECT_EQ(Connect("10.0.0.1"), Verdict::kLimitOfClient);
  EXPECT_EQ(Connect("10.0.0.2"), Verdict::kGiven);
  shares_.erase(shares_.begin());
  EXPECT_EQ(Connect("10.0.0.1"), Verdict::kGiven);
}

TEST_F(ClientLimitsTest, AllTogetherHaveNoMoreConnectionsThanThereAre) {
  for (const char* address : {"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"}) {
    EXPECT_EQ(Connect(address), Verdict::kGiven);
  }
  EXPECT_EQ(Connect("10.0.0.6"), Verdict::kLimitOfAll);
  shares_.clear();
  EXPECT_EQ(Connect("10.0.0.6"), Verdict::kGiven);
}

TEST_F(ClientLimitsTest, AClientsConnectionsShareItsBytes) {
  Connect("10.0.0.1");
  EXPECT_EQ(Last().Take(40), Verdict::kGiven);
  Connect("10.0.0.1");
  EXPECT_EQ(Last().Take(21), Verdict::kLimitOfClient);
  EXPECT_EQ(Last().taken(), 0);
  EXPECT_EQ(Last().Take(20), Verdict::kGiven);
  EXPECT_EQ(Last().Take(1), Verdict::kLimitOfClient);
}

TEST_F(ClientLimitsTest, AllTogetherHaveNoMoreBytesThanThereAre) {
  Connect("10.0.0.1");
  EXPECT_EQ(Last().Take(60), Verdict::kGiven);
  Connect("10.0.0.2");
  EXPECT_EQ(Last().Take(41), Verdict::kLimitOfAll);
  EXPECT_EQ(Last().Take(40), Verdict::kGiven);
  Connect("10.0.0.3");
  EXPECT_EQ(Last().Take(1), Verdict::kLimitOfAll);
}

TEST_F(ClientLimitsTest, WhatAllTogetherDidNotGetIsNotTakenFromTheClient) {
  Connect("10.0.0.1");
  EXPECT_EQ(Last().Take(60), Verdict::kGiven);
  Connect("10.0.0.2");
  for (int i = 0; i < 5; ++i) EXPECT_EQ(Last().Take(50), Verdict::kLimitOfAll);
  EXPECT_EQ(Last().Take(40), Verdict::kGiven);
}

TEST_F(ClientLimitsTest, WhatIsGivenBackIsThereForOthers) {
  Connect("10.0.0.1");
  EXPECT_EQ(Last().Take(60), Verdict::kGiven);
  Connect("10.0.0.2");
  EXPECT_EQ(Last().Take(40), Verdict::kGiven);
  Last().GiveBack();
  Last().GiveBack();
  EXPECT_EQ(Last().taken(), 0);
  Connect("10.0.0.3");
  EXPECT_EQ(Last().Take(40), Verdict::kGiven);
  shares_.erase(shares_.begin());  // the end of a connection gives back too
  EXPECT_EQ(Last().Take(20), Verdict::kGiven);
  EXPECT_EQ(Last().Take(1), Verdict::kLimitOfClient);
}

TEST_F(ClientLimitsTest, AnIPv6ClientIsItsNetworkOf64Bits) {
  EXPECT_EQ(Connect("2001:db8:1:2::1"), Verdict::kGiven);
  EXPECT_EQ(Connect("2001:db8:1:2:ffff::1"), Verdict::kGiven);
  EXPECT_EQ(Connect("2001:db8:1:2::2"), Verdict::kGiven);
  EXPECT_EQ(Connect("2001:db8:1:2::3"), Verdict::kLimitOfClient);
  EXPECT_EQ(Connect("2001:db8:1:3::1"), Verdict::kGiven);
}

TEST_F(ClientLimitsTest, AnIPv4ClientIsTheSameThroughAnIPv6Socket) {
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Connect("10.0.0.1"), Verdict::kGiven);
  EXPECT_EQ(Connect("::ffff:10.0.0.1"), Verdict::kLimitOfClient);
  EXPECT_EQ(Connect("::ffff:10.0.0.2"), Verdict::kGiven);
}

TEST(ClientLimits, ThreadsTogetherTakeNoMoreThanThereIs) {
  ClientLimits limits(
      {.connections = 8, .connections_per_client = 8, .bytes = 1000, .bytes_per_client = 1000});
  std::atomic<size_t> taken = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 200; ++round) {
        const auto share = limits.Connect(make_address("10.0.0.1")).first;
        ASSERT_NE(share, nullptr);
        for (int bites = 0; bites < 400; ++bites) {
          if (share->Take(1) != Verdict::kGiven) continue;
          EXPECT_LE(++taken, 1000);
        }
        taken -= share->taken();
        share->GiveBack();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto share = limits.Connect(make_address("10.0.0.1")).first;
  EXPECT_EQ(share->Take(1000), Verdict::kGiven) << "nothing was lost on the way";
}

}  // namespace
}  // namespace shop::gateway
