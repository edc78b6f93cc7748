#include "common/kafka/consumer.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <thread>
#include <utility>

#include "common/core/deadline.h"
#include "common/kafka/client.h"
#include "common/messaging/handlers.h"
#include "common/messaging/headers.h"
#include "common/messaging/inbox.h"
#include "common/messaging/positions.h"
#include "common/telemetry/log.h"
#include "common/telemetry/metrics.h"

namespace shop::kafka {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr auto kFirstBackoff = milliseconds(100);
constexpr auto kLongestBackoff = milliseconds(5'000);
// How often offsets are committed. What is not committed yet is delivered again, and the inbox
// knows it; each commit is a record that the broker writes.
constexpr auto kCommitEvery = milliseconds(500);
// How often a partition whose place is not known, or gone, is looked at again.
constexpr auto kLookAgain = std::chrono::seconds(1);
// How long a broker is waited for in the thread that consumes.
constexpr int kBrokerLimitMs = 1'000;
constexpr auto kHouseKeeping = std::chrono::seconds(5);
constexpr auto kForgetting = std::chrono::minutes(10);
// How long a stop lets the transaction under way go on before what it waits for is cut short.
constexpr auto kStopGrace = milliseconds(500);

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

messaging::Record ToRecord(RdKafka::Message& message) {
  messaging::Headers headers;
  if (RdKafka::Headers* raw = message.headers()) {
    for (const RdKafka::Headers::Header& header : raw->get_all()) {
      const char* bytes = static_cast<const char*>(header.value());
      headers[messaging::AsText(header.key())] = messaging::AsText(
          bytes ? std::string_view(bytes, header.value_size()) : std::string_view());
    }
  }
  const char* key = static_cast<const char*>(message.key_pointer());
  const char* value = static_cast<const char*>(message.payload());
  return {
      .event = messaging::FromRecord(
          message.topic_name(),
          messaging::AsText(key ? std::string_view(key, message.key_len()) : std::string_view()),
          std::move(headers),
          messaging::AsText(value ? std::string_view(value, message.len()) : std::string_view())),
      .partition = message.partition(),
      .position = message.offset()};
}

}  // namespace

struct Consumer::State : RdKafka::RebalanceCb {
  State(const KafkaSettings& kafka, std::string group, std::vector<std::string> topics,
        postgres::Pool& db, messaging::Handlers handlers, const ConsumerOptions& options)
      : kafka(kafka),
        group(group),
        topics(std::move(topics)),
        options(options),
        db(db),
        inbox(db, group, std::move(handlers), options.retry),
        lag(prometheus::BuildGauge()
                .Name("consumer_lag")
                .Help("Events on the topic that this group has not finished")
                .Register(Metrics())),
        missing(prometheus::BuildGauge()
                    .Name("consumer_missing_events")
                    .Help("Events that are gone from the topic before this group has consumed them")
                    .Register(Metrics())) {}

  // The thread that hears.
  void Consume();
  void HearUntilStopped();
  void Connect();
  void Poll(milliseconds time);
  void Fill();
  void Work();
  // Ends the first `count` of what is pending: they are durably done.
  void Finish(size_t count);
  void StartWaiting(const std::string& why);
  void StopWaiting();
  void PauseAll(bool pause);
  void CommitIfDue();
  bool Commit(bool now);
  void KeepPositions();
  void StartPartitions();
  void FindStarts();
  bool StandsAtGap(const std::map<messaging::Place, messaging::Gap>& known,
                   const messaging::Place& place, int64_t start);
  std::optional<int64_t> OffsetFrom(const messaging::Place& place, int64_t time);
  void LoseOffset(const messaging::Place& place, int64_t offset);
  void LookAgain();
  void WatchGap(const messaging::Place& place, int64_t next);
  void LeaveGap(const messaging::Gap& gap);
  void CloseGap(const messaging::Place& place);
  // What belongs to the partitions that this consumer has no longer.
  void LetGo();
  void MeasureLag();
  void rebalance_cb(RdKafka::KafkaConsumer* client, RdKafka::ErrorCode what,
                    std::vector<RdKafka::TopicPartition*>& partitions) override;

  // The thread that retries.
  void RetryHeld();

  prometheus::Labels LabelsOf(const messaging::Place& place) const {
    return {{"group", group}, {"topic", place.first}, {"partition", std::to_string(place.second)}};
  }

