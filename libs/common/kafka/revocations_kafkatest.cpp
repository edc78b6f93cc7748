#include "common/kafka/revocations.h"

#include <google/protobuf/util/time_util.h>

#include "common/testing/kafka_test.h"
#include "common/testing/mock_kafka.h"
#include "common/testing/servers.h"
#include "shop/events/v1/sessions.pb.h"

namespace shop::kafka {
namespace {

using std::chrono::seconds;
using std::chrono::system_clock;
using testing::Eventually;

std::vector<auth::PublicKey> NoKeys() {
  return {};
}

messaging::Envelope Revoked(const std::string& topic, const std::string& session,
                            seconds life = seconds(900)) {
  events::v1::SessionRevoked message;
  message.set_session_id(session);
  message.set_user_id(7);
  *message.mutable_expires_at() = google::protobuf::util::TimeUtil::TimeTToTimestamp(
      system_clock::to_time_t(system_clock::now() + life));
  messaging::Envelope event =
      messaging::MakeEvent(message, {.source = "auth", .trace = TraceContext::New()});
  event.topic = topic;
  return event;
}

class RevocationsTest : public testing::KafkaTest {
 protected:
  RevocationsTest() : KafkaTest(3) {}

  auth::TokenVerifier tokens_{NoKeys};
};

TEST_F(RevocationsTest, WhatWasRevokedBeforeTheStartIsKnownOnceItHasCaughtUp) {
  for (int i = 0; i < 20; ++i) Publish({Revoked(topic_, "s" + std::to_string(i))});
  const Revocations revocations(brokers_, tokens_, topic_);
  ASSERT_TRUE(Eventually([&] { return revocations.caught_up(); }));
  EXPECT_TRUE(revocations.current());
  EXPECT_EQ(tokens_.revoked(), 20u);
  EXPECT_TRUE(tokens_.IsRevoked("s19"));
  EXPECT_FALSE(tokens_.IsRevoked("s20"));
}

TEST_F(RevocationsTest, EveryReaderHearsWhatComes) {
  auth::TokenVerifier others(NoKeys);
  const Revocations here(brokers_, tokens_, topic_);
  const Revocations there(brokers_, others, topic_);
  ASSERT_TRUE(Eventually([&] { return here.current() && there.current(); }));
  for (const char* session : {"a", "b", "c", "d"}) {
    Publish({Revoked(topic_, session)});
    EXPECT_TRUE(Eventually([&] { return tokens_.IsRevoked(session) && others.IsRevoked(session); },
                           seconds(5)));
  }
}

TEST_F(RevocationsTest, WhatItDoesNotUnderstandIsPassedOver) {
  messaging::Envelope malformed = Revoked(topic_, "a");
  malformed.value = "{\"sessionId\":";
  messaging::Envelope nameless = Revoked(topic_, "");
  messaging::Envelope newer = Revoked(topic_, "c");
  newer.type = "SESSION_EXTENDED";
  messaging::Envelope empty = Revoked(topic_, "d");
  empty.value = "";
  for (messaging::Envelope* event : {&malformed, &nameless, &newer, &empty}) {
    event->key = "one";  // and so on one partition
    Publish({*event});
  }
  messaging::Envelope good = Revoked(topic_, "e");
  good.key = "one";
  Publish({good});
  const Revocations revocations(brokers_, tokens_, topic_);
  EXPECT_TRUE(Eventually([&] { return tokens_.IsRevoked("e"); }));
  EXPECT_EQ(tokens_.revoked(), 1u);
}

TEST_F(RevocationsTest, ASessionWhoseTokensHaveExpiredIsNotRemembered) {
  Publish({Revoked(topic_, "old", seconds(-1)), Revoked(topic_, "young")});
  const Revocations revocations(brokers_, tokens_, topic_);
  ASSERT_TRUE(Eventually([&] { return revocations.caught_up(); }));
  EXPECT_FALSE(tokens_.IsRevoked("old"));
  EXPECT_TRUE(tokens_.IsRevoked("young"));
}

TEST_F(RevocationsTest, ATopicThatIsMadeLaterIsFound) {
  const std::string later = testing::UniqueName();
  const Revocations revocations(brokers_, tokens_, later);
  EXPECT_FALSE(Eventually([&] { return revocations.caught_up(); }, std::chrono::seconds(2)));
  testing::MakeTopic(later, 1);
  EXPECT_TRUE(Eventually([&] { return revocations.current(); }));
}

TEST(Revocations, BrokersThatAreAwayAreNoticedAndFoundAgain) {
  auth::TokenVerifier tokens(NoKeys);
  testing::MockKafka kafka;
  kafka.MakeTopic("sessions", 2);
  const KafkaSettings brokers{.brokers = kafka.addresses()};
  kafka.Down();
  const Revocations revocations(brokers, tokens);
  EXPECT_FALSE(Eventually([&] { return revocations.caught_up(); }, seconds(3)));
  kafka.Up();
  ASSERT_TRUE(Eventually([&] { return revocations.current(); }));

  kafka.Down();
  EXPECT_TRUE(Eventually([&] { return !revocations.current(); }));
  EXPECT_TRUE(revocations.caught_up());
  kafka.Up();
  ASSERT_TRUE(Eventually([&] { return revocations.current(); }));
  Producer producer(brokers, "test");
  for (const Outcome& outcome : producer.Publish({Revoked("sessions", "a")}, [] { return true; })) {
    ASSERT_TRUE(outcome.acknowledged) << outcome.refusal;
  }
  EXPECT_TRUE(Eventually([&] { return tokens.IsRevoked("a"); }));
}

}  // namespace
}  // namespace shop::kafka
