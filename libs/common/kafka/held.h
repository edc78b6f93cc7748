// The events a consumer group holds, for people: look, send back, discard.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/postgres/pool.h"

namespace shop::kafka {

struct HeldEvent {
  int64_t id = 0;
  std::string group;
  std::string topic;
  std::string key;
  std::string event_id;
  std::string type;
  std::string value;
  std::string reason;  // why it was refused last
  int attempts = 0;
  bool dead = false;  // is not tried again by itself
};

// The oldest first.
std::vector<HeldEvent> ListHeld(postgres::Pool& db, int limit = 100);

// Has a dead event tried again soon, with the same id, in its place among those of its key. False
// when there is no dead event of that id.
bool SendBack(postgres::Pool& db, int64_t id);

// Drops a held event for good: it counts as seen, and the later ones of its key go on. False when
// there is none of that id.
bool Discard(postgres::Pool& db, int64_t id);

}  // namespace shop::kafka
