// The changes that services publish, applied to the response cache.
#pragma once

#include <memory>
#include <set>
#include <string>

#include "common/redis/redis.h"
#include "gateway/cache/response_cache.h"

namespace shop::gateway {

// Subscribes to the Redis channels `<tag>:changed` and `<tag>:sold` of each tag, for as long as the
// result lives. A message is a list of ids (`12 7`): of what has changed, or of what has changed in
// its stock alone. One that is no such list counts as a change of everything under the tag. Nothing
// is cached before all channels are subscribed to, nor after the connection is lost. `cache` has to
// live longer.
std::unique_ptr<redis::Subscription> SubscribeInvalidations(const redis::Settings& redis,
                                                            const std::set<std::string>& tags,
                                                            ResponseCache& cache);

}  // namespace shop::gateway
