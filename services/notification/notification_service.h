// The rpcs of shop.notification.v1.NotificationService.
#pragma once

#include <memory>

#include "common/postgres/pool.h"
#include "common/rpc/service.h"
#include "common/rpc/stream_hub.h"
#include "shop/notification/v1/notification.pb.h"

namespace shop::notification {

class NotificationService {
 public:
  explicit NotificationService(postgres::Pool& db);

  rpc::Service Methods();

  Result<rpc::Stream<v1::Notification>> Subscribe(const Call& call,
                                                  const v1::SubscribeRequest& request);

 private:
  postgres::Pool& db_;
  rpc::StreamHub changes_;  // of the open streams, by the users' ids
  std::shared_ptr<const void> signals_;
};

}  // namespace shop::notification
