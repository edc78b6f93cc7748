#include "common/kafka/events.h"

#include <gmock/gmock.h>

#include "common/kafka/record.h"
#include "shop/events/v1/orders.pb.h"
#include "shop/events/v1/users.pb.h"

namespace shop::kafka {
namespace {

using events::v1::OrderCancelled;
using events::v1::OrderCreated;
using ::testing::MatchesRegex;

OrderCancelled Cancelled(int64_t order_id) {
  OrderCancelled event;
  event.set_order_id(order_id);
  event.set_reason("late");
  return event;
}

TEST(EventTest, ATypeIsTheMessagesNameInUpperSnakeCase) {
  EXPECT_EQ(TypeName(*OrderCreated::descriptor()), "ORDER_CREATED");
  EXPECT_EQ(TypeName(*events::v1::UserDeleted::descriptor()), "USER_DELETED");
}

TEST(EventTest, TopicAndKeyComeFromTheOption) {
  const Event event = Compose(Cancelled(42), {.source = "orders", .trace = TraceContext::New()});
  EXPECT_EQ(event.topic, "orders");
  EXPECT_EQ(event.key, "42");
  EXPECT_EQ(event.type, "ORDER_CANCELLED");
  EXPECT_EQ(event.source, "/orders");
  EXPECT_THAT(event.time, MatchesRegex("....-..-..T..:..:......Z"));
  EXPECT_THAT(event.value, ::testing::HasSubstr("\"orderId\":42"));
}

TEST(EventTest, AMessageThatIsNoEventIsRefused) {
  EXPECT_THROW(Compose(orders::v1::Address(), {}), std::logic_error);
}

TEST(EventTest, WithoutACauseEveryEventHasAnIdOfItsOwn) {
  const std::string id = Compose(Cancelled(1), {.source = "orders", .trace = {}}).id;
  EXPECT_THAT(id,
              MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"));
  EXPECT_NE(Compose(Cancelled(1), {.source = "orders", .trace = {}}).id, id);
}

TEST(EventTest, TheSameCauseMakesTheSameId) {
  const Origin because{.source = "orders", .trace = {}, .cause_id = "cause"};
  const std::string id = Compose(Cancelled(1), because).id;
  EXPECT_THAT(id,
              MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"));
  EXPECT_EQ(Compose(Cancelled(1), because).id, id);
  EXPECT_NE(Compose(Cancelled(2), because).id, id) << "one cause may tell of several orders";
  OrderCreated other;
  other.set_order_id(1);
  EXPECT_NE(Compose(other, because).id, id);
}

TEST(EventTest, AnEventComesBackFromItsHeaders) {
  Event event = Compose(Cancelled(42), {.source = "orders", .trace = TraceContext::New()});
  event.headers["other"] = "kept";
  const Headers headers = ToHeaders(event);
  EXPECT_EQ(headers.at("ce_specversion"), "1.0");
  EXPECT_EQ(headers.at("ce_subject"), "42");
  EXPECT_EQ(headers.at("content-type"), "application/json");
  const Event back =
      FromRecord(event.topic, event.key, HeadersFromJson(ToJson(headers)), event.value);
  EXPECT_EQ(back.id, event.id);
  EXPECT_EQ(back.type, event.type);
  EXPECT_EQ(back.source, event.source);
  EXPECT_EQ(back.time, event.time);
  EXPECT_EQ(back.trace.trace_id, event.trace.trace_id);
  EXPECT_EQ(back.headers, event.headers);
}

TEST(EventTest, BytesThatAreNoTextAreKeptAsHex) {
  EXPECT_EQ(AsText("größe"), "größe");
  EXPECT_EQ(AsText("\xff\x01"), "\\xff01");
  EXPECT_EQ(AsText(std::string_view("a\0b", 3)), "\\x610062");
}

}  // namespace
}  // namespace shop::kafka
