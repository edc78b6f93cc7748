// Hands events to a consumer group without a broker.
#pragma once

#include <string>
#include <vector>

#include "common/messaging/handlers.h"
#include "common/messaging/inbox.h"
#include "common/messaging/retrier.h"

namespace shop::testing {

// A consumer group and what works for it.
struct TestGroup {
  TestGroup(postgres::Pool& db, const std::string& name, const messaging::Handlers& handlers,
            const messaging::RetryPolicy& retry = {})
      : group(db, name, handlers, retry) {}

  messaging::ConsumerGroup group;
  messaging::Inbox inbox{group};
  messaging::Retrier retrier{group};
};

// Does with the events exactly what a Consumer of `group` does that received them together, inbox
// rows included, but answers a refusal in the place of putting an event into the retry queue.
Result<void> Deliver(postgres::Pool& db, const messaging::Handlers& handlers,
                     const std::string& group, const std::vector<messaging::Envelope>& events);
inline Result<void> Deliver(postgres::Pool& db, const messaging::Handlers& handlers,
                            const std::string& group, const messaging::Envelope& event) {
  return Deliver(db, handlers, group, std::vector<messaging::Envelope>{event});
}

}  // namespace shop::testing
