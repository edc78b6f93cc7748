#include "common/kafka/topic_plan.h"

#include <algorithm>
#include <istream>
#include <sstream>
#include <stdexcept>
#include <string_view>

namespace shop::kafka {
namespace {

constexpr int64_t kDayMs = 24LL * 60 * 60 * 1000;

using Words = std::vector<std::string>;

// The words of each line that is no comment.
template <typename Take>
void ForEachLine(std::istream& file, const char* what, const Take& take) {
  for (std::string line; std::getline(file, line);) {
    std::istringstream stream(line);
    Words words;
    for (std::string word; stream >> word;) words.push_back(word);
    if (words.empty() || words[0].starts_with('#')) continue;
    if (!take(words)) throw std::runtime_error(std::string(what) + ": cannot read: " + line);
  }
}

// A number from 1 on; 0 where it is none.
int Number(std::string_view text) {
  const bool digits =
      !text.empty() && text.size() < 7 &&
      std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  return digits ? std::stoi(std::string(text)) : 0;
}

// name, partitions, retention in days, replicas, in-sync replicas, publisher
bool TakeTopic(const Words& words, std::vector<Topic>& topics) {
  if (words.size() != 6 || !words[2].ends_with('d')) return false;
  const int days = Number(std::string_view(words[2]).substr(0, words[2].size() - 1));
  Topic topic{.name = words[0],
              .partitions = Number(words[1]),
              .retention_ms = days * kDayMs,
              .replicas = Number(words[3]),
              .in_sync = Number(words[4]),
              .publisher = words[5]};
  if (topic.partitions == 0 || days == 0 || topic.replicas == 0 || topic.in_sync == 0) return false;
  topics.push_back(std::move(topic));
  return true;
}

// name, port, admin port, database, then GROUP=TOPIC[,TOPIC]…
bool TakeProcess(const Words& words, TopicPlan& plan) {
  if (words.size() < 4) return false;
  plan.processes.push_back(words[0]);
  for (size_t i = 4; i < words.size(); ++i) {
    const size_t equals = words[i].find('=');
    if (equals == std::string::npos) return false;
    plan.groups[words[i].substr(0, equals)] = words[0];
  }
  return true;
}

const char* Word(Permission::Resource resource) {
  switch (resource) {
    case Permission::Resource::kTopic:
      return "topic";
    case Permission::Resource::kGroup:
      return "group";
    case Permission::Resource::kCluster:
      return "cluster";
  }
  return "";
}

const char* Word(Permission::Operation operation) {
  switch (operation) {
    case Permission::Operation::kRead:
      return "read";
    case Permission::Operation::kWrite:
      return "write";
    case Permission::Operation::kDescribe:
      return "describe";
    case Permission::Operation::kDescribeConfigs:
      return "describe the settings of";
  }
  return "";
}

}  // namespace

TopicPlan TopicPlan::Read(std::istream& topics, std::istream& services) {
  TopicPlan plan;
  ForEachLine(topics, "topics", [&](const Words& words) { return TakeTopic(words, plan.topics); });
  ForEachLine(services, "services", [&](const Words& words) { return TakeProcess(words, plan); });
  return plan;
}

void TopicPlan::Replicate(int replicas, int in_sync) {
  for (Topic& topic : topics) {
    if (replicas != 0) topic.replicas = replicas;
    if (topic.replicas >= 3) topic.in_sync = std::max(topic.in_sync, 2);
    if (in_sync != 0) topic.in_sync = in_sync;
  }
}

std::set<Permission> Permissions(const TopicPlan& plan, bool anonymous_read) {
  using enum Permission::Resource;
  using enum Permission::Operation;
  std::set<Permission> permissions;
  for (const std::string& process : plan.processes) {
    permissions.insert({process, true, kRead, kTopic, "*"});
  }
  for (const auto& [group, process] : plan.groups) {
    permissions.insert({process, true, kRead, kGroup, group});
  }
  for (const Topic& topic : plan.topics) {
    permissions.insert({topic.publisher, true, kWrite, kTopic, topic.name});
  }
  if (!anonymous_read) return permissions;
  permissions.insert({kAnonymous, true, kRead, kTopic, "*"});
  permissions.insert({kAnonymous, true, kDescribeConfigs, kTopic, "*"});
  permissions.insert({kAnonymous, true, kDescribe, kCluster, "kafka-cluster"});
  permissions.insert({kAnonymous, true, kRead, kGroup, "*"});
  for (const auto& [group, process] : plan.groups) {
    permissions.insert({kAnonymous, false, kRead, kGroup, group});
  }
  return permissions;
}

std::string Describe(const Permission& permission) {
  return permission.user + (permission.allowed ? " may " : " may not ") +
         Word(permission.operation) + " " + Word(permission.resource) + " " + permission.name;
}

}  // namespace shop::kafka
