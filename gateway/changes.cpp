#include "gateway/changes.h"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <vector>

namespace shop::gateway {
namespace {

constexpr std::string_view kSuffix = ":changed";

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

}  // namespace

std::unique_ptr<redis::Subscription> HearChanges(const redis::Settings& redis,
                                                 const std::set<std::string>& tags,
                                                 AnswerCache& answers) {
  std::vector<std::string> channels;
  for (const std::string& tag : tags) channels.push_back(tag + std::string(kSuffix));
  return std::make_unique<redis::Subscription>(
      redis, channels,
      redis::Subscription::Listener{
          .connected = [&answers] { answers.Hear(true); },
          .heard =
              [&answers](const std::string& channel, const std::string& message) {
                answers.Changed(channel.substr(0, channel.size() - kSuffix.size()), Ids(message));
              },
          .lost = [&answers] { answers.Hear(false); }});
}

}  // namespace shop::gateway
