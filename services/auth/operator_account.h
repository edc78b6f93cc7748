// The first SUPER_ADMIN, whom the environment names: somebody has to be able to give roles.
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

// What the operator would send to register.
v1::RegisterRequest OperatorRegistration(const OperatorCredentials& credentials);

// Makes the account in a thread of its own, trying again with backoff until users is there. At
// every start the environment wins: the account gets its password and the role again. The service
// must outlive this.
class OperatorAccount {
 public:
  OperatorAccount(AuthService& service, OperatorCredentials credentials);
  // Within some seconds also when users does not answer.
  ~OperatorAccount();

  // Whether somebody can sign in with it: it was made, now or at an earlier start.
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
