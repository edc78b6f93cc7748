// What Kafka has to look like, from the two lists that the whole platform is made by: deploy/topics and
// deploy/services. The program `topics` (topics.cpp) brings a Kafka to it.
#pragma once

#include <compare>
#include <cstdint>
#include <iosfwd>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace shop::kafka {

struct Topic {
  std::string name;
  int partitions = 0;
  int64_t retention_ms = 0;
  int replicas = 0;
  int in_sync = 0;  // replicas that have to have an event before it counts: min.insync.replicas
  std::string publisher;  // the process whose outbox publishes it
};

struct TopicPlan {
  std::vector<Topic> topics;
  std::vector<std::string> processes;
  std::map<std::string, std::string> groups;  // consumer group -> the process it is a part of

  // Reads both files. Throws std::runtime_error with the line that it does not understand.
  static TopicPlan Read(std::istream& topics, std::istream& services);

  // For several brokers: gives each topic so many replicas; of three and more at least two have to be in sync.
  // `in_sync` takes the place of that number. 0 leaves what the lists say.
  void Replicate(int replicas, int in_sync);
};

// A line of Kafka's access control list (https://kafka.apache.org/documentation/#security_authz), for
// any host.
struct Permission {
  enum class Resource { kTopic, kGroup, kCluster };
  enum class Operation { kRead, kWrite, kDescribe, kDescribeConfigs };

  std::string user;  // as it logs in; ANONYMOUS who did not
  bool allowed = true;
  Operation operation = Operation::kRead;
  Resource resource = Resource::kTopic;
  std::string name;  // of the topic or the group; * for all

  auto operator<=>(const Permission&) const = default;
};

// Who logs in as ANONYMOUS has not logged in.
inline constexpr const char* kAnonymous = "ANONYMOUS";

// Who may do what; all else is refused. A process reads every topic, consumes as its own groups and
// publishes its own topics. With `anonymous_read` somebody without a login reads every topic too, also as a
// group, but as none of the platform's: a stranger in one of those would be given its events, and they
// would never be handled.
std::set<Permission> Permissions(const TopicPlan& plan, bool anonymous_read);

// One line that says so: "orders may write topic orders".
std::string Describe(const Permission& permission);

}  // namespace shop::kafka
