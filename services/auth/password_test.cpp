#include "auth/password.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace shop::auth {
namespace {

using ::testing::Eq;
using ::testing::StartsWith;

PasswordHasher::Deadline Soon() {
  return std::chrono::system_clock::now() + std::chrono::seconds(30);
}

// Of somebody with whom no password here has anything in common.
std::optional<std::string> PasswordProblem(std::string_view password) {
  return auth::PasswordProblem(password, {"Zoltan Qvist", "zq.1970@example.com"});
}

TEST(PasswordRule, AShortPasswordNeedsFourKinds) {
  EXPECT_EQ(PasswordProblem("Aa1!aaaa"), std::nullopt);
  EXPECT_EQ(PasswordProblem("Aa1 aaaa"), std::nullopt);
  EXPECT_EQ(PasswordProblem("Aa1éaaaa"), std::nullopt);
  for (const char* password : {"aa1!aaaa", "AA1!AAAA", "Aaa!aaaa", "Aa1aaaaa", "aaaaaaaa",
                               "12345678901234", "Aaaaaaaaaaaaa1"}) {
    EXPECT_NE(PasswordProblem(password), std::nullopt) << password;
  }
}

TEST(PasswordRule, ALongPasswordMayBeOfAnyKind) {
  EXPECT_NE(PasswordProblem("plum treesfigs"), std::nullopt);
  EXPECT_EQ(PasswordProblem("plum trees figs"), std::nullopt);
  EXPECT_EQ(PasswordProblem("correct horse battery staple"), std::nullopt);
}

TEST(PasswordRule, LengthIsCountedInCharacters) {
  EXPECT_NE(PasswordProblem("Aa1!aaa"), std::nullopt);
  EXPECT_NE(PasswordProblem("Aa1ééé"), std::nullopt);  // nine bytes
  EXPECT_EQ(PasswordProblem(std::string(128, 'a')), std::nullopt);
  EXPECT_NE(PasswordProblem(std::string(129, 'a')), std::nullopt);
  std::string long_and_wide;
  for (int i = 0; i < 128; ++i) long_and_wide += "é";
  EXPECT_EQ(PasswordProblem(long_and_wide), std::nullopt);
}

TEST(PasswordRule, ACommonPasswordIsRefusedWhateverItsCaseAndMasks) {
  for (const char* password :
       {"P@ssw0rd", "1q2w3e4r5t6y7u8i9o", "1Q2W3E4R5T6Y7U8I9O", "12345678901234567890"}) {
    EXPECT_EQ(PasswordProblem(password), "must not be a common password") << password;
  }
}

TEST(PasswordRule, ACommonWordInALongerPasswordIsNoFault) {
  for (const char* password : {"Walk-Through-1!", "ChangeMe-Now-1!", "Seed-Pass-2026!", "Admin123!",
                               "Password1!", "my monkey eats 9 figs", "kV9#tq2Lx!"}) {
    EXPECT_EQ(PasswordProblem(password), std::nullopt) << password;
  }
}

TEST(PasswordRule, TheOwnersNameAndAddressAreRefused) {
  const PasswordOwner owner{"Eleonora Thistlewood", "Thistle-Farm77@example.com"};
  for (const char* password :
       {"eleonora thistlewood", "Thistle-Farm77", "thistle-FARM77@example.com"}) {
    EXPECT_EQ(auth::PasswordProblem(password, owner), "must not be your name or e-mail address")
        << password;
  }
  EXPECT_EQ(auth::PasswordProblem("Thistle-Farm78", owner), std::nullopt);
}

class Hasher : public ::testing::Test {
 protected:
  std::string Hash(const std::string& password) { return *hasher_.Hash(password, Soon()); }
  bool Matches(const std::string& password, const std::string& hash) {
    return *hasher_.Matches(password, hash, Soon());
  }

