// Brings a Kafka to what deploy/topics and deploy/services say (topic_plan.h): makes the topics that are
// missing, gives the others their settings, and lets every process do what it has to and nobody else.
//
//   topics FOLDER      where the two lists lie
//
// Run at every start of a stack, before the services; nothing changes when it is run again. Says each change
// in a line. Partitions and replicas of a topic that is there stay, and so do settings and permissions that
// are not ours. A Kafka that asks nobody for a login (no authorizer) gets topics alone.
//
// Kafka is reached with the settings of every process (KafkaSettings), as somebody who may change it;
// KAFKA_REPLICATION and KAFKA_MIN_INSYNC_REPLICAS are for several brokers (deploy/topics),
// KAFKA_ANONYMOUS_READ=true lets somebody without a login read.
#include <librdkafka/rdkafka.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <stdexcept>
#include <thread>

#include "common/core/env.h"
#include "common/core/freed.h"
#include "common/kafka/client.h"
#include "common/kafka/topic_plan.h"

namespace shop::kafka {
namespace {

constexpr int kBrokerLimitMs = 30'000;

using Answer = std::unique_ptr<rd_kafka_event_t, Freed<rd_kafka_event_destroy>>;
using Queue = std::unique_ptr<rd_kafka_queue_t, Freed<rd_kafka_queue_destroy>>;
using NewTopic = std::unique_ptr<rd_kafka_NewTopic_t, Freed<rd_kafka_NewTopic_destroy>>;
using Resource = std::unique_ptr<rd_kafka_ConfigResource_t, Freed<rd_kafka_ConfigResource_destroy>>;
using Binding = std::unique_ptr<rd_kafka_AclBinding_t, Freed<rd_kafka_AclBinding_destroy>>;

// What a call of librdkafka takes: an array of pointers, which stay their owners'.
template <typename Owner>
auto Pointers(const std::vector<Owner>& owners) {
  std::vector<typename Owner::pointer> pointers;
  for (const Owner& owner : owners) pointers.push_back(owner.get());
  return pointers;
}

void Check(const std::string& what, rd_kafka_resp_err_t code, const char* text = nullptr) {
  if (code == RD_KAFKA_RESP_ERR_NO_ERROR) return;
  throw std::runtime_error(what + ": " + (text != nullptr ? text : rd_kafka_err2str(code)));
}

void Check(const std::string& what, const rd_kafka_error_t* error) {
  if (error != nullptr) throw std::runtime_error(what + ": " + rd_kafka_error_string(error));
}

using Settings = std::map<std::string, std::string>;  // of a topic

Settings SettingsOf(const Topic& topic) {
  return {{"retention.ms", std::to_string(topic.retention_ms)},
          {"min.insync.replicas", std::to_string(topic.in_sync)}};
}

// The few questions and changes that are wanted of a Kafka. Each waits for its answer and throws
// std::runtime_error without a good one.
class Admin {
 public:
  explicit Admin(const KafkaSettings& settings) {
    const Conf conf = MakeConf(settings, &log_, {{"client.id", "topics"}});
    std::string error;
    client_.reset(RdKafka::Producer::create(conf.get(), error));
    if (!client_) throw std::runtime_error(error);
    queue_.reset(rd_kafka_queue_new(handle()));
  }

  std::set<std::string> Topics() {
    const rd_kafka_metadata_t* told = nullptr;
    const rd_kafka_resp_err_t code = rd_kafka_metadata(handle(), 1, nullptr, &told, kBrokerLimitMs);
    client_->poll(0);  // for its log, which says more
    Check("Kafka does not answer", code);
    const std::unique_ptr<const rd_kafka_metadata_t, Freed<rd_kafka_metadata_destroy>> metadata(
        told);
    std::set<std::string> names;
    for (int i = 0; i < metadata->topic_cnt; ++i) names.insert(metadata->topics[i].topic);
    return names;
  }

  void Create(const std::vector<Topic>& topics) {
    std::vector<NewTopic> made;
    std::array<char, 512> error{};
    for (const Topic& topic : topics) {
      made.emplace_back(rd_kafka_NewTopic_new(topic.name.c_str(), topic.partitions, topic.replicas,
                                              error.data(), error.size()));
      if (!made.back()) throw std::runtime_error(topic.name + ": " + error.data());
      for (const auto& [name, value] : SettingsOf(topic)) {
        Check(name, rd_kafka_NewTopic_set_config(made.back().get(), name.c_str(), value.c_str()));
      }
    }
    auto pointers = Pointers(made);
    const Answer answer = Ask("create topics", [&](rd_kafka_queue_t* queue) {
      rd_kafka_CreateTopics(handle(), pointers.data(), pointers.size(), nullptr, queue);
    });
    size_t count = 0;
    const auto* results = rd_kafka_CreateTopics_result_topics(
        rd_kafka_event_CreateTopics_result(answer.get()), &count);
    for (size_t i = 0; i < count; ++i) {
      const rd_kafka_resp_err_t code = rd_kafka_topic_result_error(results[i]);
      // Another run of this program at the same moment.
      if (code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) continue;
      Check(rd_kafka_topic_result_name(results[i]), code,
            rd_kafka_topic_result_error_string(results[i]));
    }
  }

