#include "common/kafka/client.h"

#include <algorithm>
#include <cctype>
#include <stdexcept>
#include <utility>

#include "common/telemetry/log.h"

namespace shop::kafka {
namespace {

void Set(RdKafka::Conf& conf, const char* name, const std::string& value) {
  std::string error;
  if (conf.set(name, value, error) != RdKafka::Conf::CONF_OK) throw std::logic_error(error);
}

}  // namespace

KafkaSettings KafkaSettings::Read(Env& env) {
  KafkaSettings settings{.brokers = env.Text("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092"),
                         .protocol = env.Text("KAFKA_SECURITY_PROTOCOL", "plaintext"),
                         .mechanism = env.Text("KAFKA_SASL_MECHANISM", ""),
                         .username = env.Text("KAFKA_SASL_USERNAME", ""),
                         .password = env.Secret("KAFKA_SASL_PASSWORD").value_or(""),
                         .ca_file = env.Text("KAFKA_CA_FILE", "")};
  std::transform(settings.protocol.begin(), settings.protocol.end(), settings.protocol.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const bool sasl = settings.protocol == "sasl_plaintext" || settings.protocol == "sasl_ssl";
  if (!sasl && settings.protocol != "plaintext" && settings.protocol != "ssl") {
    env.Wrong("KAFKA_SECURITY_PROTOCOL", "is none of plaintext, ssl, sasl_plaintext, sasl_ssl");
  }
  for (const auto& [name, value] : {std::pair{"KAFKA_SASL_MECHANISM", &settings.mechanism},
                                    std::pair{"KAFKA_SASL_USERNAME", &settings.username},
                                    std::pair{"KAFKA_SASL_PASSWORD", &settings.password}}) {
    if (sasl && value->empty())
      env.Wrong(name, "is not set, and KAFKA_SECURITY_PROTOCOL asks for it");
    if (!sasl && !value->empty())
      env.Wrong(name, "is set, and KAFKA_SECURITY_PROTOCOL has no sasl");
  }
  if (sasl && !settings.mechanism.empty() && settings.mechanism != "PLAIN" &&
      settings.mechanism != "SCRAM-SHA-256" && settings.mechanism != "SCRAM-SHA-512") {
    env.Wrong("KAFKA_SASL_MECHANISM", "is none of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512");
  }
  return settings;
}

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
  const auto set = [&](const char* name, const std::string& value) { Set(*conf, name, value); };
  set("bootstrap.servers", settings.brokers);
  set("security.protocol", settings.protocol);
  if (!settings.mechanism.empty()) {
    set("sasl.mechanism", settings.mechanism);
    set("sasl.username", settings.username);
    set("sasl.password", settings.password);
  }
  if (!settings.ca_file.empty()) set("ssl.ca.location", settings.ca_file);
  set("reconnect.backoff.ms", "50");
  set("reconnect.backoff.max.ms", "1000");
  set("socket.keepalive.enable", "true");
  // A topic made after the start is found within this time.
  set("topic.metadata.refresh.interval.ms", "5000");
  for (const auto& [name, value] : more) set(name, value);
  std::string error;
  if (conf->set("event_cb", log, error) != RdKafka::Conf::CONF_OK) throw std::logic_error(error);
  return conf;
}

Conf MakeConsumerConf(const KafkaSettings& settings, ClientLog* log,
                      std::initializer_list<std::pair<const char*, std::string>> more) {
  Conf conf = MakeConf(settings, log, more);
  // A batch that is larger is fetched all the same (KIP-74).
  Set(*conf, "fetch.message.max.bytes", "65536");
  Set(*conf, "queued.max.messages.kbytes", "16384");
  return conf;
}

}  // namespace shop::kafka
