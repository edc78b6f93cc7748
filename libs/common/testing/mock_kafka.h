// A cluster of Kafka brokers played by librdkafka inside the test, for what a real one cannot be
// told to do: partitions lose their leaders, brokers go away and come back. It keeps what is
// published, serves groups, and knows no limits of size.
#pragma once

#include <string>

// Of librdkafka, whose headers .cpp files alone include.
struct rd_kafka_s;
struct rd_kafka_mock_cluster_s;

namespace shop::testing {

class MockKafka {
 public:
  MockKafka();
  ~MockKafka();
  MockKafka(const MockKafka&) = delete;
  MockKafka& operator=(const MockKafka&) = delete;

  // For bootstrap.servers.
  std::string addresses() const;

  void MakeTopic(const std::string& name, int partitions);
  void TakeLeader(const std::string& topic, int partition);
  void GiveLeader(const std::string& topic, int partition);
  // The next few times that a group commits its offsets.
  void RefuseCommits(int times);
  // Connections end and new ones are refused, until Up.
  void Down();
  void Up();

 private:
  rd_kafka_s* client_;
  rd_kafka_mock_cluster_s* cluster_;
};

}  // namespace shop::testing
