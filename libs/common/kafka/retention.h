// How long events are kept, and where. Each has to outlive the one before:
//   topics   what a consumer that was away can catch up with; deploy/topics says the same
//   outbox   published rows, which `republish` (operator.h) sends again when a topic has lost them
//   inbox    the ids of what was consumed, by which a repeat is known; a republished event is as
//   old
//            as its outbox row
#pragma once

#include <chrono>

namespace shop::kafka {

inline constexpr std::chrono::hours kTopicRetention{7 * 24};
inline constexpr std::chrono::hours kOutboxRetention{14 * 24};
inline constexpr std::chrono::hours kInboxRetention{30 * 24};

static_assert(kTopicRetention + std::chrono::hours(24) <= kOutboxRetention);
static_assert(kOutboxRetention + std::chrono::hours(24) <= kInboxRetention);

}  // namespace shop::kafka
