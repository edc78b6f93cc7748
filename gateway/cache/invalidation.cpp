#include "gateway/cache/invalidation.h"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <vector>

namespace shop::gateway {
namespace {

constexpr std::string_view kChanged = ":changed";
constexpr std::string_view kSold = ":sold";

// "12 7" as ids; empty when it is anything else.
std::vector<int64_t> Ids(std::string_view text) {
  std::vector<int64_t> ids;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    int64_t& id = ids.emplace_back();
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc() || end != word.data() + word.size()) return {};
  }
  return ids;
}

void Apply(ResponseCache& cache, std::string_view channel, std::string_view message) {
  const std::vector<int64_t> ids = Ids(message);
  const bool sold = channel.ends_with(kSold);
  channel.remove_suffix(sold ? kSold.size() : kChanged.size());
  if (sold && !ids.empty()) {
    cache.Sold(std::string(channel), ids);
  } else {
    cache.Changed(std::string(channel), ids);
  }
}

}  // namespace

std::unique_ptr<redis::Subscription> SubscribeInvalidations(const redis::Settings& redis,
                                                            const std::set<std::string>& tags,
                                                            ResponseCache& cache) {
  std::vector<std::string> channels;
  for (const std::string& tag : tags) {
    for (const std::string_view suffix : {kChanged, kSold}) {
      channels.push_back(tag + std::string(suffix));
    }
  }
  return std::make_unique<redis::Subscription>(
      redis, channels,
      redis::Subscription::Listener{
          .connected = [&cache] { cache.SetSubscribed(true); },
          .received = [&cache](const std::string& channel,
                               const std::string& message) { Apply(cache, channel, message); },
          .lost = [&cache] { cache.SetSubscribed(false); }});
}

}  // namespace shop::gateway
