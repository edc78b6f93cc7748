#include "notification/notification_service.h"

#include <google/protobuf/util/time_util.h>

#include "notification/mail_jobs.h"
#include "notification/order_mail.h"

namespace shop::notification {
namespace {

using google::protobuf::util::TimeUtil;

constexpr int kAtOnce = 50;
// What a client sees first that has seen nothing yet.
constexpr int kNewest = 20;

v1::Notification NotificationOf(const Change& change) {
  v1::Notification notification;
  notification.set_id(change.id);
  *notification.mutable_at() = TimeUtil::MicrosecondsToTimestamp(change.at_us);
  notification.set_what(change.type);
  notification.set_order_id(change.order_id);
  const Result<std::string> text = SubjectAbout(change.type, change.event);
  if (text) notification.set_text(*text);
  return notification;
}

}  // namespace

NotificationService::NotificationService(postgres::Pool& db)
    : db_(db),
      changes_([this](const std::vector<int64_t>& users) {
        return postgres::Read(db_, [&](postgres::Tx& tx) { return NewestChanges(tx, users); });
      }),
      signals_(db_.Subscribe(kChangeSignal, [this] { changes_.PollSoon(); })) {}

rpc::Service NotificationService::Methods() {
  return rpc::Service("shop.notification.v1.NotificationService")
      .OnStream("Subscribe", this, &NotificationService::Subscribe);
}

Result<rpc::Stream<v1::Notification>> NotificationService::Subscribe(
    const Call& call, const v1::SubscribeRequest& request) {
  const int64_t user = call.caller.user_id;
  const int64_t after =
      request.has_last_event_id()
          ? request.last_event_id()
          : postgres::Read(db_, [&](postgres::Tx& tx) { return BeforeNewest(tx, user, kNewest); });
  return rpc::Stream<v1::Notification>{
      .hub = &changes_, .key = user, .after = after, .read = [this, user](int64_t seen) {
        std::vector<v1::Notification> notifications;
        for (const Change& change : postgres::Read(
                 db_, [&](postgres::Tx& tx) { return ChangesAfter(tx, user, seen, kAtOnce); })) {
          notifications.push_back(NotificationOf(change));
        }
        return notifications;
      }};
}

}  // namespace shop::notification
