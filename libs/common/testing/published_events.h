// What a database's outbox has, for tests of those who publish.
#pragma once

#include <string>
#include <vector>

#include "common/messaging/event.h"
#include "common/postgres/pool.h"

namespace shop::testing {

// All events of the outbox, published by a relay or not, in the order in which they leave.
std::vector<messaging::Envelope> PublishedEvents(postgres::Pool& db);
// Their types alone.
std::vector<std::string> PublishedTypes(postgres::Pool& db);

}  // namespace shop::testing
