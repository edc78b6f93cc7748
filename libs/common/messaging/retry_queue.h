// The events in a consumer group's retry queue, for people: list, redrive, discard. The commands
// that operators have for it are in operator.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/postgres/pool.h"

namespace shop::messaging {

struct QueuedEvent {
  int64_t id = 0;
  std::string group;
  std::string topic;
  std::string key;
  std::string event_id;
  std::string type;
  std::string value;
  std::string reason;  // why it was refused last
  int attempts = 0;
  bool dead = false;  // a dead letter: is not tried again by itself
  int partition = 0;  // where on the topic it stood
  int64_t position = 0;
  std::string came_at;   // for people
  std::string retry_at;  // when it is due, unless it is dead or waits for another; for people
  int64_t later = 0;     // how many later events of its key wait for it
  bool first = true;     // no earlier event of its key is queued
};

// The oldest first; of one group, or of all that keep their events in this database.
std::vector<QueuedEvent> ListRetryQueue(postgres::Pool& db, int limit = 100,
                                        const std::string& group = "");
std::optional<QueuedEvent> FindQueued(postgres::Pool& db, int64_t id);

// Has a dead letter tried again soon, with the same id, in its place among those of its key. False
// when there is no dead letter of that id.
bool Redrive(postgres::Pool& db, int64_t id);

// Drops an event for good: it counts as seen, and the later ones of its key go on. False when there
// is none of that id.
bool Discard(postgres::Pool& db, int64_t id);

}  // namespace shop::messaging
