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

// What a consumer asks for of each partition at a time, in bytes, and what it has read ahead in all, in
// kilobytes. The first counts events as they are compressed, so that a backlog of all partitions takes a
// process many times as much: librdkafka's own megabyte comes to a hundred and more. Larger batches are
// fetched all the same (KIP-74).
inline constexpr char kFetchBytes[] = "65536";
inline constexpr char kReadAheadKilobytes[] = "16384";

// The settings of every client, and the given ones. Throws std::logic_error for one that librdkafka
// does not know.
Conf MakeConf(const KafkaSettings& settings, ClientLog* log,
              std::initializer_list<std::pair<const char*, std::string>> more);

}  // namespace shop::kafka
