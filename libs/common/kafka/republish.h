// Publishing events once more, for a topic that has lost some: rows of the outbox that were
// published are marked to be published again, and the relay does the rest.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/postgres/pool.h"

namespace shop::kafka {

struct Republication {
  int64_t events = 0;
  // When the first and the last of them were written, for people; empty when there are none.
  std::string first;
  std::string last;
  // A time from which on the topic has all of these again, for ResumeGaps: a minute before they
  // were marked, as clocks differ.
  std::string from;
};

// The published events of the topic, of those that the outbox still has: written at `since` or
// later (as PostgreSQL reads times: 2026-11-20, or 2026-11-20 14:30+01), or all.
Republication FindPublished(postgres::Pool& db, const std::string& topic,
                            const std::optional<std::string>& since);

// Has them published again, all at once and with the ids they had, so that who has consumed them
// before takes them for repeats. Those of a key keep their order and come before what is written
// later; only what the relay is publishing in that moment may pass them. What was never published
// stays as it is, also what cannot be.
Republication Republish(postgres::Pool& db, const std::string& topic,
                        const std::optional<std::string>& since);

}  // namespace shop::kafka
