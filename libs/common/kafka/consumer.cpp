#include "common/kafka/consumer.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <thread>
#include <utility>

#include "common/core/deadline.h"
#include "common/kafka/assignment.h"
#include "common/kafka/client.h"
#include "common/messaging/handlers.h"
#include "common/messaging/headers.h"
#include "common/messaging/inbox.h"
#include "common/messaging/positions.h"
#include "common/messaging/retrier.h"
#include "common/telemetry/log.h"

namespace shop::kafka {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr auto kFirstBackoff = milliseconds(100);
constexpr auto kLongestBackoff = milliseconds(5'000);
constexpr auto kHouseKeeping = std::chrono::seconds(5);
constexpr auto kForgetting = std::chrono::minutes(10);
// How long a stop lets the transaction under way go on before what it waits for is cut short.
constexpr auto kStopGrace = milliseconds(500);

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

struct Consumer::State : RdKafka::RebalanceCb, RdKafka::OffsetCommitCb {
  State(const KafkaSettings& kafka, std::string group, std::vector<std::string> topics,
        postgres::Pool& db, messaging::Handlers handlers, const ConsumerOptions& options)
      : kafka(kafka),
        group(group),
        topics(std::move(topics)),
        options(options),
        consumer_group(db, group, std::move(handlers), options.retry),
        assignment(group, db, stop.get_token(), away) {}

  // The thread that consumes.
  void Consume();
  void ConsumeUntilStopped();
  void Connect();
  void Poll(milliseconds time);
  void Fill();
  void Work();
  // Ends the first `count` of what is pending: they are durably done.
  void Finish(size_t count);
  void StartWaiting(const std::string& why);
  void StopWaiting();
  void LoseOffset(const messaging::Place& place, int64_t offset);
  // Forgets what was received and is not finished.
  void DropPending();
  // What belongs to the partitions that this consumer has no longer.
  void LetGo();
  void rebalance_cb(RdKafka::KafkaConsumer* client, RdKafka::ErrorCode what,
                    std::vector<RdKafka::TopicPartition*>& partitions) override;
  void offset_commit_cb(RdKafka::ErrorCode error,
                        std::vector<RdKafka::TopicPartition*>& offsets) override {
    assignment.NoteCommit(error, offsets);
  }

  // The thread that retries.
  void Retry();

  bool Stopping() const { return stop.stop_requested(); }
  size_t batch() const { return static_cast<size_t>(options.batch); }
  // Sleeps until the time is over or Stop is called.
  void Sleep(milliseconds time) {
    std::unique_lock lock(mutex);
    stopped.wait_for(lock, stop.get_token(), time, [] { return false; });
  }

  const KafkaSettings kafka;
  const std::string group;
  const std::vector<std::string> topics;
  const ConsumerOptions options;
  messaging::ConsumerGroup consumer_group;
  messaging::Inbox inbox{consumer_group};
  messaging::Retrier retrier{consumer_group};

  // Of the consuming thread alone.
  ClientLog client_log;
  std::unique_ptr<RdKafka::KafkaConsumer> client;
  std::deque<messaging::Record> pending;  // in the order they came, none of them finished
  size_t singly = 0;                      // how many of these to take one at a time
  steady_clock::time_point filled{};      // when the last batch was complete
  bool waiting = false;
  steady_clock::time_point wait_until{};
  milliseconds backoff = kFirstBackoff;

  std::atomic<bool> joined = false;
  std::atomic<bool> away = false;
  std::stop_source stop;  // ends loops and pauses
  std::stop_source cut;   // ends what the work under way waits for
  Assignment assignment;  // of the consuming thread, but for complete()
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
  state_->retrying = std::thread([state = state_.get()] { state->Retry(); });
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
  return state_->joined && !state_->away && state_->assignment.complete();
}

void Consumer::State::Connect() {
  const Conf conf = MakeConsumerConf(kafka, &client_log,
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
                                      {"fetch.wait.max.ms", "200"}});
  std::string error;
  if (conf->set("rebalance_cb", static_cast<RdKafka::RebalanceCb*>(this), error) !=
          RdKafka::Conf::CONF_OK ||
      conf->set("offset_commit_cb", static_cast<RdKafka::OffsetCommitCb*>(this), error) !=
          RdKafka::Conf::CONF_OK) {
    throw std::logic_error(error);
  }
  client.reset(RdKafka::KafkaConsumer::create(conf.get(), error));
  if (!client) throw std::runtime_error("cannot make a Kafka consumer: " + error);
  assignment.Use(client.get());
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
      ConsumeUntilStopped();
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

void Consumer::State::ConsumeUntilStopped() {
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
    assignment.CommitIfDue();
    if (assignment.LookAgain()) DropPending();
    assignment.MeasureLag();
  }
}

// Receives at most one record; group changes are served on the way.
void Consumer::State::Poll(milliseconds time) {
  const std::unique_ptr<RdKafka::Message> message(client->consume(static_cast<int>(time.count())));
  switch (message->err()) {
    case RdKafka::ERR_NO_ERROR:
      if (assignment.Contains({message->topic_name(), message->partition()})) {
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

// Waits for a record, then takes those that are there once the interval since the last batch is
// over.
void Consumer::State::Fill() {
  Poll(milliseconds(100));
  if (pending.empty()) return;
  const auto take_what_is_there = [&] {
    size_t before = 0;
    while (pending.size() > before && pending.size() < batch()) {
      before = pending.size();
      Poll(milliseconds(0));
    }
  };
  take_what_is_there();
  const auto now = steady_clock::now();
  if (pending.size() < batch() && now < filled + options.interval) {
    Sleep(std::chrono::ceil<milliseconds>(filled + options.interval - now));
    take_what_is_there();
  }
  filled = steady_clock::now();
}

void Consumer::State::Work() {
  const size_t count = singly > 0 ? 1 : std::min(pending.size(), batch());
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
    inbox.Enqueue(pending.front(), reason);
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
    assignment.Finish({record.event.topic, record.partition}, record.position + 1);
    pending.pop_front();
  }
  singly -= std::min(singly, count);
}

// A dependency is away: nothing is fetched, the group is still served, and the first of what is
// pending is tried again after a pause.
void Consumer::State::StartWaiting(const std::string& why) {
  if (!waiting) {
    log::Warning("consumer waits", {{"group", group}, {"reason", why}});
    assignment.Pause(true);
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
  assignment.Pause(false);
}

void Consumer::State::rebalance_cb(RdKafka::KafkaConsumer* consumer, RdKafka::ErrorCode what,
                                   std::vector<RdKafka::TopicPartition*>& partitions) {
  if (what == RdKafka::ERR__ASSIGN_PARTITIONS) {
    assignment.Add(partitions);
    DropPending();
    assignment.Start();
    joined = true;
    log::Info("consumer was assigned partitions",
              {{"group", group}, {"partitions", partitions.size()}});
    return;
  }
  // Called between transactions: what is finished is in the database, and nothing is half done.
  joined = false;
  if (!consumer->assignment_lost()) assignment.Commit(true);
  // A paused partition would still be paused when it comes back.
  if (waiting) assignment.Pause(false);
  LetGo();
  consumer->unassign();
}

void Consumer::State::DropPending() {
  pending.clear();
  singly = 0;
}

void Consumer::State::LetGo() {
  DropPending();
  assignment.LetGo();
  waiting = false;
  away = false;
}

// The partition stops here, once what was received of it is finished.
void Consumer::State::LoseOffset(const messaging::Place& place, int64_t offset) {
  std::optional<int64_t> received;
  for (const messaging::Record& record : pending) {
    if (messaging::Place(record.event.topic, record.partition) == place) {
      received = record.position + 1;
    }
  }
  assignment.LoseOffset(place, offset, received);
}

void Consumer::State::Retry() {
  const DeadlineScope until(DeadlineScope::TimePoint::max(), cut.get_token());
  milliseconds pause = options.poll;
  steady_clock::time_point counted{};
  steady_clock::time_point forgot = steady_clock::now();
  bool failing = false;
  while (!Stopping()) {
    try {
      const bool some = retrier.RetryDue(stop.get_token());
      const auto now = steady_clock::now();
      if (now - counted >= kHouseKeeping) {
        retrier.CountQueue();
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
        log::Warning("the retry queue waits", {{"group", group}, {"error", error.what()}});
      }
      failing = true;
      pause = std::min(pause * 2, kLongestBackoff);
    }
    Sleep(pause);
  }
}

}  // namespace shop::kafka
