#include "common/testing/mock_kafka.h"

// clang-format off: the second needs the first.
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
// clang-format on

#include <stdexcept>
#include <vector>

namespace shop::testing {
namespace {

constexpr int kBroker = 1;  // the first and only one

void Check(rd_kafka_resp_err_t error) {
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) throw std::runtime_error(rd_kafka_err2str(error));
}

}  // namespace

MockKafka::MockKafka() {
  char error[256];
  client_ = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), error, sizeof error);
  if (client_ == nullptr) throw std::runtime_error(error);
  cluster_ = rd_kafka_mock_cluster_new(client_, 1);
  if (cluster_ == nullptr) throw std::runtime_error("no mock cluster");
}

MockKafka::~MockKafka() {
  rd_kafka_mock_cluster_destroy(cluster_);
  rd_kafka_destroy(client_);
}

std::string MockKafka::addresses() const {
  return rd_kafka_mock_cluster_bootstraps(cluster_);
}

void MockKafka::MakeTopic(const std::string& name, int partitions) {
  Check(rd_kafka_mock_topic_create(cluster_, name.c_str(), partitions, 1));
}

void MockKafka::TakeLeader(const std::string& topic, int partition) {
  Check(rd_kafka_mock_partition_set_leader(cluster_, topic.c_str(), partition, -1));
}

void MockKafka::GiveLeader(const std::string& topic, int partition) {
  Check(rd_kafka_mock_partition_set_leader(cluster_, topic.c_str(), partition, kBroker));
}

void MockKafka::RefuseCommits(int times) {
  constexpr int16_t kOffsetCommit = 8;  // https://kafka.apache.org/protocol.html#protocol_api_keys
  const std::vector<rd_kafka_resp_err_t> errors(static_cast<size_t>(times),
                                                RD_KAFKA_RESP_ERR_INVALID_COMMIT_OFFSET_SIZE);
  rd_kafka_mock_push_request_errors_array(cluster_, kOffsetCommit, errors.size(), errors.data());
}

void MockKafka::Down() {
  Check(rd_kafka_mock_broker_set_down(cluster_, kBroker));
}

void MockKafka::Up() {
  Check(rd_kafka_mock_broker_set_up(cluster_, kBroker));
}

}  // namespace shop::testing
