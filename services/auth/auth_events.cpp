#include "auth/auth_events.h"

#include "auth/account_store.h"
#include "shop/events/v1/users.pb.h"

namespace shop::auth {
namespace {

Result<void> OnUserDeleted(postgres::Tx& tx, const events::v1::UserDeleted& event,
                           const messaging::Envelope&) {
  EraseAccount(tx, event.user_id());
  return kDone;
}

}  // namespace

messaging::Handlers EventHandlers() {
  return messaging::Handlers()
      .On<events::v1::UserDeleted>(OnUserDeleted)
      .Ignore<events::v1::UserRegistered>();
}

}  // namespace shop::auth
