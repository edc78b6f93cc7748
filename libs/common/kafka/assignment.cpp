#include "common/kafka/assignment.h"

#include <algorithm>
#include <stdexcept>

#include "common/telemetry/log.h"

namespace shop::kafka {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// How often offsets are committed. What is not committed yet is delivered again, and the inbox
// knows it; each commit is a record that the broker writes.
constexpr auto kCommitEvery = milliseconds(500);
// How often a partition whose place is not known, or gone, is looked at again.
constexpr auto kLookAgain = std::chrono::seconds(1);
// How long a broker is waited for in the thread that consumes.
constexpr int kBrokerLimitMs = 1'000;
constexpr auto kMeasureEvery = std::chrono::seconds(5);

// Partitions in the form librdkafka takes them.
class Partitions {
 public:
  Partitions() = default;
  ~Partitions() { RdKafka::TopicPartition::destroy(list_); }
  Partitions(const Partitions&) = delete;
  Partitions& operator=(const Partitions&) = delete;

  void Add(const messaging::Place& place, int64_t offset) {
    list_.push_back(RdKafka::TopicPartition::create(place.first, place.second, offset));
  }
  std::vector<RdKafka::TopicPartition*>& list() { return list_; }

 private:
  std::vector<RdKafka::TopicPartition*> list_;
};

}  // namespace

Assignment::Assignment(std::string group, postgres::Pool& db, std::stop_token stop,
                       const std::atomic<bool>& away)
    : group_(std::move(group)),
      db_(db),
      stop_(std::move(stop)),
      away_(away),
      lag_(GaugeFamily("consumer_lag", "Events on the topic that this group has not finished")),
      missing_(
          GaugeFamily("consumer_missing_events",
                      "Events that are gone from the topic before this group has consumed them")) {}

prometheus::Labels Assignment::LabelsOf(const messaging::Place& place) const {
  return {{"group", group_}, {"topic", place.first}, {"partition", std::to_string(place.second)}};
}

void Assignment::Use(RdKafka::KafkaConsumer* client) {
  LetGo();
  client_ = client;
}

void Assignment::Add(const std::vector<RdKafka::TopicPartition*>& partitions) {
  for (const RdKafka::TopicPartition* partition : partitions) {
    next_[{partition->topic(), partition->partition()}] = -1;
  }
}

void Assignment::LetGo() {
  for (const auto& [place, next] : next_) {
    lag_.Remove(&lag_.Add(LabelsOf(place)));
    missing_.Remove(&missing_.Add(LabelsOf(place)));
  }
  while (!gaps_.empty()) CloseGap(gaps_.begin()->first);
  start_again_ = false;
  next_.clear();
  uncommitted_.clear();
  sent_.clear();
  refused_ = false;
  unsaved_.clear();  // whoever has the partitions now may be further already
}

void Assignment::Finish(const messaging::Place& place, int64_t next) {
  next_[place] = uncommitted_[place] = next;
}

void Assignment::Pause(bool pause) {
  Partitions partitions;
  for (const auto& [place, next] : next_) partitions.Add(place, RdKafka::Topic::OFFSET_INVALID);
  if (pause) {
    client_->pause(partitions.list());
  } else {
    client_->resume(partitions.list());
  }
}

void Assignment::CommitIfDue() {
  const auto now = steady_clock::now();
  if ((uncommitted_.empty() && unsaved_.empty()) || now - committed_ < kCommitEvery) return;
  committed_ = now;
  Commit(false);
}

bool Assignment::Commit(bool now) {
  RdKafka::ErrorCode error = RdKafka::ERR_NO_ERROR;
  if (!uncommitted_.empty()) {
    Partitions partitions;
    for (const auto& [place, next] : uncommitted_) {
      partitions.Add(place, next);
      unsaved_[place] = sent_[place] = next;
    }
    uncommitted_.clear();
    if (now) {
      // Without its coordinator commitSync waits for ten seconds: a question has a limit.
      Partitions asked;
      asked.Add(unsaved_.begin()->first, RdKafka::Topic::OFFSET_INVALID);
      error = client_->committed(asked.list(), kBrokerLimitMs);
      if (error == RdKafka::ERR_NO_ERROR) error = client_->commitSync(partitions.list());
    } else {
      error = client_->commitAsync(partitions.list());
    }
    if (error != RdKafka::ERR_NO_ERROR) NoteCommit(error, partitions.list());
  }
  SavePositions();
  return error == RdKafka::ERR_NO_ERROR;
}