  // Topic -> what is set on the topic itself, and is no default.
  std::map<std::string, Settings> Configured(const std::vector<Topic>& topics) {
    std::vector<Resource> asked;
    for (const Topic& topic : topics) {
      asked.emplace_back(rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic.name.c_str()));
    }
    auto pointers = Pointers(asked);
    const Answer answer = Ask("describe topics", [&](rd_kafka_queue_t* queue) {
      rd_kafka_DescribeConfigs(handle(), pointers.data(), pointers.size(), nullptr, queue);
    });
    size_t count = 0;
    const auto* resources = rd_kafka_DescribeConfigs_result_resources(
        rd_kafka_event_DescribeConfigs_result(answer.get()), &count);
    std::map<std::string, Settings> found;
    for (size_t i = 0; i < count; ++i) {
      const std::string topic = rd_kafka_ConfigResource_name(resources[i]);
      Check(topic, rd_kafka_ConfigResource_error(resources[i]),
            rd_kafka_ConfigResource_error_string(resources[i]));
      size_t entries = 0;
      const auto* entry = rd_kafka_ConfigResource_configs(resources[i], &entries);
      for (size_t n = 0; n < entries; ++n) {
        const char* value = rd_kafka_ConfigEntry_value(entry[n]);
        if (rd_kafka_ConfigEntry_source(entry[n]) == RD_KAFKA_CONFIG_SOURCE_DYNAMIC_TOPIC_CONFIG &&
            value != nullptr) {
          found[topic][rd_kafka_ConfigEntry_name(entry[n])] = value;
        }
      }
    }
    return found;
  }

  // Gives topics exactly these settings: one that is set and not among them is lost.
  void Configure(const std::map<std::string, Settings>& topics) {
    std::vector<Resource> changed;
    for (const auto& [topic, settings] : topics) {
      changed.emplace_back(rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic.c_str()));
      for (const auto& [name, value] : settings) {
        Check(name, rd_kafka_ConfigResource_set_config(changed.back().get(), name.c_str(),
                                                       value.c_str()));
      }
    }
    auto pointers = Pointers(changed);
    const Answer answer = Ask("set up topics", [&](rd_kafka_queue_t* queue) {
      rd_kafka_AlterConfigs(handle(), pointers.data(), pointers.size(), nullptr, queue);
    });
    size_t count = 0;
    const auto* resources = rd_kafka_AlterConfigs_result_resources(
        rd_kafka_event_AlterConfigs_result(answer.get()), &count);
    for (size_t i = 0; i < count; ++i) {
      Check(rd_kafka_ConfigResource_name(resources[i]), rd_kafka_ConfigResource_error(resources[i]),
            rd_kafka_ConfigResource_error_string(resources[i]));
    }
  }

  // Lines of a kind that we do not make are left out. None where there is no list.
  std::set<Permission> Permitted() {
    std::set<Permission> found;
    for (const auto kind : kResources) {
      std::array<char, 512> error{};
      const Binding filter(rd_kafka_AclBindingFilter_new(
          kind, nullptr, RD_KAFKA_RESOURCE_PATTERN_LITERAL, nullptr, nullptr,
          RD_KAFKA_ACL_OPERATION_ANY, RD_KAFKA_ACL_PERMISSION_TYPE_ANY, error.data(),
          error.size()));
      if (!filter) throw std::runtime_error(error.data());
      const Answer answer = Ask("read permissions", [&](rd_kafka_queue_t* queue) {
        rd_kafka_DescribeAcls(handle(), filter.get(), nullptr, queue);
      });
      size_t count = 0;
      const auto* bindings = rd_kafka_DescribeAcls_result_acls(
          rd_kafka_event_DescribeAcls_result(answer.get()), &count);
      for (size_t i = 0; i < count; ++i) {
        if (const auto permission = Read(bindings[i])) found.insert(*permission);
      }
    }
    return found;
  }

