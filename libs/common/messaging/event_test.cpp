#include "common/messaging/event.h"

#include <absl/time/clock.h>
#include <absl/time/time.h>
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/dynamic_message.h>

#include "common/json/codec.h"
#include "common/messaging/handlers.h"
#include "common/messaging/headers.h"
#include "shop/events/v1/orders.pb.h"
#include "shop/events/v1/stock.pb.h"
#include "shop/events/v1/users.pb.h"

namespace shop::messaging {
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

// A handler for anything else, or Ignore of it, does not compile.
static_assert(EventMessage<OrderCreated>);
static_assert(!EventMessage<orders::v1::OrderItem>);
static_assert(!EventMessage<google::protobuf::Message>);

TEST(EventTest, WhatIsIgnoredIsKnownByItsType) {
  const Handlers handlers = Handlers().Ignore<OrderCreated, events::v1::UserDeleted>();
  EXPECT_TRUE(handlers.Ignores("ORDER_CREATED"));
  EXPECT_TRUE(handlers.Ignores("USER_DELETED"));
  EXPECT_FALSE(handlers.Ignores("ORDER_CANCELLED"));
}

TEST(EventTest, TopicAndKeyComeFromTheOption) {
  const Envelope event =
      MakeEvent(Cancelled(42), {.source = "orders", .trace = TraceContext::New()});
  EXPECT_EQ(event.topic, "orders");
  EXPECT_EQ(event.key, "42");
  EXPECT_EQ(event.type, "ORDER_CANCELLED");
  EXPECT_EQ(event.source, "/orders");
  EXPECT_THAT(event.time, MatchesRegex("....-..-..T..:..:......Z"));
  EXPECT_THAT(event.value, ::testing::HasSubstr("\"orderId\":42"));
}

TEST(EventTest, AMessageThatIsNoEventIsRefused) {
  EXPECT_THROW(MakeEvent(orders::v1::Address(), {}), std::logic_error);
}

TEST(EventTest, WithoutACauseEveryEventHasAnIdOfItsOwn) {
  const std::string id = MakeEvent(Cancelled(1), {.source = "orders", .trace = {}}).id;
  EXPECT_THAT(id,
              MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"));
  EXPECT_NE(MakeEvent(Cancelled(1), {.source = "orders", .trace = {}}).id, id);
}

TEST(EventTest, TheSameCauseMakesTheSameId) {
  const EventContext because{.source = "orders", .trace = {}, .cause_id = "cause"};
  const std::string id = MakeEvent(Cancelled(1), because).id;
  EXPECT_THAT(id,
              MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"));
  EXPECT_EQ(MakeEvent(Cancelled(1), because).id, id);
  EXPECT_NE(MakeEvent(Cancelled(2), because).id, id) << "one cause may tell of several orders";
  OrderCreated other;
  other.set_order_id(1);
  EXPECT_NE(MakeEvent(other, because).id, id);
}

TEST(EventTest, AnIdBeginsWithItsTime) {
  const int64_t before = absl::ToUnixMillis(absl::Now());
  const std::string id = MakeEvent(Cancelled(1), {.source = "orders", .trace = {}}).id;
  const int64_t time = std::stoll(id.substr(0, 8) + id.substr(9, 4), nullptr, 16);
  EXPECT_LE(before, time);
  EXPECT_LE(time, absl::ToUnixMillis(absl::Now()));
}

TEST(EventTest, ADerivedIdBeginsWithTheTimeOfItsCause) {
  const auto because_of = [](const std::string& cause) {
    return MakeEvent(Cancelled(1), {.source = "orders", .trace = {}, .cause_id = cause}).id;
  };
  const std::string first = "0192d5f0-4a3b-7c21-9e55-0a1b2c3d4e5f";
  const std::string second = because_of(first);
  EXPECT_THAT(second,
              MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"));
  EXPECT_EQ(second.substr(0, 14), "0192d5f0-4a3b-");
  EXPECT_EQ(because_of(second).substr(0, 14), "0192d5f0-4a3b-");
  EXPECT_EQ(because_of("payment/" + first).substr(0, 14), "0192d5f0-4a3b-");
  EXPECT_NE(because_of("payment/" + first), second);
  EXPECT_NE(because_of("0192d5f0-4a3b-4c21-9e55-0a1b2c3d4e5f").substr(0, 14), "0192d5f0-4a3b-")
      << "what an id of version 4 begins with is no time";
  for (const char* other : {"0192d5f0-4a3b-7c21", "0192d5fx-4a3b-7c21-9e55-0a1b2c3d4e5f"}) {
    EXPECT_EQ(because_of(other)[14], '5') << other;
  }
}

TEST(EventTest, AnEventComesBackFromItsHeaders) {
  Envelope event = MakeEvent(Cancelled(42), {.source = "orders", .trace = TraceContext::New()});
  event.trace.request_id = "r-1";
  event.headers["other"] = "kept";
  const Headers headers = ToHeaders(event);
  EXPECT_EQ(headers.at("ce_specversion"), "1.0");
  EXPECT_EQ(headers.at("ce_subject"), "42");
  EXPECT_EQ(headers.at("content-type"), "application/json");
  const Envelope back =
      FromRecord(event.topic, event.key, HeadersFromJson(ToJson(headers)), event.value);
  EXPECT_EQ(back.id, event.id);
  EXPECT_EQ(back.type, event.type);
  EXPECT_EQ(back.source, event.source);
  EXPECT_EQ(back.time, event.time);
  EXPECT_EQ(back.trace.trace_id, event.trace.trace_id);
  EXPECT_EQ(back.trace.RequestId(), "r-1");
  EXPECT_EQ(back.headers, event.headers);
}

TEST(EventTest, BytesThatAreNoTextAreKeptAsHex) {
  EXPECT_EQ(AsText("größe"), "größe");
  EXPECT_EQ(AsText("\xff\x01"), "\\xff01");
  EXPECT_EQ(AsText(std::string_view("a\0b", 3)), "\\x610062");
}

// OrderCreated as the next version may have it: with another way to pay, another field of the order
// and one of its address. As descriptors alone, next to today's.
class NextVersion {
 public:
  NextVersion() { Add(*OrderCreated::descriptor()->file()); }

  std::unique_ptr<google::protobuf::Message> NewOrderCreated() {
    const auto* type = pool_.FindMessageTypeByName("shop.events.v1.OrderCreated");
    return std::unique_ptr<google::protobuf::Message>(factory_.GetPrototype(type)->New());
  }

 private:
  using FileProto = google::protobuf::FileDescriptorProto;

  void Add(const google::protobuf::FileDescriptor& file) {
    if (pool_.FindFileByName(file.name()) != nullptr) return;
    for (int i = 0; i < file.dependency_count(); ++i) Add(*file.dependency(i));
    FileProto proto;
    file.CopyTo(&proto);
    Change(&proto);
    ASSERT_NE(pool_.BuildFile(proto), nullptr) << file.name();
  }
  static void Change(FileProto* file) {
    for (auto& type : *file->mutable_enum_type()) {
      if (type.name() != "PaymentMethod") continue;
      auto* value = type.add_value();
      value->set_name("PAYMENT_METHOD_NEW");
      value->set_number(1'000);
    }
    for (auto& type : *file->mutable_message_type()) {
      if (type.name() != "OrderCreated" && type.name() != "Address") continue;
      auto* field = type.add_field();
      field->set_name("next_version");
      field->set_json_name("nextVersion");
      field->set_number(1'000);
      field->set_type(google::protobuf::FieldDescriptorProto::TYPE_STRING);
      field->set_label(google::protobuf::FieldDescriptorProto::LABEL_OPTIONAL);
    }
  }

  google::protobuf::DescriptorPool pool_;
  google::protobuf::DynamicMessageFactory factory_{&pool_};
};

// A rolling upgrade: orders is there already, who consumes its events is not.
TEST(EventTest, AConsumerReadsTheEventsOfTheNextVersion) {
  static NextVersion& next = *new NextVersion;  // the codec keeps what it knows of descriptors
  const auto newer = next.NewOrderCreated();
  ASSERT_TRUE(json::Read(R"({"orderId":12,"userId":7,"paymentMethod":"NEW","nextVersion":"a",)"
                         R"("shippingAddress":{"street":"Lane 1","nextVersion":"b"}})",
                         newer.get()));
  Envelope event;
  event.type = "ORDER_CREATED";
  event.value = json::Write(*newer);
  ASSERT_THAT(event.value, ::testing::HasSubstr("\"paymentMethod\":\"NEW\""));

  const auto handlers = Handlers().On<OrderCreated>(
      [](postgres::Tx&, const OrderCreated&, const Envelope&) -> Result<void> { return kDone; });
  const auto read = handlers.Read(event);
  ASSERT_TRUE(read) << read.refusal().message;
  const auto& order = static_cast<const OrderCreated&>(**read);
  EXPECT_EQ(order.order_id(), 12);
  EXPECT_EQ(order.shipping_address().street(), "Lane 1");

  events::v1::StockReserved told;
  told.set_payment_method(order.payment_method());
  EXPECT_THAT(MakeEvent(told, {}).value, ::testing::HasSubstr("\"paymentMethod\":\"NEW\""))
      << "what is passed on is lost for those who know it";
}

TEST(EventTest, WhatIsMalformedIsNotReadTolerantly) {
  const auto handlers = Handlers().On<OrderCreated>(
      [](postgres::Tx&, const OrderCreated&, const Envelope&) -> Result<void> { return kDone; });
  for (const char* value : {R"({"orderId":"12"})", R"({"orderId":1,"orderId":2})",
                            R"({"paymentMethod":{"name":"NEW"}})", R"({"paymentMethod":1.5})",
                            R"({"paymentMethod":""})", R"({"items":{}})", "{", ""}) {
    Envelope event;
    event.type = "ORDER_CREATED";
    event.value = value;
    EXPECT_FALSE(handlers.Read(event)) << value;
  }
}

}  // namespace
}  // namespace shop::messaging
