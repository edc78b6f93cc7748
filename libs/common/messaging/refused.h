// Events of the outbox that the brokers refuse for what they are, such as one that is too large:
// for people, to look at and to discard. The relay tries them again by itself, each after a pause,
// and holds back the later events of their keys meanwhile.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/postgres/pool.h"

namespace shop::messaging {

struct RefusedEvent {
  int64_t id = 0;  // in the outbox
  std::string topic;
  std::string key;
  std::string event_id;
  std::string type;
  std::string value;
  std::string reason;
};

// The oldest first.
std::vector<RefusedEvent> ListRefused(postgres::Pool& db, int limit = 100);

// Drops a refused event for good: it is never published, and the later ones of its key go on at the
// relay's next try. False when there is none of that id that is refused and not published.
bool DiscardRefused(postgres::Pool& db, int64_t id);

}  // namespace shop::messaging
