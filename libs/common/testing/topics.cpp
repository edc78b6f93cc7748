#include "common/testing/topics.h"

#include <librdkafka/rdkafka.h>

#include <memory>
#include <stdexcept>

#include "common/testing/servers.h"

namespace shop::testing {
namespace {

using Client = std::unique_ptr<rd_kafka_t, decltype(&rd_kafka_destroy)>;

Client Connect() {
  char error[256];
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  const std::string brokers = Server("KAFKA_BOOTSTRAP_SERVERS");
  if (rd_kafka_conf_set(conf, "bootstrap.servers", brokers.c_str(), error, sizeof error) !=
      RD_KAFKA_CONF_OK) {
    throw std::runtime_error(error);
  }
  rd_kafka_t* client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof error);
  if (client == nullptr) throw std::runtime_error(error);
  return Client(client, rd_kafka_destroy);
}

bool HasLeaders(rd_kafka_t* client, const std::string& name, int partitions) {
  const std::unique_ptr<rd_kafka_topic_t, decltype(&rd_kafka_topic_destroy)> topic(
      rd_kafka_topic_new(client, name.c_str(), nullptr), rd_kafka_topic_destroy);
  const rd_kafka_metadata_t* metadata = nullptr;
  if (rd_kafka_metadata(client, 0, topic.get(), &metadata, 5000) != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return false;
  }
  bool ready = metadata->topic_cnt == 1 && metadata->topics[0].partition_cnt >= partitions;
  for (int i = 0; ready && i < metadata->topics[0].partition_cnt; ++i) {
    ready = metadata->topics[0].partitions[i].leader >= 0;
  }
  rd_kafka_metadata_destroy(metadata);
  return ready;
}

}  // namespace

void MakeTopic(const std::string& name, int partitions) {
  const Client client = Connect();
  char error[256];
  rd_kafka_NewTopic_t* topic =
      rd_kafka_NewTopic_new(name.c_str(), partitions, 1, error, sizeof error);
  if (topic == nullptr) throw std::runtime_error(error);
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
  if (!Eventually([&] { return HasLeaders(client.get(), name, partitions); })) {
    throw std::runtime_error("topic " + name + " has no leaders");
  }
}

}  // namespace shop::testing