// Until it is committed a group counts as behind, and the next owner of the partition gets what it knows already.
void Assignment::NoteCommit(RdKafka::ErrorCode error,
                            const std::vector<RdKafka::TopicPartition*>& offsets) {
  if (error == RdKafka::ERR__NO_OFFSET) return;
  RdKafka::ErrorCode why = RdKafka::ERR_NO_ERROR;
  for (const RdKafka::TopicPartition* offset : offsets) {
    const RdKafka::ErrorCode refused = error != RdKafka::ERR_NO_ERROR ? error : offset->err();
    if (refused == RdKafka::ERR_NO_ERROR) continue;
    why = refused;
    const messaging::Place place{offset->topic(), offset->partition()};
    // Of a later one it is told later.
    const auto sent = sent_.find(place);
    if (Contains(place) && sent != sent_.end() && sent->second == offset->offset()) {
      uncommitted_.try_emplace(place, offset->offset());
    }
  }
  const bool failed = why != RdKafka::ERR_NO_ERROR;
  if (failed && !refused_) {
    log::Warning("consumer could not commit offsets",
                 {{"group", group_}, {"error", RdKafka::err2str(why)}});
  }
  refused_ = failed;
}

void Assignment::SavePositions() {
  if (unsaved_.empty() || away_) return;
  try {
    messaging::SavePositions(db_, group_, unsaved_);
    unsaved_.clear();
  } catch (const std::exception& error) {
    // With the next commit, or by whoever has the partition then.
    log::Info("consumer could not save positions", {{"group", group_}, {"error", error.what()}});
  }
}

void Assignment::Start() {
  start_again_ = false;
  // Records before these gaps were pending: they come again, and the gap is found again after them.
  std::erase_if(gaps_, [&](const auto& gap) { return next_.at(gap.first) != gap.second; });
  try {
    FindStarts();
  } catch (const std::exception& error) {
    // A partition without an offset comes back through LoseOffset.
    log::Warning("consumer does not know yet where to start",
                 {{"group", group_}, {"error", error.what()}});
  }
  incomplete_ = !gaps_.empty();
  Partitions partitions;
  for (const auto& [place, next] : next_) {
    if (gaps_.contains(place)) continue;
    partitions.Add(place, next < 0 ? RdKafka::Topic::OFFSET_INVALID : next);
  }
  const RdKafka::ErrorCode error = client_->assign(partitions.list());
  if (error != RdKafka::ERR_NO_ERROR) {
    log::Error("consumer cannot start", {{"group", group_}, {"error", RdKafka::err2str(error)}});
    start_again_ = true;
  }
}

// For each partition without a place: what the group has committed; or, should Kafka have forgotten
// that, what the database has; or, for a group that was never here, the first record there is. It
// is kept at once: a group that consumes nothing for long is no new one afterwards.
void Assignment::FindStarts() {
  Partitions asked;
  for (const auto& [place, next] : next_) {
    if (next < 0) asked.Add(place, RdKafka::Topic::OFFSET_INVALID);
  }
  if (asked.list().empty()) return;
  const RdKafka::ErrorCode error = client_->committed(asked.list(), kBrokerLimitMs);
  if (error != RdKafka::ERR_NO_ERROR) throw std::runtime_error(RdKafka::err2str(error));
  const std::map<messaging::Place, int64_t> saved = messaging::Positions(db_, group_);
  std::map<messaging::Place, messaging::Gap> known;
  for (messaging::Gap& gap : messaging::ListGaps(db_)) {
    if (gap.group == group_)
      known.emplace(messaging::Place(gap.topic, gap.partition), std::move(gap));
  }
  for (const RdKafka::TopicPartition* one : asked.list()) {
    if (stop_.stop_requested()) return;
    if (one->err() != RdKafka::ERR_NO_ERROR) continue;
    const messaging::Place place{one->topic(), one->partition()};
    int64_t start = one->offset();
    if (start < 0) {
      if (const auto found = saved.find(place); found != saved.end()) {
        start = found->second;
      } else {
        const std::optional<int64_t> first = OffsetFrom(place, RdKafka::Topic::OFFSET_BEGINNING);
        if (!first) continue;
        start = uncommitted_[place] = *first;
      }
    }
    if (StandsAtGap(known, place, start)) {
      next_[place] = gaps_[place] = known.at(place).next;
    } else {
      next_[place] = unsaved_[place] = start;
    }
  }
}

// Whether the group stopped at a gap here and has not left it. The offsets do not tell: the topic
// may have grown past the record that the group needs, with others.
bool Assignment::StandsAtGap(const std::map<messaging::Place, messaging::Gap>& known,
                             const messaging::Place& place, int64_t start) {
  const auto found = known.find(place);
  if (found == known.end()) return false;
  const messaging::Gap& gap = found->second;
  // Behind it: what was finished before the gap, and not committed any more.
  if (gap.next == start || (start < gap.next && !gap.resume)) return true;
  // Left, by a consumer that ended before it forgot the gap.
  messaging::ForgetGap(db_, group_, place);
  return false;
}

