#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "common/telemetry/admin_server.h"
#include "common/testing/free_port.h"

namespace shop {
namespace {

using testing::FreePort;

struct Outcome {
  int code;
  std::string said;
};

Outcome Check(const std::string& settings, const std::string& path = "") {
  const std::string command = "env " + settings + " " SHOP_HEALTHCHECK " " + path + " 2>&1";
  FILE* run = popen(command.c_str(), "r");
  EXPECT_NE(run, nullptr);
  Outcome outcome{};
  char part[256];
  while (fgets(part, sizeof part, run) != nullptr) outcome.said += part;
  outcome.code = WEXITSTATUS(pclose(run));
  return outcome;
}

class HealthcheckTest : public ::testing::Test {
 protected:
  uint16_t port_ = FreePort();
  std::string settings_ = "SHOP_PROCESS=orders ORDERS_ADMIN_PORT=" + std::to_string(port_);
};

TEST_F(HealthcheckTest, AProcessThatAnswersIsHealthyReadyOrNot) {
  const AdminServer server("127.0.0.1", port_, [] { return ReadinessReport{"Kafka", ""}; });
  EXPECT_EQ(Check(settings_).code, 0);
  EXPECT_EQ(Check(settings_ + " BIND_HOST=0.0.0.0").code, 0);
}

TEST_F(HealthcheckTest, WhatIsMissingIsSaid) {
  const AdminServer server("127.0.0.1", port_, [] { return ReadinessReport{"Kafka", ""}; });
  const Outcome outcome = Check(settings_, "/readyz");
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.said, "not ready: Kafka\n");
}

TEST_F(HealthcheckTest, AReadyProcessIsReady) {
  const AdminServer server("127.0.0.1", port_, [] { return ReadinessReport(); });
  EXPECT_EQ(Check(settings_, "/readyz").code, 0);
}

TEST_F(HealthcheckTest, NobodyThereIsNotHealthy) {
  const Outcome outcome = Check(settings_);
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.said, "orders does not answer on port " + std::to_string(port_) + "\n");
}

TEST_F(HealthcheckTest, WithoutANameThereIsNobodyToAsk) {
  EXPECT_EQ(Check("-u SHOP_PROCESS").code, 2);
  EXPECT_EQ(Check("SHOP_PROCESS=nobody").code, 2);
  EXPECT_EQ(Check("SHOP_PROCESS=orders ORDERS_ADMIN_PORT=x").code, 2);
}

}  // namespace
}  // namespace shop
