// What services publish of their changes, told to the answer cache.
#pragma once

#include <memory>
#include <set>
#include <string>

#include "common/redis/redis.h"
#include "gateway/cache/response_cache.h"

namespace shop::gateway {

// Listens for as long as what it answers lives, on the channels `<tag>:changed` and `<tag>:sold` of
// each tag. A message is a list of ids (`12 7`): of what has changed, or of what has changed in its
// stock alone. One that is no such list counts as a change of everything under the tag. Nothing is
// kept before all channels are subscribed to, nor after the connection is lost. `answers` has to
// live longer.
std::unique_ptr<redis::Subscription> SubscribeInvalidations(const redis::Settings& redis,
                                                            const std::set<std::string>& tags,
                                                            ResponseCache& answers);

}  // namespace shop::gateway