  bool Stopping() const { return stop.stop_requested(); }
  // Sleeps until the time is over or Stop is called.
  void Sleep(milliseconds time) {
    std::unique_lock lock(mutex);
    stopped.wait_for(lock, stop.get_token(), time, [] { return false; });
  }

  const KafkaSettings kafka;
  const std::string group;
  const std::vector<std::string> topics;
  const ConsumerOptions options;
  postgres::Pool& db;
  messaging::Inbox inbox;
  prometheus::Family<prometheus::Gauge>& lag;
  prometheus::Family<prometheus::Gauge>& missing;

  // Of the consuming thread alone.
  ClientLog client_log;
  std::unique_ptr<RdKafka::KafkaConsumer> client;
  std::deque<messaging::Record> pending;  // in the order they came, none of them finished
  size_t singly = 0;                      // how many of these to take one at a time
  std::map<messaging::Place, int64_t>
      assigned;  // what comes next of each, -1 while that is not known
  std::map<messaging::Place, int64_t> uncommitted;
  std::map<messaging::Place, int64_t> unsaved;  // what the database does not know yet
  std::map<messaging::Place, int64_t> gaps;     // partitions whose next record, this one, is gone
  bool start_again = false;                     // some partition does not know where to start
  steady_clock::time_point looked_again{};
  bool waiting = false;
  steady_clock::time_point wait_until{};
  milliseconds backoff = kFirstBackoff;
  steady_clock::time_point committed{};
  steady_clock::time_point measured{};

