#include "common/kafka/topic_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

namespace shop::kafka {
namespace {

using enum Permission::Resource;
using enum Permission::Operation;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

TopicPlan Read(const std::string& topics, const std::string& services) {
  std::istringstream topic_lines(topics);
  std::istringstream service_lines(services);
  return TopicPlan::Read(topic_lines, service_lines);
}

TopicPlan Example() {
  return Read(
      "# name partitions retention replicas in-sync publisher\n\n"
      "orders  6  7d  1  1  orders\n"
      "stock   3  2d  1  1  stock\n",
      "orders   7005  9105  postgres  orders=stock,users cart=orders\n"
      "stock    7007  9107  postgres  stock=orders\n"
      "gateway  3000  9110  none\n");
}

TEST(TopicPlan, ReadsTopicsAndGroups) {
  const TopicPlan plan = Example();
  ASSERT_EQ(plan.topics.size(), 2);
  EXPECT_EQ(plan.topics[1].name, "stock");
  EXPECT_EQ(plan.topics[1].partitions, 3);
  EXPECT_EQ(plan.topics[1].retention_ms, 172'800'000);
  EXPECT_EQ(plan.topics[1].publisher, "stock");
  EXPECT_THAT(plan.processes, ::testing::ElementsAre("orders", "stock", "gateway"));
  EXPECT_EQ(plan.groups.at("cart"), "orders");
  EXPECT_EQ(plan.groups.at("stock"), "stock");
}

TEST(TopicPlan, NamesTheLineThatItDoesNotUnderstand) {
  for (const char* wrong : {"orders 6 7d 1 1", "orders 6 7 1 1 orders", "orders x 7d 1 1 orders",
                            "orders 6 7d 0 1 orders", "orders -1 7d 1 1 orders"}) {
    try {
      Read(std::string("# comment\n") + wrong + "\n", "");
      ADD_FAILURE() << wrong;
    } catch (const std::runtime_error& error) {
      EXPECT_THAT(error.what(), HasSubstr(wrong));
    }
  }
  EXPECT_THROW(Read("", "orders 7005 9105\n"), std::runtime_error);
  EXPECT_THROW(Read("", "orders 7005 9105 postgres orders\n"), std::runtime_error);
}

TEST(TopicPlan, OfThreeReplicasTwoHaveAnEventBeforeItCounts) {
  TopicPlan plan = Example();
  plan.Replicate(2, 0);
  EXPECT_EQ(plan.topics[0].in_sync, 1);
  plan.Replicate(3, 0);
  EXPECT_EQ(plan.topics[0].replicas, 3);
  EXPECT_EQ(plan.topics[0].in_sync, 2);
  plan.Replicate(5, 3);
  EXPECT_EQ(plan.topics[0].in_sync, 3);
}

TEST(Permissions, OnlyItsOwnerWritesATopic) {
  for (const Permission& permission : Permissions(Example(), true)) {
    if (permission.operation == kWrite) {
      EXPECT_EQ(permission.resource, kTopic);
      EXPECT_EQ(permission.user, permission.name) << Describe(permission);
    }
  }
  EXPECT_THAT(Permissions(Example(), false),
              Contains(Permission{"stock", true, kWrite, kTopic, "stock"}));
}

TEST(Permissions, AProcessConsumesAsItsOwnGroupsAlone) {
  const auto permissions = Permissions(Example(), false);
  EXPECT_THAT(permissions, Contains(Permission{"orders", true, kRead, kGroup, "cart"}));
  EXPECT_THAT(permissions, Not(Contains(Permission{"stock", true, kRead, kGroup, "cart"})));
  EXPECT_THAT(permissions, Not(Contains(Permission{"stock", true, kRead, kGroup, "*"})));
}

TEST(Permissions, WithoutALoginNothingIsReadUnlessSaidSo) {
  for (const Permission& permission : Permissions(Example(), false)) {
    EXPECT_NE(permission.user, kAnonymous) << Describe(permission);
  }
  const auto permissions = Permissions(Example(), true);
  EXPECT_THAT(permissions, Contains(Permission{kAnonymous, true, kRead, kTopic, "*"}));
  EXPECT_THAT(permissions, Contains(Permission{kAnonymous, true, kRead, kGroup, "*"}));
  EXPECT_THAT(permissions, Contains(Permission{kAnonymous, false, kRead, kGroup, "cart"}));
  EXPECT_THAT(permissions, Contains(Permission{kAnonymous, false, kRead, kGroup, "stock"}));
}

}  // namespace
}  // namespace shop::kafka
