// Hands events to a consumer group's handlers without a broker.
#pragma once

#include <string>
#include <vector>

#include "common/messaging/handlers.h"

namespace shop::testing {

// Does with the events exactly what a Consumer of `group` does that received them together, inbox
// rows included, but answers a refusal in the place of putting an event into the retry queue.
Result<void> Deliver(postgres::Pool& db, const messaging::Handlers& handlers,
                     const std::string& group, const std::vector<messaging::Envelope>& events);
inline Result<void> Deliver(postgres::Pool& db, const messaging::Handlers& handlers,
                            const std::string& group, const messaging::Envelope& event) {
  return Deliver(db, handlers, group, std::vector<messaging::Envelope>{event});
}

}  // namespace shop::testing
