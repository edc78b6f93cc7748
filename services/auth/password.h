// The rules for passwords, and their hashes.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "common/core/result.h"

namespace shop::auth {

// Whose password it is to be.
struct PasswordOwner {
  std::string_view name;
  std::string_view email;
};

// What is wrong with a new password, or nothing. It has 8 to 128 characters with an upper case letter, a
// lower case letter, a digit and a symbol, or 15 to 128 of any kind. Whatever is no ASCII letter or digit
// counts as a symbol. And it is neither its owner's name or e-mail address, nor a common password, whatever
// its case, also with @ for a and the like.
std::optional<std::string> PasswordProblem(std::string_view password, const PasswordOwner& owner);

// bcrypt ($2b$) over a digest of the password, so that every byte of it counts; see
// docs/decisions/0003-passwords.md. Thread-safe.
//
// A hash takes a core for long (a quarter of a second at cost 12), so at most `at_once` are
// computed at a time and at most `waiting` callers queue for that, until their deadline
// (shop::Unavailable); more are RESOURCE_EXHAUSTED at once. Other work stays fast.
class PasswordHasher {
 public:
  PasswordHasher(int cost, int at_once, int waiting);

  using Deadline = std::chrono::system_clock::time_point;

  Result<std::string> Hash(std::string_view password, Deadline deadline);
  // Whether `hash` was made of this password. Without a hash it takes the same time and is false.
  Result<bool> Matches(std::string_view password, const std::optional<std::string>& hash,
                       Deadline deadline);
  // Whether the hash was made when hashes were to cost less than now.
  bool IsTooCheap(std::string_view hash) const;

 private:
  class Turn;

  Result<void> Enter(Deadline deadline);
  void Leave();

  const int cost_;
  const int at_once_;
  const int waiting_limit_;
  const std::string nobodys_hash_;

  std::mutex mutex_;
  std::condition_variable freed_;
  int running_ = 0;
  int waiting_ = 0;
};

}  // namespace shop::auth