  PasswordHasher hasher_{4, 2, 100};
};

TEST_F(Hasher, AHashMatchesItsPasswordAlone) {
  const std::string hash = Hash("Secret1!");
  EXPECT_THAT(hash, StartsWith("$2b$04$"));
  EXPECT_THAT(hash.size(), Eq(60u));
  EXPECT_TRUE(Matches("Secret1!", hash));
  EXPECT_FALSE(Matches("Secret1", hash));
  EXPECT_FALSE(Matches("secret1!", hash));
  EXPECT_FALSE(Matches("", hash));
}

TEST_F(Hasher, TwoHashesOfOnePasswordDiffer) {
  EXPECT_NE(Hash("Secret1!"), Hash("Secret1!"));
}

TEST_F(Hasher, AHashOfALowerCostIsKnown) {
  const std::string hash = Hash("Secret1!");
  EXPECT_FALSE(hasher_.IsTooCheap(hash));
  EXPECT_TRUE(PasswordHasher(5, 1, 1).IsTooCheap(hash));
  EXPECT_FALSE(hasher_.IsTooCheap(*PasswordHasher(5, 1, 1).Hash("Secret1!", Soon())));
}

TEST_F(Hasher, EveryByteOfALongPasswordCounts) {
  const std::string password(127, 'a');
  const std::string hash = Hash(password + "x");
  EXPECT_TRUE(Matches(password + "x", hash));
  EXPECT_FALSE(Matches(password + "y", hash));
  EXPECT_FALSE(Matches(password.substr(0, 72), hash));
}

TEST_F(Hasher, WhatFollowsANulCounts) {
  const std::string hash = Hash(std::string("Secret1!\0one", 12));
  EXPECT_FALSE(Matches(std::string("Secret1!\0two", 12), hash));
  EXPECT_FALSE(Matches("Secret1!", hash));
}

TEST_F(Hasher, NobodyHasAPassword) {
  for (const char* password : {"", "Secret1!"}) {
    EXPECT_FALSE(*hasher_.Matches(password, std::nullopt, Soon()));
  }
}

TEST_F(Hasher, NobodysHashTakesTheSameTime) {
  PasswordHasher slow(9, 1, 1);
  const std::string hash = *slow.Hash("Secret1!", Soon());
  const auto took = [&](const std::optional<std::string>& with) {
    const auto start = std::chrono::steady_clock::now();
    EXPECT_FALSE(*slow.Matches("Wrong11!", with, Soon()));
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  // The best of several, so that a busy machine does not decide.
  double known = 1e9, unknown = 1e9;
  for (int i = 0; i < 5; ++i) {
    known = std::min(known, took(hash));
    unknown = std::min(unknown, took(std::nullopt));
  }
  EXPECT_GT(unknown, known / 3);
  EXPECT_LT(unknown, known * 3);
}

TEST_F(Hasher, WhoFindsTheQueueFullIsTurnedAway) {
  PasswordHasher hasher(10, 1, 1);
  std::atomic<int> done = 0, turned_away = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      const Result<std::string> hash = hasher.Hash("Secret1!", Soon());
      if (hash) {
        ++done;
      } else {
        EXPECT_EQ(hash.refusal().code, Code::kResourceExhausted);
        ++turned_away;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(turned_away, 0);
  EXPECT_GT(done, 0);
  EXPECT_TRUE(hasher.Hash("Secret1!", Soon()));
}

TEST_F(Hasher, WhoWaitsTooLongGivesUp) {
  PasswordHasher hasher(12, 1, 8);
  const auto passed = std::chrono::system_clock::now() - std::chrono::seconds(1);
  std::atomic<bool> gave_up = false;
  // One of the two finds the other at work sooner or later.
  const auto hash_until_someone_gives_up = [&] {
    for (int i = 0; i < 100 && !gave_up; ++i) {
      try {
        EXPECT_TRUE(hasher.Hash("Secret1!", passed));
      } catch (const Unavailable&) {
        gave_up = true;
      }
    }
  };
  std::thread other(hash_until_someone_gives_up);
  hash_until_someone_gives_up();
  other.join();
  EXPECT_TRUE(gave_up);
}

TEST(PasswordHasherCost, OutsideOfBcryptIsRefused) {
  EXPECT_THROW(PasswordHasher(3, 1, 1), std::invalid_argument);
  EXPECT_THROW(PasswordHasher(32, 1, 1), std::invalid_argument);
}

}  // namespace
}  // namespace shop::auth
