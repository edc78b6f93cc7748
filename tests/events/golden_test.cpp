// Every shape that an event ever had on its topic, as the bytes of one record in
// tests/golden/<TYPE>/<n>.event: `name: value` lines (topic, key, headers), an empty line, the
// value. All who consume the topic read each of them, and what is written today is the newest.
//
// A change of shape is a new file and never an edited one (deploy/local/protos.sh sees to that):
// this test writes what it found into build/<preset>/golden, to be copied from there.
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/reflection.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "auth/auth_events.h"
#include "common/messaging/event.h"
#include "common/messaging/handlers.h"
#include "common/messaging/headers.h"
#include "common/rpc/client.h"
#include "notification/notification_events.h"
#include "orders/order_events.h"
#include "payments/payment_events.h"
#include "shipping/shipping_events.h"
#include "shop/api/v1/options.pb.h"
#include "shop/events/v1/accounts.pb.h"
#include "shop/events/v1/orders.pb.h"
#include "shop/events/v1/payments.pb.h"
#include "shop/events/v1/sessions.pb.h"
#include "shop/events/v1/shipments.pb.h"
#include "shop/events/v1/stock.pb.h"
#include "shop/events/v1/users.pb.h"
#include "stock/stock_events.h"

namespace shop {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using messaging::Envelope;
namespace fs = std::filesystem;

// All event messages of shop.events.v1.
std::vector<const Descriptor*> EventMessages() {
  std::vector<const Descriptor*> messages;
  for (const auto* file : {events::v1::OrderCreated::descriptor()->file(),
                           events::v1::StockReserved::descriptor()->file(),
                           events::v1::PaymentCompleted::descriptor()->file(),
                           events::v1::ShipmentCreated::descriptor()->file(),
                           events::v1::SessionRevoked::descriptor()->file(),
                           events::v1::PasswordResetRequested::descriptor()->file(),
                           events::v1::UserRegistered::descriptor()->file()}) {
    for (int i = 0; i < file->message_type_count(); ++i) {
      if (file->message_type(i)->options().HasExtension(api::v1::event)) {
        messages.push_back(file->message_type(i));
      }
    }
  }
  return messages;
}

// Gives every field a value that follows from its number: lists have two elements, enums have their
// last value.
void Fill(Message* message) {
  const auto& reflection = *message->GetReflection();
  const Descriptor& type = *message->GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor* field = type.field(i);
    const int number = field->number();
    for (int n = 0; n < (field->is_repeated() ? 2 : 1); ++n) {
      const bool add = field->is_repeated();
      switch (field->cpp_type()) {
        case FieldDescriptor::CPPTYPE_INT32:
          add ? reflection.AddInt32(message, field, number * 10 + n)
              : reflection.SetInt32(message, field, number * 10);
          break;
        case FieldDescriptor::CPPTYPE_INT64:
          add ? reflection.AddInt64(message, field, number * 1'000 + n)
              : reflection.SetInt64(message, field, number * 1'000 + 1);
          break;
        case FieldDescriptor::CPPTYPE_BOOL:
          add ? reflection.AddBool(message, field, n == 0)
              : reflection.SetBool(message, field, true);
          break;
        case FieldDescriptor::CPPTYPE_STRING:
          add ? reflection.AddString(message, field, field->name() + std::to_string(n))
              : reflection.SetString(message, field, field->name() + " “ü”");
          break;
        case FieldDescriptor::CPPTYPE_ENUM: {
          const auto* last = field->enum_type()->value(field->enum_type()->value_count() - 1);
          add ? reflection.AddEnum(message, field, last) : reflection.SetEnum(message, field, last);
          break;
        }
        case FieldDescriptor::CPPTYPE_MESSAGE:
          Fill(add ? reflection.AddMessage(message, field)
                   : reflection.MutableMessage(message, field));
          break;
        default:
          FAIL() << field->full_name() << " has a type that this test cannot fill";
      }
    }
  }
}

// What is written today for a message in which everything is set.
Envelope Today(const Descriptor* type) {
  const std::unique_ptr<Message> message(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
  Fill(message.get());
  Envelope event = messaging::MakeEvent(
      *message,
      {.source = "golden",
       .trace = TraceContext::FromHeader("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
       .cause_id = "golden"});
  event.time = "2026-11-21T12:00:00.000Z";
  return event;
}

std::string ToText(const Envelope& event) {
  std::string text = "topic: " + event.topic + "\nkey: " + event.key + "\n";
  for (const auto& [name, value] : messaging::ToHeaders(event)) text += name + ": " + value + "\n";
  return text + "\n" + event.value;
}

Envelope FromText(const std::string& text) {
  std::istringstream lines(text);
  std::string line;
  messaging::Headers fields;
  while (std::getline(lines, line) && !line.empty()) {
    const size_t colon = line.find(": ");
    fields[line.substr(0, colon)] = line.substr(colon + 2);
  }
  const std::string topic = fields.extract("topic").mapped();
  const std::string key = fields.extract("key").mapped();
  const std::string value((std::istreambuf_iterator<char>(lines)), {});
  return messaging::FromRecord(topic, key, std::move(fields), value);
}

std::string Slurp(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

fs::path GoldenPath(const std::string& type, int n) {
  return fs::path(GOLDEN_DIR) / type / (std::to_string(n) + ".event");
}

int CountGolden(const std::string& type) {
  int n = 0;
  while (fs::exists(GoldenPath(type, n + 1))) ++n;
  return n;
}

// A group, the topic it consumes and its handlers.
struct Consumer {
  std::string group;
  std::string topic;
  messaging::Handlers handlers;
};

std::vector<Consumer> Consumers() {
  static const rpc::Channel nowhere("products", "127.0.0.1:1", rpc::Tls());
  static postgres::Pool no_database{postgres::Settings()};
  return {{"auth", "users", auth::EventHandlers()},
          {"stock", "orders", stock::EventHandlers(nowhere)},
          {"orders", "stock", orders::EventHandlers()},
          {"orders", "payments", orders::EventHandlers()},
          {"orders", "shipments", orders::EventHandlers()},
          {"payments", "stock", payments::EventHandlers()},
          {"payments", "orders", payments::EventHandlers()},
          {"shipping", "orders", shipping::EventHandlers()},
          {"notification", "orders", notification::EventHandlers()},
          {"notification", "payments", notification::EventHandlers()},
          {"notification", "accounts", notification::EventHandlers()},
          {"stock", "users", stock::EventHandlers(nowhere)},
          {"orders", "users", orders::EventHandlers()},
          {"payments", "users", payments::EventHandlers()},
          {"shipping", "users", shipping::EventHandlers()},
          {"notification", "users", notification::EventHandlers()},
          {"cart", "orders", orders::CartHandlers(nowhere, no_database)}};
}

TEST(GoldenEvents, WhatIsWrittenTodayIsTheNewestShapeOfEachEvent) {
  for (const Descriptor* type : EventMessages()) {
    const std::string name = messaging::TypeName(*type);
    const int count = CountGolden(name);
    const std::string today = ToText(Today(type));
    if (count > 0 && Slurp(GoldenPath(name, count)) == today) continue;
    const fs::path proposal = fs::path(GOLDEN_OUT) / name / (std::to_string(count + 1) + ".event");
    fs::create_directories(proposal.parent_path());
    std::ofstream(proposal, std::ios::binary) << today;
    ADD_FAILURE() << name << " is written in a shape that tests/golden does not have. If that is "
                  << "meant, add " << proposal << " to tests/golden/" << name
                  << "; the files there stay as they are.\n"
                  << today;
  }
}

TEST(GoldenEvents, EveryShapeThereEverWasIsReadByAllWhoConsumeItsTopic) {
  int read = 0;
  for (const Consumer& consumer : Consumers()) {
    for (const Descriptor* type : EventMessages()) {
      const std::string name = messaging::TypeName(*type);
      for (int n = 1; n <= CountGolden(name); ++n) {
        const Envelope event = FromText(Slurp(GoldenPath(name, n)));
        ASSERT_EQ(event.type, name) << GoldenPath(name, n);
        if (event.topic != consumer.topic || consumer.handlers.Ignores(event.type)) continue;
        ASSERT_TRUE(consumer.handlers.Handles(event.type)) << consumer.group << " " << name;
        const auto message = consumer.handlers.Read(event);
        EXPECT_TRUE(message) << consumer.group << " cannot read " << GoldenPath(name, n);
        ++read;
      }
    }
  }
  EXPECT_GE(read, 8);
}

// What a field said is still said by it: a reader that drops or moves something reads another
// event.
TEST(GoldenEvents, WhatWasReadIsWrittenWithTheSameContent) {
  for (const Descriptor* type : EventMessages()) {
    const std::string name = messaging::TypeName(*type);
    const int count = CountGolden(name);
    if (count == 0) continue;
    const Envelope event = FromText(Slurp(GoldenPath(name, count)));
    const std::unique_ptr<Message> message(
        google::protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
    ASSERT_TRUE(messaging::ReadValue(event.value, message.get())) << name;
    EXPECT_EQ(messaging::MakeEvent(*message, {}).value, event.value);
  }
}

TEST(GoldenEvents, NoFileIsOfAnUnknownEvent) {
  std::vector<std::string> known;
  for (const Descriptor* type : EventMessages()) known.push_back(messaging::TypeName(*type));
  size_t files = 0;
  size_t counted = 0;
  for (const std::string& name : known) counted += static_cast<size_t>(CountGolden(name));
  for (const auto& entry : fs::recursive_directory_iterator(GOLDEN_DIR)) {
    if (entry.is_regular_file()) ++files;
    if (entry.is_directory()) {
      EXPECT_THAT(known, ::testing::Contains(entry.path().filename().string()))
          << "an event that was written once is read for ever";
    }
  }
  EXPECT_EQ(files, counted) << "the numbers of a type's files have a gap";
}

}  // namespace
}  // namespace shop