// The first offset of that time (milliseconds since 1970, or the first and the end of all, which
// Kafka counts among the times), below 0 for none that young; nothing when the brokers do not say.
// librdkafka 2.0.2 has query_watermark_offsets for first and end, which waits for brokers that are
// away without a limit.
std::optional<int64_t> Assignment::OffsetFrom(const messaging::Place& place, int64_t time) {
  Partitions asked;
  asked.Add(place, time);
  const RdKafka::ErrorCode error = client_->offsetsForTimes(asked.list(), kBrokerLimitMs);
  const RdKafka::TopicPartition* answer = asked.list().front();
  if (error != RdKafka::ERR_NO_ERROR || answer->err() != RdKafka::ERR_NO_ERROR) return {};
  return answer->offset();
}

void Assignment::LoseOffset(const messaging::Place& place, int64_t offset,
                            std::optional<int64_t> received) {
  const auto found = next_.find(place);
  if (found == next_.end()) return;
  const int64_t next = received.value_or(found->second);
  // It was not known where the group stands, or this is about an earlier start.
  if (next < 0 || offset != next) {
    start_again_ = true;
    return;
  }
  gaps_[place] = next;
  incomplete_ = true;
  looked_again_ = {};
}

bool Assignment::LookAgain() {
  const auto now = steady_clock::now();
  if ((!start_again_ && gaps_.empty()) || now - looked_again_ < kLookAgain) return false;
  looked_again_ = now;
  const std::map<messaging::Place, int64_t> watched = gaps_;
  for (const auto& [place, next] : watched) {
    if (stop_.stop_requested()) return false;
    if (next_.at(place) != next) continue;  // what came before it is to be finished first
    try {
      WatchGap(place, next);
    } catch (const std::exception& error) {
      log::Warning("consumer cannot look at what is gone",
                   {{"group", group_}, {"topic", place.first}, {"error", error.what()}});
    }
  }
  if (!start_again_ || stop_.stop_requested()) return false;
  Start();
  return true;
}

// Tells of the gap, until a person has said where to go on.
void Assignment::WatchGap(const messaging::Place& place, int64_t next) {
  messaging::Gap gap{
      .group = group_, .topic = place.first, .partition = place.second, .next = next};
  const auto first = OffsetFrom(place, RdKafka::Topic::OFFSET_BEGINNING);
  const auto until = first ? OffsetFrom(place, RdKafka::Topic::OFFSET_END) : std::nullopt;
  if (!until) throw std::runtime_error("the brokers do not answer");
  gap.first = *first;
  gap.until = *until;
  auto& gauge = missing_.Add(LabelsOf(place));
  if (gauge.Value() != static_cast<double>(gap.missing())) {
    log::Error(
        "events are gone that this group has not consumed: it stops here until an operator "
        "says where to go on (see the runbook, make gaps)",
        {{"group", group_},
         {"topic", place.first},
         {"partition", place.second},
         {"next", next},
         {"first", gap.first},
         {"until", gap.until}});
  }
  gauge.Set(static_cast<double>(gap.missing()));
  gap = NoteGap(db_, gap);
  if (gap.resume) LeaveGap(gap);
}

void Assignment::LeaveGap(const messaging::Gap& gap) {
  const messaging::Place place{gap.topic, gap.partition};
  int64_t start = gap.first;
  if (gap.resume_from) {
    const auto from = OffsetFrom(place, static_cast<int64_t>(*gap.resume_from * 1000));
    if (!from) throw std::runtime_error("the brokers do not answer");
    start = *from;
    if (start < 0) start = gap.until;  // nothing is that young yet
  }
  log::Warning("consumer leaves a gap behind", {{"group", group_},
                                                {"topic", place.first},
                                                {"partition", place.second},
                                                {"next", gap.next},
                                                {"start", start}});
  uncommitted_[place] = start;
  if (!Commit(true)) throw std::runtime_error("the brokers do not take the offset after it");
  next_[place] = start;
  CloseGap(place);
  start_again_ = true;
  // After that: should this process die in between, the next start forgets it.
  messaging::ForgetGap(db_, group_, place);
}

void Assignment::CloseGap(const messaging::Place& place) {
  missing_.Remove(&missing_.Add(LabelsOf(place)));
  gaps_.erase(place);  // which the place may be a part of
  incomplete_ = !gaps_.empty();
}

void Assignment::MeasureLag() {
  const auto now = steady_clock::now();
  if (now - measured_ < kMeasureEvery) return;
  measured_ = now;
  for (const auto& [place, next] : next_) {
    if (next < 0) continue;
    int64_t low = 0;
    int64_t high = 0;
    if (client_->get_watermark_offsets(place.first, place.second, &low, &high) !=
        RdKafka::ERR_NO_ERROR) {
      continue;
    }
    lag_.Add(LabelsOf(place)).Set(static_cast<double>(std::max<int64_t>(high - next, 0)));
    missing_.Add(
        LabelsOf(place));  // 0 without a gap, so that its absence tells of an absent consumer
  }
}

}  // namespace shop::kafka
