// Connections that break, and what is published.
#include "common/redis/redis.h"

#include <gmock/gmock.h>
#include <signal.h>

#include <atomic>
#include <fstream>

#include "common/core/result.h"
#include "common/testing/servers.h"
#include "common/testing/wire.h"

namespace shop::redis {
namespace {

using ::testing::ElementsAre;
using testing::Eventually;
using testing::UniqueName;

Settings Server() {
  Env env([](const std::string& name) {
    return name == "REDIS_URL" ? std::optional(testing::Server(name)) : std::nullopt;
  });
  return Settings::Read(env);
}

class RedisTest : public ::testing::Test {
 protected:
  RedisTest() { signal(SIGPIPE, SIG_IGN); }

  Settings ThroughWire() const {
    Settings settings = Server();
    settings.host = "127.0.0.1";
    settings.port = wire_.port();
    return settings;
  }

  testing::Wire wire_{Server().port};
  Client direct_{Server()};
};

TEST_F(RedisTest, ConnectionsThatBrokeWhileIdleAreReplaced) {
  const std::string key = UniqueName();
  Client client(ThroughWire());
  EXPECT_FALSE(client.Command({"GET", key}));
  wire_.Cut();
  wire_.Mend();
  EXPECT_FALSE(client.Command({"GET", key}));
}

// Records what a subscription receives.
class Notes {
 public:
  Subscription::Listener Listener() {
    return {.connected = [this] { ++connected; },
            .received =
                [this](const std::string& channel, const std::string& message) {
                  const std::lock_guard lock(mutex_);
                  received_.push_back(channel + " " + message);
                },
            .lost = [this] { ++lost; }};
  }
  std::vector<std::string> received() {
    const std::lock_guard lock(mutex_);
    return received_;
  }
  std::atomic<int> connected = 0;
  std::atomic<int> lost = 0;

 private:
  std::mutex mutex_;
  std::vector<std::string> received_;
};

TEST_F(RedisTest, MessagesArriveInOrderFromTheConnectionOn) {
  const std::string one = UniqueName();
  const std::string other = UniqueName();
  Notes notes;
  direct_.Command({"PUBLISH", one, "too early"});
  {
    const Subscription subscription(Server(), {one, other}, notes.Listener());
    ASSERT_TRUE(Eventually([&] { return notes.connected == 1; }));
    direct_.Command({"PUBLISH", one, "1 2"});
    direct_.Command({"PUBLISH", other, ""});
    ASSERT_TRUE(Eventually([&] { return notes.received().size() == 2; }));
    EXPECT_EQ(notes.lost, 0);
  }
  EXPECT_THAT(notes.received(), ElementsAre(one + " 1 2", other + " "));
  EXPECT_EQ(notes.lost, 1) << "nothing is received after the end";
}

TEST_F(RedisTest, ALostConnectionIsToldAndReplaced) {
  const std::string channel = UniqueName();
  Notes notes;
  const Subscription subscription(ThroughWire(), {channel}, notes.Listener());
  ASSERT_TRUE(Eventually([&] { return notes.connected == 1; }));
  wire_.Cut();
  ASSERT_TRUE(Eventually([&] { return notes.lost == 1; }));
  wire_.Mend();
  ASSERT_TRUE(Eventually([&] { return notes.connected == 2; }));
  direct_.Command({"PUBLISH", channel, "again"});
  EXPECT_TRUE(Eventually([&] { return notes.received().size() == 1; }));
}

TEST_F(RedisTest, AConnectionThatFellSilentIsLost) {
  Notes notes;
  const Subscription subscription(ThroughWire(), {UniqueName()}, notes.Listener());
  ASSERT_TRUE(Eventually([&] { return notes.connected == 1; }));
  wire_.Mute();
  EXPECT_TRUE(Eventually([&] { return notes.lost == 1; }));
}

TEST_F(RedisTest, AQuietConnectionIsKept) {
  Notes notes;
  const Subscription subscription(ThroughWire(), {UniqueName()}, notes.Listener());
  ASSERT_TRUE(Eventually([&] { return notes.connected == 1; }));
  EXPECT_FALSE(Eventually([&] { return notes.lost > 0; }, std::chrono::milliseconds(3000)));
}

TEST_F(RedisTest, ConnectsAsTheUserThatTheSettingsName) {
  Settings settings = Server();
  settings.user = UniqueName();
  settings.password = "right";
  direct_.Command({"ACL", "SETUSER", settings.user, "on", ">right", "~mine:*", "+get"});
  EXPECT_EQ(Client(settings).Command({"GET", "mine:1"}), std::nullopt);
  EXPECT_THROW((void)Client(settings).Command({"GET", "others:1"}), Unavailable);
  settings.password = "wrong";
  EXPECT_THROW((void)Client(settings).Command({"GET", "mine:1"}), Unavailable);
  direct_.Command({"ACL", "DELUSER", settings.user});
}

TEST(RedisSettings, AUrlMayNameUserPasswordPortAndDatabase) {
  const auto read = [](const std::string& url, size_t problems) {
    Env env([&](const std::string& name) {
      return name == "REDIS_URL" ? std::optional(url) : std::nullopt;
    });
    const Settings settings = Settings::Read(env);
    EXPECT_EQ(env.problems().size(), problems) << url;
    return settings;
  };
  const Settings full = read("redis://:p@ss@cache.example:7000/3", 0);
  EXPECT_EQ(full.host, "cache.example");
  EXPECT_EQ(full.port, 7000);
  EXPECT_EQ(full.user, "");
  EXPECT_EQ(full.password, "p@ss");
  EXPECT_EQ(full.database, 3);
  const Settings user = read("redis://catalogue:p:s/s@%2F@cache", 0);
  EXPECT_EQ(user.user, "catalogue");
  EXPECT_EQ(user.password, "p:s/s@%2F");
  EXPECT_EQ(user.host, "cache");
  EXPECT_EQ(read("redis://cache", 0).port, 6379);
  for (const char* url : {"cache:6379", "http://cache", "redis://", "redis://cache:0",
                          "redis://cache:x", "redis://cache/x", "redis://user@cache"}) {
    read(url, 1);
  }
}

TEST(RedisSettings, AUrlWithAPasswordMayComeFromAFile) {
  const std::string path = ::testing::TempDir() + "/" + UniqueName();
  std::ofstream(path) << "redis://:secret@cache:6380/2\n";
  Env env([&](const std::string& name) {
    return name == "REDIS_URL_FILE" ? std::optional(path) : std::nullopt;
  });
  const Settings settings = Settings::Read(env);
  EXPECT_THAT(env.problems(), ::testing::IsEmpty());
  EXPECT_EQ(settings.host, "cache");
  EXPECT_EQ(settings.port, 6380);
  EXPECT_EQ(settings.password, "secret");
  EXPECT_EQ(settings.database, 2);
}

}  // namespace
}  // namespace shop::redis
