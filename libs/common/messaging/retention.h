// How long events are kept, and where:
//   topics   what a consumer that was away can catch up with; deploy/topics says the same
//   outbox   published rows, from their publication. `republish` (operator.h) publishes again those
//            that were written no longer ago than this, however often that was done before
//   inbox    the ids of what was consumed, by which a repeat is known
// So a topic has a republished event until at most both the outbox's time and its own have passed
// since it was written, and whoever consumed it before still knows its id. Only an outbox that
// cannot publish for days between makes that longer.
#pragma once

#include <chrono>

namespace shop::messaging {

inline constexpr std::chrono::hours kTopicRetention{7 * 24};
inline constexpr std::chrono::hours kOutboxRetention{14 * 24};
inline constexpr std::chrono::hours kInboxRetention{30 * 24};

static_assert(kTopicRetention + std::chrono::hours(24) <= kOutboxRetention);
static_assert(kOutboxRetention + kTopicRetention + std::chrono::hours(24) <= kInboxRetention);

}  // namespace shop::messaging
