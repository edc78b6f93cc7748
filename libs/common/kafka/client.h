// What producers and consumers of this library have in common. No other header of ours includes
// those of librdkafka, and .cpp files alone include this one.
#pragma once

#include <librdkafka/rdkafkacpp.h>

#include <chrono>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>

#include "common/kafka/settings.h"

namespace shop::kafka {

// Writes what librdkafka reports into our log: an error at most once in half a minute.
class ClientLog : public RdKafka::EventCb {
 public:
  void event_cb(RdKafka::Event& event) override;

 private:
  std::chrono::steady_clock::time_point last_{};
};

using Conf = std::unique_ptr<RdKafka::Conf>;

// The settings of every client, and the given ones. Throws std::logic_error for one that librdkafka
// does not know.
Conf MakeConf(const KafkaSettings& settings, ClientLog* log,
              std::initializer_list<std::pair<const char*, std::string>> more);

// MakeConf for a client that consumes, which bounds what of a backlog is in memory: librdkafka's default
// is to fetch a megabyte of each partition at a time, and counts it as it is compressed.
Conf MakeConsumerConf(const KafkaSettings& settings, ClientLog* log,
                      std::initializer_list<std::pair<const char*, std::string>> more);

}  // namespace shop::kafka
