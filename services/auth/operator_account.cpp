#include "auth/operator_account.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <utility>

#include "auth/auth_service.h"
#include "common/rpc/client.h"
#include "common/telemetry/log.h"

namespace shop::auth {
namespace {

constexpr std::chrono::milliseconds kFirstPause{100};
constexpr std::chrono::milliseconds kLongestPause{5000};
constexpr std::chrono::seconds kAttemptLimit{4};

}  // namespace

v1::RegisterRequest OperatorRegistration(const OperatorCredentials& credentials) {
  v1::RegisterRequest request;
  request.set_name("Super Admin");
  request.set_email(credentials.email);
  request.set_password(credentials.password);
  return request;
}

OperatorAccount::OperatorAccount(AuthService& service, OperatorCredentials credentials)
    : service_(service), credentials_(std::move(credentials)), thread_([this] { Run(); }) {}

OperatorAccount::~OperatorAccount() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stopped_.notify_all();
  thread_.join();
}

void OperatorAccount::Run() {
  const v1::RegisterRequest request = OperatorRegistration(credentials_);
  std::chrono::milliseconds pause = kFirstPause;
  for (;;) {
    try {
      exists_ = exists_ || service_.IsRegistered(credentials_.email);
      service_.EnsureSuperAdmin(rpc::BackgroundCall(TraceContext::New(), kAttemptLimit), request);
      exists_ = true;
      return;
    } catch (const std::exception& error) {
      log::Warning("the operator's account cannot be created yet", {{"error", error.what()}});
    }
    std::unique_lock lock(mutex_);
    if (stopped_.wait_for(lock, pause, [&] { return stopping_; })) return;
    pause = std::min(pause * 2, kLongestPause);
  }
}

}  // namespace shop::auth