  // False where there is no list to write them to.
  bool Permit(const std::vector<Permission>& permissions) {
    std::vector<Binding> made;
    for (const Permission& permission : permissions)
      made.push_back(Write(permission, rd_kafka_AclBinding_new));
    auto pointers = Pointers(made);
    const Answer answer = Ask("give permissions", [&](rd_kafka_queue_t* queue) {
      rd_kafka_CreateAcls(handle(), pointers.data(), pointers.size(), nullptr, queue);
    });
    size_t count = 0;
    const auto* results =
        rd_kafka_CreateAcls_result_acls(rd_kafka_event_CreateAcls_result(answer.get()), &count);
    for (size_t i = 0; i < count; ++i) {
      const rd_kafka_error_t* error = rd_kafka_acl_result_error(results[i]);
      if (error != nullptr && rd_kafka_error_code(error) == RD_KAFKA_RESP_ERR_SECURITY_DISABLED)
        return false;
      Check("give permissions", error);
    }
    return true;
  }

  void Forbid(const std::vector<Permission>& permissions) {
    std::vector<Binding> filters;
    for (const Permission& permission : permissions) {
      filters.push_back(Write(permission, rd_kafka_AclBindingFilter_new));
    }
    auto pointers = Pointers(filters);
    const Answer answer = Ask("take permissions", [&](rd_kafka_queue_t* queue) {
      rd_kafka_DeleteAcls(handle(), pointers.data(), pointers.size(), nullptr, queue);
    });
    size_t count = 0;
    const auto* results = rd_kafka_DeleteAcls_result_responses(
        rd_kafka_event_DeleteAcls_result(answer.get()), &count);
    for (size_t i = 0; i < count; ++i) {
      Check("take permissions", rd_kafka_DeleteAcls_result_response_error(results[i]));
    }
  }

 private:
  rd_kafka_t* handle() { return client_->c_ptr(); }

  template <typename Call>
  Answer Send(const Call& call) {
    call(queue_.get());
    Answer answer(rd_kafka_queue_poll(queue_.get(), kBrokerLimitMs));
    if (!answer) throw std::runtime_error("Kafka does not answer");
    return answer;
  }

  template <typename Call>
  Answer Ask(const char* what, const Call& call) {
    Answer answer = Send(call);
    Check(what, rd_kafka_event_error(answer.get()), rd_kafka_event_error_string(answer.get()));
    return answer;
  }

  static constexpr std::array kResources{RD_KAFKA_RESOURCE_TOPIC, RD_KAFKA_RESOURCE_GROUP,
                                         RD_KAFKA_RESOURCE_BROKER};  // which stands for the cluster
  static constexpr std::array kOperations{RD_KAFKA_ACL_OPERATION_READ, RD_KAFKA_ACL_OPERATION_WRITE,
                                          RD_KAFKA_ACL_OPERATION_DESCRIBE,
                                          RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS};
  static constexpr const char* kAnyHost = "*";
  static constexpr std::string_view kUser = "User:";

  template <typename Make>
  static Binding Write(const Permission& permission, const Make& make) {
    std::array<char, 512> error{};
    Binding binding(make(
        kResources.at(static_cast<size_t>(permission.resource)), permission.name.c_str(),
        RD_KAFKA_RESOURCE_PATTERN_LITERAL, (std::string(kUser) + permission.user).c_str(), kAnyHost,
        kOperations.at(static_cast<size_t>(permission.operation)),
        permission.allowed ? RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW : RD_KAFKA_ACL_PERMISSION_TYPE_DENY,
        error.data(), error.size()));
    if (!binding) throw std::runtime_error(Describe(permission) + ": " + error.data());
    return binding;
  }

  static std::optional<Permission> Read(const rd_kafka_AclBinding_t* binding) {
    const auto* resource =
        std::find(kResources.begin(), kResources.end(), rd_kafka_AclBinding_restype(binding));
    const auto* operation =
        std::find(kOperations.begin(), kOperations.end(), rd_kafka_AclBinding_operation(binding));
    const std::string_view principal = rd_kafka_AclBinding_principal(binding);
    if (resource == kResources.end() || operation == kOperations.end() ||
        !principal.starts_with(kUser) ||
        std::string_view(rd_kafka_AclBinding_host(binding)) != kAnyHost) {
      return std::nullopt;
    }
    return Permission{
        .user = std::string(principal.substr(kUser.size())),
        .allowed =
            rd_kafka_AclBinding_permission_type(binding) == RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW,
        .operation = static_cast<Permission::Operation>(operation - kOperations.begin()),
        .resource = static_cast<Permission::Resource>(resource - kResources.begin()),
        .name = rd_kafka_AclBinding_name(binding)};
  }

  ClientLog log_;
  std::unique_ptr<RdKafka::Producer> client_;  // of all clients the one that consumes nothing
  Queue queue_;
};

