// The first SUPER_ADMIN, named by the environment: somebody has to be able to give roles.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "shop/auth/v1/auth.pb.h"

namespace shop::auth {

class AuthService;

struct OperatorCredentials {
  std::string email;
  std::string password;
};

// The request that registers the operator.
v1::RegisterRequest OperatorRegistration(const OperatorCredentials& credentials);

// Creates the account in a thread of its own, retrying with backoff until users answers. At every
// start the account gets the password from the environment and the role again. The service must
// outlive this.
class OperatorAccount {
 public:
  OperatorAccount(AuthService& service, OperatorCredentials credentials);
  // Takes a few seconds at most, even if users does not answer.
  ~OperatorAccount();

  // Whether somebody can sign in with it: it was created now or at an earlier start.
  bool exists() const { return exists_; }

 private:
  void Run();

  AuthService& service_;
  const OperatorCredentials credentials_;
  std::atomic<bool> exists_ = false;
  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace shop::auth
