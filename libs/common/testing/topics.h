// Kafka topics for tests.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

namespace shop::testing {

// Makes a topic and waits until its partitions have leaders. One that exists is left as it is.
// `settings` are Kafka's, such as max.message.bytes.
void MakeTopic(const std::string& name, int partitions,
               const std::map<std::string, std::string>& settings = {});

struct TopicRecord {
  int partition = 0;
  std::string key;
  std::string value;
  std::map<std::string, std::string> headers;
};

// Deletes the records of a partition before `offset`, as a topic's retention does in time.
void DeleteRecords(const std::string& name, int partition, int64_t offset);

// What a topic holds, from its beginning, in the order of each partition: returns as soon as there
// are `at_least` records, or what there is once the limit has passed. `brokers` are
// the test servers' ones by default.
std::vector<TopicRecord> ReadTopic(const std::string& name, size_t at_least,
                                   std::chrono::milliseconds limit = std::chrono::seconds(20),
                                   const std::string& brokers = "");
// The same where repeats do not count: returns as soon as there are `at_least` different events, by
// their ce_id. For what is delivered at least once.
std::vector<TopicRecord> ReadEvents(const std::string& name, size_t at_least,
                                    std::chrono::milliseconds limit = std::chrono::seconds(20),
                                    const std::string& brokers = "");

}  // namespace shop::testing
