#include "common/kafka/client.h"

#include <stdexcept>

#include "common/telemetry/log.h"

namespace shop::kafka {

void ClientLog::event_cb(RdKafka::Event& event) {
  if (event.type() == RdKafka::Event::EVENT_LOG) {
    log::Debug("kafka client", {{"facility", event.fac()}, {"text", event.str()}});
    return;
  }
  if (event.type() != RdKafka::Event::EVENT_ERROR) return;
  const auto now = std::chrono::steady_clock::now();
  if (last_ != std::chrono::steady_clock::time_point{} && now - last_ < std::chrono::seconds(30)) {
    return;
  }
  last_ = now;
  log::Warning("kafka client", {{"error", RdKafka::err2str(event.err())}, {"text", event.str()}});
}

Conf MakeConf(const KafkaSettings& settings, ClientLog* log,
              std::initializer_list<std::pair<const char*, std::string>> more) {
  Conf conf(RdKafka::Conf::create(RdKafka::Conf::CONF_GLOBAL));
  std::string error;
  const auto set = [&](const char* name, const std::string& value) {
    if (conf->set(name, value, error) != RdKafka::Conf::CONF_OK) throw std::logic_error(error);
  };
  set("bootstrap.servers", settings.brokers);
  set("reconnect.backoff.ms", "50");
  set("reconnect.backoff.max.ms", "1000");
  set("socket.keepalive.enable", "true");
  // A topic made after the start is found within this time.
  set("topic.metadata.refresh.interval.ms", "5000");
  for (const auto& [name, value] : more) set(name, value);
  if (conf->set("event_cb", log, error) != RdKafka::Conf::CONF_OK) throw std::logic_error(error);
  return conf;
}

}  // namespace shop::kafka
