#include "auth/auth_events.h"

#include "auth/account_store.h"
#include "auth/mailed_tokens.h"
#include "auth/second_factors.h"
#include "auth/session_store.h"
#include "shop/events/v1/users.pb.h"

namespace shop::auth {
namespace {

messaging::EventContext CausedBy(const messaging::Envelope& event) {
  return {.source = "auth", .trace = event.trace, .cause_id = event.id};
}

Result<void> OnUserDeleted(postgres::Tx& tx, const events::v1::UserDeleted& event,
                           const messaging::Envelope& envelope) {
  ForgetTokens(tx, event.user_id());
  EraseAccount(tx, event.user_id());
  RemoveSecondFactor(tx, event.user_id());
  EndSessions(tx, event.user_id(), CausedBy(envelope));
  return kDone;
}

// Ends the sessions whose access tokens have the role of before, and not one that began since.
Result<void> OnUserRoleChanged(postgres::Tx& tx, const events::v1::UserRoleChanged& event,
                               const messaging::Envelope& envelope) {
  RememberRoleChange(tx, event.user_id(), event.version());
  EndSessionsBefore(tx, event.user_id(), event.version(), CausedBy(envelope));
  return kDone;
}

}  // namespace

messaging::Handlers EventHandlers() {
  return messaging::Handlers()
      .On<events::v1::UserDeleted>(OnUserDeleted)
      .On<events::v1::UserRoleChanged>(OnUserRoleChanged)
      .Ignore<events::v1::UserRegistered>();
}

}  // namespace shop::auth
