#include "common/testing/topics.h"

#include <librdkafka/rdkafka.h>

#include <functional>
#include <memory>
#include <set>
#include <stdexcept>

#include "common/testing/servers.h"

namespace shop::testing {
namespace {

using Client = std::unique_ptr<rd_kafka_t, decltype(&rd_kafka_destroy)>;

Client Connect(rd_kafka_type_t type, const std::string& brokers) {
  char error[256];
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  const auto set = [&](const char* name, const char* value) {
    if (rd_kafka_conf_set(conf, name, value, error, sizeof error) != RD_KAFKA_CONF_OK) {
      throw std::runtime_error(error);
    }
  };
  set("bootstrap.servers", brokers.c_str());
  // Needed by the interface; no group is joined.
  if (type == RD_KAFKA_CONSUMER) set("group.id", "reader");
  rd_kafka_t* client = rd_kafka_new(type, conf, error, sizeof error);
  if (client == nullptr) throw std::runtime_error(error);
  return Client(client, rd_kafka_destroy);
}

// How many partitions a topic has; 0 unless all have leaders.
int PartitionsWithLeaders(rd_kafka_t* client, const std::string& name) {
  const std::unique_ptr<rd_kafka_topic_t, decltype(&rd_kafka_topic_destroy)> topic(
      rd_kafka_topic_new(client, name.c_str(), nullptr), rd_kafka_topic_destroy);
  const rd_kafka_metadata_t* metadata = nullptr;
  if (rd_kafka_metadata(client, 0, topic.get(), &metadata, 5000) != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return 0;
  }
  int count = metadata->topic_cnt == 1 ? metadata->topics[0].partition_cnt : 0;
  for (int i = 0; i < count; ++i) {
    if (metadata->topics[0].partitions[i].leader < 0) count = 0;
  }
  rd_kafka_metadata_destroy(metadata);
  return count;
}

TopicRecord ToRecord(const rd_kafka_message_t& message) {
  TopicRecord record;
  record.partition = message.partition;
  record.key.assign(static_cast<const char*>(message.key), message.key_len);
  record.value.assign(static_cast<const char*>(message.payload), message.len);
  rd_kafka_headers_t* headers = nullptr;
  if (rd_kafka_message_headers(&message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR) {
    const char* name = nullptr;
    const void* value = nullptr;
    size_t size = 0;
    for (size_t i = 0;
         rd_kafka_header_get_all(headers, i, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR;
         ++i) {
      record.headers[name] = std::string(static_cast<const char*>(value), size);
    }
  }
  return record;
}

}  // namespace

void MakeTopic(const std::string& name, int partitions,
               const std::map<std::string, std::string>& settings) {
  const Client client = Connect(RD_KAFKA_PRODUCER, Server("KAFKA_BOOTSTRAP_SERVERS"));
  char error[256];
  rd_kafka_NewTopic_t* topic =
      rd_kafka_NewTopic_new(name.c_str(), partitions, 1, error, sizeof error);
  if (topic == nullptr) throw std::runtime_error(error);
  for (const auto& [setting, value] : settings) {
    rd_kafka_NewTopic_set_config(topic, setting.c_str(), value.c_str());
  }
  rd_kafka_queue_t* queue = rd_kafka_queue_new(client.get());
  rd_kafka_CreateTopics(client.get(), &topic, 1, nullptr, queue);
  rd_kafka_NewTopic_destroy(topic);
  rd_kafka_event_t* event = rd_kafka_queue_poll(queue, 30'000);
  rd_kafka_resp_err_t outcome = event ? rd_kafka_event_error(event) : RD_KAFKA_RESP_ERR__TIMED_OUT;
  if (outcome == RD_KAFKA_RESP_ERR_NO_ERROR) {
    size_t count = 0;
    const rd_kafka_topic_result_t** results =
        rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
    if (count == 1) outcome = rd_kafka_topic_result_error(results[0]);
  }
  if (event != nullptr) rd_kafka_event_destroy(event);
  rd_kafka_queue_destroy(queue);
  if (outcome != RD_KAFKA_RESP_ERR_NO_ERROR && outcome != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) {
    throw std::runtime_error("cannot make topic " + name + ": " + rd_kafka_err2str(outcome));
  }
  if (!Eventually([&] { return PartitionsWithLeaders(client.get(), name) >= partitions; })) {
    throw std::runtime_error("topic " + name + " has no leaders");
  }
}

void DeleteRecords(const std::string& name, int partition, int64_t offset) {
  const Client client = Connect(RD_KAFKA_PRODUCER, Server("KAFKA_BOOTSTRAP_SERVERS"));
  rd_kafka_topic_partition_list_t* before = rd_kafka_topic_partition_list_new(1);
  rd_kafka_topic_partition_list_add(before, name.c_str(), partition)->offset = offset;
  rd_kafka_DeleteRecords_t* wish = rd_kafka_DeleteRecords_new(before);
  rd_kafka_topic_partition_list_destroy(before);
  rd_kafka_queue_t* queue = rd_kafka_queue_new(client.get());
  rd_kafka_DeleteRecords(client.get(), &wish, 1, nullptr, queue);
  rd_kafka_DeleteRecords_destroy(wish);
  rd_kafka_event_t* event = rd_kafka_queue_poll(queue, 30'000);
  rd_kafka_resp_err_t outcome = event ? rd_kafka_event_error(event) : RD_KAFKA_RESP_ERR__TIMED_OUT;
  if (outcome == RD_KAFKA_RESP_ERR_NO_ERROR) {
    outcome = rd_kafka_DeleteRecords_result_offsets(rd_kafka_event_DeleteRecords_result(event))
                  ->elems[0]
                  .err;
  }
  if (event != nullptr) rd_kafka_event_destroy(event);
  rd_kafka_queue_destroy(queue);
  if (outcome != RD_KAFKA_RESP_ERR_NO_ERROR) {
    throw std::runtime_error("cannot delete records of " + name + ": " + rd_kafka_err2str(outcome));
  }
}

namespace {

std::vector<TopicRecord> ReadUntil(
    const std::string& name, std::chrono::milliseconds limit, const std::string& brokers,
    const std::function<bool(const std::vector<TopicRecord>&)>& enough) {
  const auto give_up = std::chrono::steady_clock::now() + limit;
  const Client client =
      Connect(RD_KAFKA_CONSUMER, brokers.empty() ? Server("KAFKA_BOOTSTRAP_SERVERS") : brokers);
  rd_kafka_poll_set_consumer(client.get());
  const int partitions = PartitionsWithLeaders(client.get(), name);
  rd_kafka_topic_partition_list_t* all = rd_kafka_topic_partition_list_new(partitions);
  for (int i = 0; i < partitions; ++i) {
    rd_kafka_topic_partition_list_add(all, name.c_str(), i)->offset = RD_KAFKA_OFFSET_BEGINNING;
  }
  rd_kafka_assign(client.get(), all);
  rd_kafka_topic_partition_list_destroy(all);
  std::vector<TopicRecord> records;
  while (!enough(records) && std::chrono::steady_clock::now() < give_up) {
    rd_kafka_message_t* message = rd_kafka_consumer_poll(client.get(), 100);
    if (message == nullptr) continue;
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) records.push_back(ToRecord(*message));
    rd_kafka_message_destroy(message);
  }
  rd_kafka_consumer_close(client.get());
  return records;
}

}  // namespace

std::vector<TopicRecord> ReadTopic(const std::string& name, size_t at_least,
                                   std::chrono::milliseconds limit, const std::string& brokers) {
  return ReadUntil(name, limit, brokers,
                   [&](const auto& records) { return records.size() >= at_least; });
}

std::vector<TopicRecord> ReadEvents(const std::string& name, size_t at_least,
                                    std::chrono::milliseconds limit, const std::string& brokers) {
  std::set<std::string> ids;
  return ReadUntil(name, limit, brokers, [&](const auto& records) {
    if (!records.empty()) ids.insert(records.back().headers.at("ce_id"));
    return ids.size() >= at_least;
  });
}

}  // namespace shop::testing
