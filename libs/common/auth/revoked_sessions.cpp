#include "common/auth/revoked_sessions.h"

#include <mutex>

namespace shop::auth {

bool RevokedSessions::Add(const std::string& session, int64_t until, int64_t now) {
  const std::lock_guard lock(mutex_);
  while (!by_expiry_.empty() && by_expiry_.begin()->first <= now) ForgetFirst();
  if (until > now && sessions_.insert(session).second) by_expiry_.emplace(until, session);
  const bool fits = sessions_.size() <= most_;
  if (!fits) ForgetFirst();
  size_ = sessions_.size();
  return fits;
}

bool RevokedSessions::Contains(std::string_view session) const {
  if (size_ == 0) return false;
  const std::shared_lock lock(mutex_);
  return sessions_.contains(session);
}

void RevokedSessions::ForgetFirst() {
  sessions_.erase(by_expiry_.begin()->second);
  by_expiry_.erase(by_expiry_.begin());
}

}  // namespace shop::auth
