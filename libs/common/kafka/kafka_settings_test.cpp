#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/kafka/client.h"
#include "common/testing/env.h"

namespace shop::kafka {
namespace {

using ::testing::ElementsAre;
using testing::EnvOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string Set(const Conf& conf, const std::string& name) {
  std::string value;
  EXPECT_EQ(conf->get(name, value), RdKafka::Conf::CONF_OK) << name;
  return value;
}

TEST(KafkaSettings, AreInClearUnlessTold) {
  Env env = EnvOf({});
  ClientLog log;
  const Conf conf = MakeConf(KafkaSettings::Read(env), &log, {});
  EXPECT_THAT(env.problems(), IsEmpty());
  EXPECT_EQ(Set(conf, "security.protocol"), "plaintext");
}

TEST(KafkaSettings, ReachAManagedClusterWithTlsAndAPassword) {
  Env env = EnvOf({{"KAFKA_SECURITY_PROTOCOL", "SASL_SSL"},
                   {"KAFKA_SASL_MECHANISM", "SCRAM-SHA-512"},
                   {"KAFKA_SASL_USERNAME", "orders"},
                   {"KAFKA_SASL_PASSWORD", "s3cret"},
                   {"KAFKA_CA_FILE", "/ca.pem"}});
  ClientLog log;
  const Conf conf = MakeConf(KafkaSettings::Read(env), &log, {});
  EXPECT_THAT(env.problems(), IsEmpty());
  EXPECT_EQ(Set(conf, "security.protocol"), "sasl_ssl");
  EXPECT_EQ(Set(conf, "sasl.mechanism"), "SCRAM-SHA-512");
  EXPECT_EQ(Set(conf, "sasl.username"), "orders");
  EXPECT_EQ(Set(conf, "sasl.password"), "s3cret");
  EXPECT_EQ(Set(conf, "ssl.ca.location"), "/ca.pem");
}

TEST(KafkaSettings, NameWhatALoginLacks) {
  Env env = EnvOf({{"KAFKA_SECURITY_PROTOCOL", "sasl_ssl"}, {"KAFKA_SASL_MECHANISM", "GSSAPI"}});
  KafkaSettings::Read(env);
  EXPECT_THAT(env.problems(),
              ElementsAre(HasSubstr("KAFKA_SASL_USERNAME"), HasSubstr("KAFKA_SASL_PASSWORD"),
                          HasSubstr("KAFKA_SASL_MECHANISM")));
}

TEST(KafkaSettings, RefuseALoginThatNobodyWouldAskFor) {
  Env env = EnvOf({{"KAFKA_SASL_USERNAME", "orders"}});
  KafkaSettings::Read(env);
  EXPECT_THAT(env.problems(), ElementsAre(HasSubstr("KAFKA_SASL_USERNAME")));
}

TEST(KafkaSettings, RefuseAProtocolThatIsNone) {
  Env env = EnvOf({{"KAFKA_SECURITY_PROTOCOL", "tls"}});
  KafkaSettings::Read(env);
  EXPECT_THAT(env.problems(), ElementsAre(HasSubstr("KAFKA_SECURITY_PROTOCOL")));
}

}  // namespace
}  // namespace shop::kafka
