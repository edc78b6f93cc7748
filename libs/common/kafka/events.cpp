#include "common/kafka/events.h"

#include <openssl/evp.h>
#include <openssl/rand.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <stdexcept>

#include "common/json/codec.h"
#include "common/kafka/record.h"
#include "shop/api/v1/options.pb.h"

namespace shop::kafka {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr postgres::Statement kAppend{
    "INSERT INTO outbox (topic, key, event_id, type, source, time, traceparent, headers, value) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8::jsonb, $9)"};

constexpr postgres::Statement kAppendSeveral{
    "INSERT INTO outbox (topic, key, event_id, type, source, time, traceparent, headers, value) "
    "SELECT topic, key, event_id, type, source, time, traceparent, nullif(headers, '')::jsonb, "
    "value"
    " FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],"
    "             $7::text[], $8::text[], $9::text[]) WITH ORDINALITY"
    " AS e (topic, key, event_id, type, source, time, traceparent, headers, value, position)"
    " ORDER BY position"};

std::string Traceparent(const Event& event) {
  return event.trace.trace_id.empty() ? std::string() : event.trace.Header();
}

using Uuid = std::array<unsigned char, 16>;

std::string Format(Uuid uuid, unsigned char version) {
  uuid[6] = static_cast<unsigned char>((uuid[6] & 0x0f) | (version << 4));
  uuid[8] = static_cast<unsigned char>((uuid[8] & 0x3f) | 0x80);
  static constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  for (size_t i = 0; i < uuid.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += kHex[uuid[i] >> 4];
    text += kHex[uuid[i] & 15];
  }
  return text;
}

std::string RandomId() {
  Uuid uuid;
  if (RAND_bytes(uuid.data(), uuid.size()) != 1) throw std::runtime_error("no random bytes");
  return Format(uuid, 4);
}

std::string DerivedId(const std::string& cause_id, const std::string& type,
                      const std::string& key) {
  // The name space is the standard's one for URLs.
  static constexpr unsigned char kUrls[] = {0x6b, 0xa7, 0xb8, 0x11, 0x9d, 0xad, 0x11, 0xd1,
                                            0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8};
  std::string name(reinterpret_cast<const char*>(kUrls), sizeof kUrls);
  name += "event:" + cause_id + "/" + type + "/" + key;
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (EVP_Digest(name.data(), name.size(), digest, &size, EVP_sha1(), nullptr) != 1) {
    throw std::runtime_error("SHA-1 is not available");
  }
  Uuid uuid;
  std::copy_n(digest, uuid.size(), uuid.begin());
  return Format(uuid, 5);
}

std::string Now() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto millis = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
  const std::time_t seconds = millis / 1000;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char text[32];
  const size_t size = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(text + size, sizeof text - size, ".%03dZ", static_cast<int>(millis % 1000));
  return text;
}

std::string KeyOf(const Message& message, const FieldDescriptor& field) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT64:
      return std::to_string(reflection.GetInt64(message, &field));
    case FieldDescriptor::CPPTYPE_STRING:
      return reflection.GetString(message, &field);
    default:
      throw std::logic_error(field.full_name() + " cannot be the key of an event");
  }
}

}  // namespace

std::string TypeName(const Descriptor& event) {
  std::string name;
  for (const char c : event.name()) {
    const bool upper = c >= 'A' && c <= 'Z';
    if (upper && !name.empty()) name += '_';
    name += static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  }
  return name;
}

Event Compose(const Message& message, const Origin& origin) {
  const Descriptor& descriptor = *message.GetDescriptor();
  const api::v1::Event& option = descriptor.options().GetExtension(api::v1::event);
  const FieldDescriptor* key = descriptor.FindFieldByName(option.key());
  if (option.topic().empty() || key == nullptr) {
    throw std::logic_error(descriptor.full_name() + " is no event: it names no topic and key");
  }
  Event event;
  event.topic = option.topic();
  event.key = KeyOf(message, *key);
  event.type = TypeName(descriptor);
  event.id =
      origin.cause_id.empty() ? RandomId() : DerivedId(origin.cause_id, event.type, event.key);
  event.source = "/" + origin.source;
  event.time = Now();
  event.trace = origin.trace;
  event.value = json::Write(message);
  return event;
}

void Announce(postgres::Tx& tx, const Message& message, const Origin& origin) {
  Announce(tx, Compose(message, origin));
}

void Announce(postgres::Tx& tx, const Event& event) {
  std::optional<std::string> headers;
  if (!event.headers.empty()) headers = ToJson(event.headers);
  tx.Exec(kAppend, event.topic, event.key, event.id, event.type, event.source, event.time,
          Traceparent(event), headers, event.value);
}

void Announce(postgres::Tx& tx, const std::vector<Event>& events) {
  if (events.empty()) return;
  const auto column = [&events](auto value) {
    std::vector<std::string> values;
    values.reserve(events.size());
    for (const Event& event : events) values.push_back(value(event));
    return postgres::Array(values);
  };
  tx.Exec(kAppendSeveral, column([](const Event& event) { return event.topic; }),
          column([](const Event& event) { return event.key; }),
          column([](const Event& event) { return event.id; }),
          column([](const Event& event) { return event.type; }),
          column([](const Event& event) { return event.source; }),
          column([](const Event& event) { return event.time; }),
          column([](const Event& event) { return Traceparent(event); }),
          column([](const Event& event) {
            return event.headers.empty() ? std::string() : ToJson(event.headers);
          }),
          column([](const Event& event) { return event.value; }));
}

Result<void> ReadValue(std::string_view value, Message* message) {
  return json::ReadTolerantly(value, message);
}

Handlers& Handlers::Ignore(std::string type) {
  ignored_.insert(std::move(type));
  return *this;
}

Handlers& Handlers::Add(const Message& prototype, Handler handle) {
  handlers_[TypeName(*prototype.GetDescriptor())] = {.prototype = &prototype,
                                                     .handle = std::move(handle)};
  return *this;
}

Result<std::unique_ptr<Message>> Handlers::Read(const Event& event) const {
  std::unique_ptr<Message> message(handlers_.at(event.type).prototype->New());
  const Result<void> read = ReadValue(event.value, message.get());
  if (!read) return read.refusal();
  return message;
}

Handlers& Handlers::Asking(const Message& prototype, Asker ask) {
  handlers_.at(TypeName(*prototype.GetDescriptor())).ask = std::move(ask);
  return *this;
}

bool Handlers::Asks(const std::string& type) const {
  const auto found = handlers_.find(type);
  return found != handlers_.end() && found->second.ask;
}

Result<Handlers::AnyAnswer> Handlers::Ask(const AnyHeard& heard) const {
  return handlers_.at(heard.front().event.type).ask(heard);
}

Result<void> Handlers::Handle(postgres::Tx& tx, const AnyHeard& heard,
                              const AnyAnswer& answer) const {
  return handlers_.at(heard.front().event.type).handle(tx, heard, answer);
}

}  // namespace shop::kafka
