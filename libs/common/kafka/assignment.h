// The partitions that a consumer has of its group, for consumer.cpp: where the group stands on each,
// kept in Kafka and in the database, and the gaps at which it stopped (messaging/positions.h). Used by
// the thread that consumes; complete() by any.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "common/kafka/client.h"
#include "common/messaging/positions.h"
#include "common/postgres/pool.h"
#include "common/telemetry/metrics.h"

namespace shop::kafka {

class Assignment {
 public:
  // `away` says that the database does not answer, and ends attempts to write to it.
  Assignment(std::string group, postgres::Pool& db, std::stop_token stop,
             const std::atomic<bool>& away);

  // The client that the partitions are assigned to; what there was of another is dropped.
  void Use(RdKafka::KafkaConsumer* client);
  void Add(const std::vector<RdKafka::TopicPartition*>& partitions);
  // Starts every partition with the record after the last finished one, except those that stand at
  // a gap. What was received and is not finished is received again.
  void Start();
  // Ends all of it, without committing.
  void LetGo();

  bool Contains(const messaging::Place& place) const { return next_.contains(place); }
  // Everything before `next` is durably done.
  void Finish(const messaging::Place& place, int64_t next);
  void Pause(bool pause);

  // Librdkafka has no record at `offset`, which is below 0 where it was told none, and waits to be
  // told another. `received`: the one after the last that was received and is not finished.
  void LoseOffset(const messaging::Place& place, int64_t offset, std::optional<int64_t> received);
  // From time to time: looks at the gaps, and whether a person has said where to go on. Whether it
  // started again: what was received is received once more.
  bool LookAgain();

  void CommitIfDue();
  // Whether Kafka has taken the offsets, or without `now` will be told of them. What it does not take is
  // committed again.
  bool Commit(bool now);
  // What became of offsets that Kafka was told of, as librdkafka reports it.
  void NoteCommit(RdKafka::ErrorCode error, const std::vector<RdKafka::TopicPartition*>& offsets);
  void MeasureLag();

  // Whether no partition stands at a gap.
  bool complete() const { return !incomplete_; }

 private:
  void SavePositions();
  void FindStarts();
  bool StandsAtGap(const std::map<messaging::Place, messaging::Gap>& known,
                   const messaging::Place& place, int64_t start);
  std::optional<int64_t> OffsetFrom(const messaging::Place& place, int64_t time);
  void WatchGap(const messaging::Place& place, int64_t next);
  void LeaveGap(const messaging::Gap& gap);
  void CloseGap(const messaging::Place& place);
  prometheus::Labels LabelsOf(const messaging::Place& place) const;

  const std::string group_;
  postgres::Pool& db_;
  const std::stop_token stop_;
  const std::atomic<bool>& away_;
  RdKafka::KafkaConsumer* client_ = nullptr;

  std::map<messaging::Place, int64_t> next_;  // -1 while that is not known
  std::map<messaging::Place, int64_t> uncommitted_;
  std::map<messaging::Place, int64_t> sent_;     // what Kafka was told last
  bool refused_ = false;                         // the last commit was
  std::map<messaging::Place, int64_t> unsaved_;  // what the database does not know yet
  std::map<messaging::Place, int64_t> gaps_;     // partitions whose next record, this one, is gone
  bool start_again_ = false;                     // some partition does not know where to start
  std::atomic<bool> incomplete_ = false;         // there are gaps
  std::chrono::steady_clock::time_point looked_again_{};
  std::chrono::steady_clock::time_point committed_{};
  std::chrono::steady_clock::time_point measured_{};

  prometheus::Family<prometheus::Gauge>& lag_;
  prometheus::Family<prometheus::Gauge>& missing_;
};

}  // namespace shop::kafka
