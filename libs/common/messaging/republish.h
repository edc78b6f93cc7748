// Publishing events once more, for a topic that has lost some: rows of the outbox that were
// published are marked to be published again, and the relay does the rest.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/postgres/pool.h"

namespace shop::messaging {

struct Republication {
  int64_t events = 0;
  // When the first and the last of them were written, for people; empty when there are none.
  std::string first;
  std::string last;
  // A time from which on the topic has all of these again, for ResumeGaps: a minute before they
  // were marked, as clocks differ. What was published in that minute comes before them.
  std::string from;
};

// The published events of the topic that were written at `since` or later (as PostgreSQL reads
// times: 2026-11-20, or 2026-11-20 14:30+01), or all; of these no older ones than kOutboxRetention,
// as their ids may be forgotten before they are consumed (retention.h).
Republication FindPublished(postgres::Pool& db, const std::string& topic,
                            const std::optional<std::string>& since);

// Marks them, all at once, and the relay publishes them again with the ids they had, so that who
// has consumed them before takes them for repeats. What was never published is not marked, also
// what cannot be published.
// Order: those of a key keep theirs, and come before what the relay begins to publish after the
// mark. Not before the batch that the relay is publishing meanwhile (RelayOptions::batch) and what
// the topic has of the minute before: a group that goes on at `from` consumes these first, though
// older ones of their keys follow. Once nothing has been published for a minute before and none
// while this runs, all are in order.
Republication Republish(postgres::Pool& db, const std::string& topic,
                        const std::optional<std::string>& since);

}  // namespace shop::messaging
