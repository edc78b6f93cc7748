#include "common/kafka/producer.h"

#include <stdexcept>

#include "common/kafka/client.h"
#include "common/kafka/record.h"

namespace shop::kafka {

struct Producer::State : RdKafka::DeliveryReportCb {
  void dr_cb(RdKafka::Message& message) override {
    Outcome& outcome = *static_cast<Outcome*>(message.msg_opaque());
    switch (message.err()) {
      case RdKafka::ERR_NO_ERROR:
        outcome.acknowledged = true;
        break;
      case RdKafka::ERR__PURGE_QUEUE:
      case RdKafka::ERR__PURGE_INFLIGHT:
        break;
      default:
        outcome.refusal = message.errstr();
    }
    --outstanding;
  }

  RdKafka::ErrorCode Send(const Event& event, Outcome* outcome) {
    RdKafka::Headers* headers = RdKafka::Headers::create();
    for (const auto& [name, value] : ToHeaders(event)) headers->add(name, value);
    const RdKafka::ErrorCode error =
        producer->produce(event.topic, RdKafka::Topic::PARTITION_UA, RdKafka::Producer::RK_MSG_COPY,
                          const_cast<char*>(event.value.data()), event.value.size(),
                          event.key.data(), event.key.size(), 0, headers, outcome);
    if (error != RdKafka::ERR_NO_ERROR) delete headers;
    return error;
  }

  ClientLog client_log;
  std::unique_ptr<RdKafka::Producer> producer;
  size_t outstanding = 0;
};

Producer::Producer(const KafkaSettings& settings, const std::string& client_id)
    : state_(std::make_unique<State>()) {
  const Conf conf =
      MakeConf(settings, &state_->client_log,
               {{"client.id", client_id},
                {"enable.idempotence", "true"},
                // A batch refused for good takes those behind it along.
                {"enable.gapless.guarantee", "true"},
                {"acks", "all"},
                // No end: what waits for brokers is not lost, and the caller can stop.
                {"message.timeout.ms", "0"},
                {"linger.ms", "1"},
                {"compression.codec", "lz4"},
                // The same partition for a key as the clients in Java choose.
                {"partitioner", "murmur2_random"},
                {"topic.metadata.propagation.max.ms", "3000"}});
  std::string error;
  if (conf->set("dr_cb", static_cast<RdKafka::DeliveryReportCb*>(state_.get()), error) !=
      RdKafka::Conf::CONF_OK) {
    throw std::logic_error(error);
  }
  state_->producer.reset(RdKafka::Producer::create(conf.get(), error));
  if (!state_->producer) throw std::runtime_error("cannot make a Kafka producer: " + error);
}

Producer::~Producer() = default;

std::vector<Outcome> Producer::Publish(const std::vector<Event>& events,
                                       const std::function<bool()>& go_on) {
  constexpr int kPollMs = 100;
  State& state = *state_;
  // Each message refers to its element, so this must not move before all have come back.
  std::vector<Outcome> outcomes(events.size());
  bool given_up = false;
  for (size_t i = 0; i < events.size() && !given_up; ++i) {
    RdKafka::ErrorCode error = state.Send(events[i], &outcomes[i]);
    while (error == RdKafka::ERR__QUEUE_FULL && !given_up) {
      state.producer->poll(kPollMs);
      given_up = !go_on();
      error = state.Send(events[i], &outcomes[i]);
    }
    if (error == RdKafka::ERR_NO_ERROR) {
      ++state.outstanding;
    } else if (error != RdKafka::ERR__QUEUE_FULL) {
      outcomes[i].refusal = RdKafka::err2str(error);
    }
  }
  while (state.outstanding > 0 && !given_up) {
    state.producer->poll(kPollMs);
    std::string fatal;
    given_up = !go_on() || state.producer->fatal_error(fatal) != RdKafka::ERR_NO_ERROR;
  }
  if (state.outstanding > 0) {
    state.producer->purge(RdKafka::Producer::PURGE_QUEUE | RdKafka::Producer::PURGE_INFLIGHT);
    while (state.outstanding > 0) state.producer->poll(kPollMs);
  }
  return outcomes;
}

}  // namespace shop::kafka