  std::atomic<bool> joined = false;
  std::atomic<bool> away = false;
  std::atomic<bool> incomplete = false;  // there are gaps
  std::stop_source stop;                 // ends loops and pauses
  std::stop_source cut;                  // ends what the work under way waits for
  std::mutex mutex;
  std::condition_variable_any stopped;
  std::thread consuming;
  std::thread retrying;
};

Consumer::Consumer(const KafkaSettings& kafka, std::string group, std::vector<std::string> topics,
                   postgres::Pool& db, messaging::Handlers handlers, ConsumerOptions options)
    : state_(std::make_unique<State>(kafka, std::move(group), std::move(topics), db,
                                     std::move(handlers), std::move(options))) {
  state_->Connect();
  state_->consuming = std::thread([state = state_.get()] { state->Consume(); });
  state_->retrying = std::thread([state = state_.get()] { state->RetryHeld(); });
}

Consumer::~Consumer() {
  Stop();
}

void Consumer::Stop() {
  state_->stop.request_stop();
  EndWithin(kStopGrace, state_->cut, [this] {
    if (state_->consuming.joinable()) state_->consuming.join();
    if (state_->retrying.joinable()) state_->retrying.join();
  });
}

bool Consumer::ready() const {
  return state_->joined && !state_->away && !state_->incomplete;
}

void Consumer::State::Connect() {
  const Conf conf = MakeConf(kafka, &client_log,
                             {{"group.id", group},
                              {"client.id", group},
                              {"enable.auto.commit", "false"},
                              {"enable.auto.offset.store", "false"},
                              // Never by itself to another record than the next one.
                              {"auto.offset.reset", "error"},
                              {"partition.assignment.strategy", "range"},
                              {"session.timeout.ms", "10000"},
                              {"heartbeat.interval.ms", "2000"},
                              {"max.poll.interval.ms", "300000"},
                              {"fetch.wait.max.ms", "200"},
                              {"queued.max.messages.kbytes", "16384"}});
  std::string error;
  if (conf->set("rebalance_cb", static_cast<RdKafka::RebalanceCb*>(this), error) !=
      RdKafka::Conf::CONF_OK) {
    throw std::logic_error(error);
  }
  client.reset(RdKafka::KafkaConsumer::create(conf.get(), error));
  if (!client) throw std::runtime_error("cannot make a Kafka consumer: " + error);
  const RdKafka::ErrorCode subscribed = client->subscribe(topics);
  if (subscribed != RdKafka::ERR_NO_ERROR) {
    throw std::runtime_error("cannot subscribe: " + RdKafka::err2str(subscribed));
  }
}

void Consumer::State::Consume() {
  const DeadlineScope until(DeadlineScope::TimePoint::max(), cut.get_token());
  while (!Stopping()) {
    try {
      if (!client) Connect();
      HearUntilStopped();
    } catch (const std::exception& error) {
      log::Error("consumer starts anew", {{"group", group}, {"error", error.what()}});
      joined = false;
      client.reset();
      LetGo();
      Sleep(kLongestBackoff);
    }
  }
  if (client) client->close();
  client.reset();
}

void Consumer::State::HearUntilStopped() {
  while (!Stopping()) {
    if (waiting && steady_clock::now() < wait_until) {
      Poll(std::min(milliseconds(100),
                    std::chrono::ceil<milliseconds>(wait_until - steady_clock::now())));
    } else if (pending.empty()) {
      if (waiting) StopWaiting();
      Fill();
    } else {
      Poll(milliseconds(0));
    }
    if (Stopping()) break;
    if (!pending.empty() && (!waiting || steady_clock::now() >= wait_until)) Work();
    CommitIfDue();
    LookAgain();
    MeasureLag();
  }
}

// Hears at most one record; group changes are served on the way.
void Consumer::State::Poll(milliseconds time) {
  const std::unique_ptr<RdKafka::Message> message(client->consume(static_cast<int>(time.count())));
  switch (message->err()) {
    case RdKafka::ERR_NO_ERROR:
      if (assigned.contains({message->topic_name(), message->partition()})) {
        pending.push_back(ToRecord(*message));
      }
      return;
    case RdKafka::ERR__TIMED_OUT:
    case RdKafka::ERR__PARTITION_EOF:
      return;
    case RdKafka::ERR__AUTO_OFFSET_RESET:
      return LoseOffset({message->topic_name(), message->partition()}, message->offset());
    case RdKafka::ERR__FATAL:
      throw std::runtime_error(message->errstr());
    default:
      log::Warning("consumer", {{"group", group}, {"error", message->errstr()}});
  }
}

// Waits for a record, then takes those that are there already.
void Consumer::State::Fill() {
  Poll(milliseconds(100));
  size_t before = 0;
  while (pending.size() > before && static_cast<int>(pending.size()) < options.batch) {
    before = pending.size();
    Poll(milliseconds(0));
  }
}

void Consumer::State::Work() {
  const size_t count =
      singly > 0 ? 1 : std::min(pending.size(), static_cast<size_t>(options.batch));
  std::vector<const messaging::Record*> records;
  for (size_t i = 0; i < count; ++i) records.push_back(&pending[i]);

  // Once something went wrong among several, each is tried alone to find out which it was.
  std::string reason;
  try {
    try {
      const Result<size_t> taken = inbox.Take(records);
      if (taken) return Finish(*taken);
      reason = std::string(Name(taken.refusal().code)) + ": " + taken.refusal().message;
      if (taken.refusal().code == Code::kUnavailable) throw Unavailable(reason);
    } catch (const Unavailable&) {
      throw;
    } catch (const std::exception& error) {
      reason = error.what();
    }
    if (count > 1) {
      singly = count;
      return;
    }
    inbox.Hold(pending.front(), reason);
    Finish(1);
  } catch (const std::exception& error) {
    singly = std::max(singly, count);
    StartWaiting(error.what());
  }
}

void Consumer::State::Finish(size_t count) {
  if (waiting) StopWaiting();
  for (size_t i = 0; i < count; ++i) {
    const messaging::Record& record = pending.front();
    const messaging::Place place{record.event.topic, record.partition};
    assigned[place] = uncommitted[place] = record.position + 1;
    pending.pop_front();
  }
  singly -= std::min(singly, count);
}

// A dependency is away: nothing is fetched, the group is still served, and the first of what is
// pending is tried again after a pause.
void Consumer::State::StartWaiting(const std::string& why) {
  if (!waiting) {
    log::Warning("consumer waits", {{"group", group}, {"reason", why}});
    PauseAll(true);
    backoff = kFirstBackoff;
  }
  waiting = true;
  away = true;
  wait_until = steady_clock::now() + backoff;
  backoff = std::min(backoff * 2, kLongestBackoff);
}

void Consumer::State::StopWaiting() {
  log::Info("consumer goes on", {{"group", group}});
  waiting = false;
  away = false;
  PauseAll(false);
}

void Consumer::State::PauseAll(bool pause) {
  Partitions partitions;
  for (const auto& [place, next] : assigned) partitions.Add(place, RdKafka::Topic::OFFSET_INVALID);
  if (pause) {
    client->pause(partitions.list());
  } else {
    client->resume(partitions.list());
  }
}

void Consumer::State::CommitIfDue() {
  const auto now = steady_clock::now();
  if ((uncommitted.empty() && unsaved.empty()) || now - committed < kCommitEvery) return;
  committed = now;
  Commit(false);
}

// Whether Kafka has taken the offsets, or without `now` will be told of them.
bool Consumer::State::Commit(bool now) {
  RdKafka::ErrorCode error = RdKafka::ERR_NO_ERROR;
  if (!uncommitted.empty()) {
    Partitions partitions;
    for (const auto& [place, next] : uncommitted) {
      partitions.Add(place, next);
      unsaved[place] = next;
    }
    uncommitted.clear();
    if (now) {
      // Without its coordinator commitSync waits for ten seconds: a question has a limit.
      Partitions asked;
      asked.Add(unsaved.begin()->first, RdKafka::Topic::OFFSET_INVALID);
      error = client->committed(asked.list(), kBrokerLimitMs);
      if (error == RdKafka::ERR_NO_ERROR) error = client->commitSync(partitions.list());
    } else {
      error = client->commitAsync(partitions.list());
    }
    // What is not committed is delivered again, and the inbox knows it.
    if (error != RdKafka::ERR_NO_ERROR) {
      log::Warning("consumer could not commit offsets",
                   {{"group", group}, {"error", RdKafka::err2str(error)}});
    }
  }
  KeepPositions();
  return error == RdKafka::ERR_NO_ERROR;
}

void Consumer::State::KeepPositions() {
  if (unsaved.empty() || away) return;
  try {
    messaging::SavePositions(db, group, unsaved);
    unsaved.clear();
  } catch (const std::exception& error) {
    // With the next commit, or by whoever has the partition then.
    log::Info("consumer could not save positions", {{"group", group}, {"error", error.what()}});
  }
}

// Starts every assigned partition with the record after the last finished one, except those that
// stand at a gap. What was received and is not finished is received again.
void Consumer::State::StartPartitions() {
  pending.clear();
  singly = 0;
  start_again = false;
  // Records before these gaps were pending: they come again, and the gap is found again after them.
  std::erase_if(gaps, [&](const auto& gap) { return assigned.at(gap.first) != gap.second; });
  try {
    FindStarts();
  } catch (const std::exception& error) {
    // A partition without an offset comes back through LoseOffset.
    log::Warning("consumer does not know yet where to start",
                 {{"group", group}, {"error", error.what()}});
  }
  incomplete = !gaps.empty();
  Partitions partitions;
  for (const auto& [place, next] : assigned) {
    if (gaps.contains(place)) continue;
    partitions.Add(place, next < 0 ? RdKafka::Topic::OFFSET_INVALID : next);
  }
  const RdKafka::ErrorCode error = client->assign(partitions.list());
  if (error != RdKafka::ERR_NO_ERROR) {
    log::Error("consumer cannot start", {{"group", group}, {"error", RdKafka::err2str(error)}});
    start_again = true;
  }
}

// For each partition without a place: what the group has committed; or, should Kafka have forgotten
// that, what the database has; or, for a group that was never here, the first record there is. It
// is kept at once: a group that consumes nothing for long is no new one afterwards.
void Consumer::State::FindStarts() {
  Partitions asked;
  for (const auto& [place, next] : assigned) {
    if (next < 0) asked.Add(place, RdKafka::Topic::OFFSET_INVALID);
  }
  if (asked.list().empty()) return;
  const RdKafka::ErrorCode error = client->committed(asked.list(), kBrokerLimitMs);
  if (error != RdKafka::ERR_NO_ERROR) throw std::runtime_error(RdKafka::err2str(error));
  const std::map<messaging::Place, int64_t> saved = messaging::Positions(db, group);
  std::map<messaging::Place, messaging::Gap> known;
  for (messaging::Gap& gap : messaging::ListGaps(db)) {
    if (gap.group == group)
      known.emplace(messaging::Place(gap.topic, gap.partition), std::move(gap));
  }
  for (const RdKafka::TopicPartition* one : asked.list()) {
    if (Stopping()) return;
    if (one->err() != RdKafka::ERR_NO_ERROR) continue;
    const messaging::Place place{one->topic(), one->partition()};
    int64_t start = one->offset();
    if (start < 0) {
      if (const auto found = saved.find(place); found != saved.end()) {
        start = found->second;
      } else {
        const std::optional<int64_t> first = OffsetFrom(place, RdKafka::Topic::OFFSET_BEGINNING);
        if (!first) continue;
        start = uncommitted[place] = *first;
      }
    }
    if (StandsAtGap(known, place, start)) {
      assigned[place] = gaps[place] = known.at(place).next;
    } else {
      assigned[place] = unsaved[place] = start;
    }
  }
}

// Whether the group stopped at a gap here and has not left it. The offsets do not tell: the topic
// may have grown past the record that the group needs, with others.
bool Consumer::State::StandsAtGap(const std::map<messaging::Place, messaging::Gap>& known,
                                  const messaging::Place& place, int64_t start) {
  const auto found = known.find(place);
  if (found == known.end()) return false;
  const messaging::Gap& gap = found->second;
  // Behind it: what was finished before the gap, and not committed any more.
  if (gap.next == start || (start < gap.next && !gap.resume)) return true;
  // Left, by a consumer that ended before it forgot the gap.
  messaging::ForgetGap(db, group, place);
  return false;
}

// The first offset of that time (milliseconds since 1970, or the first and the end of all, which
// Kafka counts among the times), below 0 for none that young; nothing when the brokers do not say.
// librdkafka 2.0.2 has query_watermark_offsets for first and end, which waits for brokers that are
// away without a limit.
std::optional<int64_t> Consumer::State::OffsetFrom(const messaging::Place& place, int64_t time) {
  Partitions asked;
  asked.Add(place, time);
  const RdKafka::ErrorCode error = client->offsetsForTimes(asked.list(), kBrokerLimitMs);
  const RdKafka::TopicPartition* answer = asked.list().front();
  if (error != RdKafka::ERR_NO_ERROR || answer->err() != RdKafka::ERR_NO_ERROR) return {};
  return answer->offset();
}

// librdkafka has no record at `offset`, which is below 0 where it was told none, and waits to be
// told another.
void Consumer::State::LoseOffset(const messaging::Place& place, int64_t offset) {
  const auto found = assigned.find(place);
  if (found == assigned.end()) return;
  int64_t next = found->second;
  for (const messaging::Record& record : pending) {
    if (messaging::Place(record.event.topic, record.partition) == place) next = record.position + 1;
  }
  // It was not known where the group stands, or this is about an earlier start.
  if (next < 0 || offset != next) {
    start_again = true;
    return;
  }
  gaps[place] = next;
  incomplete = true;
  looked_again = {};
}

void Consumer::State::LookAgain() {
  const auto now = steady_clock::now();
  if ((!start_again && gaps.empty()) || now - looked_again < kLookAgain) return;
  looked_again = now;
  const std::map<messaging::Place, int64_t> watched = gaps;
  for (const auto& [place, next] : watched) {
    if (Stopping()) return;
    if (assigned.at(place) != next) continue;  // what came before it is to be finished first
    try {
      WatchGap(place, next);
    } catch (const std::exception& error) {
      log::Warning("consumer cannot look at what is gone",
                   {{"group", group}, {"topic", place.first}, {"error", error.what()}});
    }
  }
  if (start_again && !Stopping()) StartPartitions();
}

// Tells of the gap, until a person has said where to go on.
void Consumer::State::WatchGap(const messaging::Place& place, int64_t next) {
  messaging::Gap gap{.group = group, .topic = place.first, .partition = place.second, .next = next};
  const auto first = OffsetFrom(place, RdKafka::Topic::OFFSET_BEGINNING);
  const auto until = first ? OffsetFrom(place, RdKafka::Topic::OFFSET_END) : std::nullopt;
  if (!until) throw std::runtime_error("the brokers do not answer");
  gap.first = *first;
  gap.until = *until;
  auto& gauge = missing.Add(LabelsOf(place));
  if (gauge.Value() != static_cast<double>(gap.missing())) {
    log::Error(
        "events are gone that this group has not consumed: it stops here until an operator "
        "says where to go on (see the runbook, make gaps)",
        {{"group", group},
         {"topic", place.first},
         {"partition", place.second},
         {"next", next},
         {"first", gap.first},
         {"until", gap.until}});
  }
  gauge.Set(static_cast<double>(gap.missing()));
  gap = NoteGap(db, gap);
  if (gap.resume) LeaveGap(gap);
}

void Consumer::State::LeaveGap(const messaging::Gap& gap) {
  const messaging::Place place{gap.topic, gap.partition};
  int64_t start = gap.first;
  if (gap.resume_from) {
    const auto from = OffsetFrom(place, static_cast<int64_t>(*gap.resume_from * 1000));
    if (!from) throw std::runtime_error("the brokers do not answer");
    start = *from;
    if (start < 0) start = gap.until;  // nothing is that young yet
  }
  log::Warning("consumer leaves a gap behind", {{"group", group},
                                                {"topic", place.first},
                                                {"partition", place.second},
                                                {"next", gap.next},
                                                {"start", start}});
  uncommitted[place] = start;
  if (!Commit(true)) throw std::runtime_error("the brokers do not take the offset after it");
  assigned[place] = start;
  CloseGap(place);
  start_again = true;
  // After that: should this process die in between, the next start forgets it.
  messaging::ForgetGap(db, group, place);
}

void Consumer::State::CloseGap(const messaging::Place& place) {
  gaps.erase(place);
  incomplete = !gaps.empty();
  missing.Remove(&missing.Add(LabelsOf(place)));
}

void Consumer::State::rebalance_cb(RdKafka::KafkaConsumer* consumer, RdKafka::ErrorCode what,
                                   std::vector<RdKafka::TopicPartition*>& partitions) {
  if (what == RdKafka::ERR__ASSIGN_PARTITIONS) {
    for (const RdKafka::TopicPartition* partition : partitions) {
      assigned[{partition->topic(), partition->partition()}] = -1;
    }
    StartPartitions();
    joined = true;
    log::Info("consumer was assigned partitions",
              {{"group", group}, {"partitions", partitions.size()}});
    return;
  }
  // Called between transactions: what is finished is in the database, and nothing is half done.
  joined = false;
  if (!consumer->assignment_lost()) Commit(true);
  // A paused partition would still be paused when it comes back.
  if (waiting) PauseAll(false);
  LetGo();
  consumer->unassign();
}

void Consumer::State::LetGo() {
  for (const auto& [place, next] : assigned) {
    lag.Remove(&lag.Add(LabelsOf(place)));
    missing.Remove(&missing.Add(LabelsOf(place)));
  }
  while (!gaps.empty()) CloseGap(gaps.begin()->first);
  pending.clear();
  singly = 0;
  start_again = false;
  assigned.clear();
  uncommitted.clear();
  unsaved.clear();  // whoever has the partitions now may be further already
  waiting = false;
  away = false;
}

void Consumer::State::MeasureLag() {
  const auto now = steady_clock::now();
  if (now - measured < kHouseKeeping) return;
  measured = now;
  for (const auto& [place, next] : assigned) {
    if (next < 0) continue;
    int64_t low = 0;
    int64_t high = 0;
    if (client->get_watermark_offsets(place.first, place.second, &low, &high) !=
        RdKafka::ERR_NO_ERROR) {
      continue;
    }
    lag.Add(LabelsOf(place)).Set(static_cast<double>(std::max<int64_t>(high - next, 0)));
    missing.Add(
        LabelsOf(place));  // 0 without a gap, so that its absence tells of an absent consumer
  }
}

void Consumer::State::RetryHeld() {
  const DeadlineScope until(DeadlineScope::TimePoint::max(), cut.get_token());
  milliseconds pause = options.poll;
  steady_clock::time_point counted{};
  steady_clock::time_point forgot = steady_clock::now();
  bool failing = false;
  while (!Stopping()) {
    try {
      const bool some = inbox.RetryDue(stop.get_token());
      const auto now = steady_clock::now();
      if (now - counted >= kHouseKeeping) {
        inbox.CountHeld();
        counted = now;
      }
      if (now - forgot >= kForgetting) {
        inbox.ForgetOld(stop.get_token());
        forgot = now;
      }
      failing = false;
      pause = options.poll;
      if (some) continue;
    } catch (const std::exception& error) {
      if (!failing) {
        log::Warning("held events wait", {{"group", group}, {"error", error.what()}});
      }
      failing = true;
      pause = std::min(pause * 2, kLongestBackoff);
    }
    Sleep(pause);
  }
}

}  // namespace shop::kafka
