// What services publish of their changes, told to the answer cache.
#pragma once

#include <memory>
#include <set>
#include <string>

#include "common/redis/redis.h"
#include "gateway/answer_cache.h"

namespace shop::gateway {

// Listens for as long as what it answers lives, on the channel `<tag>:changed` of each tag. A
// message that is no list of ids counts as a change of everything under the tag. `answers` has to
// live longer.
std::unique_ptr<redis::Subscription> HearChanges(const redis::Settings& redis,
                                                 const std::set<std::string>& tags,
                                                 AnswerCache& answers);

}  // namespace shop::gateway