void ApplyTopics(const TopicPlan& plan, Admin& admin) {
  const std::set<std::string> present = admin.Topics();
  std::vector<Topic> missing;
  std::vector<Topic> known;
  for (const Topic& topic : plan.topics)
    (present.contains(topic.name) ? known : missing).push_back(topic);
  if (!missing.empty()) admin.Create(missing);
  for (const Topic& topic : missing) std::cout << "topic " << topic.name << " is new\n";

  if (known.empty()) return;
  std::map<std::string, Settings> configured = admin.Configured(known);
  std::map<std::string, Settings> changed;
  for (const Topic& topic : known) {
    Settings& before = configured[topic.name];
    // What is set besides has to be sent along, or it is lost.
    Settings after = SettingsOf(topic);
    for (const auto& [name, value] : after) {
      if (before[name] != value) changed[topic.name];
    }
    after.insert(before.begin(), before.end());
    if (const auto change = changed.find(topic.name); change != changed.end()) {
      for (const auto& [name, value] : after) {
        const std::string& was = before[name];
        if (was == value) continue;
        std::cout << "topic " << topic.name << ": " << name << " is now " << value << ", was "
                  << (was.empty() ? "the default" : was) << "\n";
      }
      change->second = std::move(after);
    }
  }
  if (!changed.empty()) admin.Configure(changed);
}

// A broker hears of what was changed a moment later. Whoever comes after us must not be refused until then.
void Await(const std::vector<Permission>& given, const std::vector<Permission>& taken,
           Admin& admin) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(kBrokerLimitMs);
  while (std::chrono::steady_clock::now() < end) {
    const std::set<Permission> found = admin.Permitted();
    const auto is_found = [&](const Permission& permission) { return found.contains(permission); };
    if (std::all_of(given.begin(), given.end(), is_found) &&
        std::none_of(taken.begin(), taken.end(), is_found)) {
      return;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  throw std::runtime_error("the brokers do not follow the changed permissions");
}

// The lines of our processes and of ANONYMOUS become the wanted ones; those of others stay.
void ApplyPermissions(const TopicPlan& plan, bool anonymous_read, Admin& admin) {
  const std::set<Permission> wanted = Permissions(plan, anonymous_read);
  const std::set<Permission> found = admin.Permitted();
  const auto is_ours = [&](const Permission& permission) {
    return permission.user == kAnonymous || std::find(plan.processes.begin(), plan.processes.end(),
                                                      permission.user) != plan.processes.end();
  };
  std::vector<Permission> missing;
  std::vector<Permission> surplus;
  std::set_difference(wanted.begin(), wanted.end(), found.begin(), found.end(),
                      std::back_inserter(missing));
  std::set_difference(found.begin(), found.end(), wanted.begin(), wanted.end(),
                      std::back_inserter(surplus));
  std::erase_if(surplus, [&](const Permission& permission) { return !is_ours(permission); });
  if (missing.empty() && surplus.empty()) return;

  if (!missing.empty() && !admin.Permit(missing)) {
    std::cout << "this Kafka has no access control list: whoever reaches it may do anything\n";
    return;
  }
  if (!surplus.empty()) admin.Forbid(surplus);
  Await(missing, surplus, admin);
  for (const Permission& permission : missing) std::cout << Describe(permission) << "\n";
  for (const Permission& permission : surplus)
    std::cout << "no longer: " << Describe(permission) << "\n";
}

int Run(const std::string& folder) {
  Env env;
  const KafkaSettings settings = KafkaSettings::Read(env);
  const int replicas = static_cast<int>(env.Integer("KAFKA_REPLICATION", 0, 0, 99));
  const int in_sync = static_cast<int>(env.Integer("KAFKA_MIN_INSYNC_REPLICAS", 0, 0, 99));
  const bool anonymous_read = env.Flag("KAFKA_ANONYMOUS_READ", false);
  for (const std::string& problem : env.problems()) std::cerr << problem << "\n";
  if (!env.problems().empty()) return 2;

  std::ifstream topics(folder + "/topics");
  std::ifstream services(folder + "/services");
  if (!topics || !services)
    throw std::runtime_error(folder + " has no lists of topics and services");
  TopicPlan plan = TopicPlan::Read(topics, services);
  plan.Replicate(replicas, in_sync);

  Admin admin(settings);
  ApplyTopics(plan, admin);
  ApplyPermissions(plan, anonymous_read, admin);
  return 0;
}

}  // namespace
}  // namespace shop::kafka

int main(int count, char** words) {
  if (count != 2) {
    std::cerr << "usage: topics FOLDER, which has the lists topics and services\n";
    return 2;
  }
  try {
    return shop::kafka::Run(words[1]);
  } catch (const std::exception& error) {
    std::cerr << "topics: " << error.what() << "\n";
    return 1;
  }
}
