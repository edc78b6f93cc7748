#include "common/messaging/event.h"

#include <absl/strings/ascii.h>
#include <absl/strings/escaping.h>
#include <absl/time/clock.h>
#include <absl/time/time.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <stdexcept>

#include "common/crypto/random.h"
#include "common/json/codec.h"
#include "common/messaging/headers.h"
#include "shop/api/v1/options.pb.h"

namespace shop::messaging {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

using Uuid = std::array<unsigned char, 16>;

std::string Format(Uuid uuid, unsigned char version) {
  uuid[6] = static_cast<unsigned char>((uuid[6] & 0x0f) | (version << 4));
  uuid[8] = static_cast<unsigned char>((uuid[8] & 0x3f) | 0x80);
  std::string text =
      absl::BytesToHexString({reinterpret_cast<const char*>(uuid.data()), uuid.size()});
  for (const size_t hyphen : {8, 13, 18, 23}) text.insert(hyphen, 1, '-');
  return text;
}

// What an id of version 7 begins with: milliseconds since 1970.
constexpr size_t kTimeBytes = 6;

std::string NewId() {
  Uuid uuid = RandomBytes<std::tuple_size_v<Uuid>>();
  int64_t time = absl::ToUnixMillis(absl::Now());
  for (size_t i = kTimeBytes; i-- > 0; time >>= 8) uuid[i] = static_cast<unsigned char>(time);
  return Format(uuid, 7);
}

// The time that the UUID at the end of a cause's id begins with; nothing where there is none.
std::string TimeOf(std::string_view cause_id) {
  constexpr size_t kUuidText = 36;
  constexpr size_t kVersionAt = 14;
  if (cause_id.size() < kUuidText) return {};
  const std::string_view uuid = cause_id.substr(cause_id.size() - kUuidText);
  if (uuid[kVersionAt] != '7' && uuid[kVersionAt] != '8') return {};
  std::string time(uuid.substr(0, 8));
  time += uuid.substr(9, 4);
  return std::ranges::all_of(time, absl::ascii_isxdigit) ? absl::HexStringToBytes(time)
                                                         : std::string();
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
  const std::string time = TimeOf(cause_id);
  std::ranges::copy(time, uuid.begin());
  return Format(uuid, time.empty() ? 5 : 8);
}

std::string Now() {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::Now(), absl::UTCTimeZone());
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
    if (absl::ascii_isupper(static_cast<unsigned char>(c)) && !name.empty()) name += '_';
    name += absl::ascii_toupper(static_cast<unsigned char>(c));
  }
  return name;
}

Envelope MakeEvent(const Message& message, const EventContext& context) {
  const Descriptor& descriptor = *message.GetDescriptor();
  const api::v1::Event& option = descriptor.options().GetExtension(api::v1::event);
  const FieldDescriptor* key = descriptor.FindFieldByName(option.key());
  if (option.topic().empty() || key == nullptr) {
    throw std::logic_error(descriptor.full_name() + " is no event: it names no topic and key");
  }
  Envelope event;
  event.topic = option.topic();
  event.key = KeyOf(message, *key);
  event.type = TypeName(descriptor);
  event.id =
      context.cause_id.empty() ? NewId() : DerivedId(context.cause_id, event.type, event.key);
  event.source = "/" + context.source;
  event.time = Now();
  event.trace = context.trace;
  event.value = json::Write(message);
  return event;
}

Result<void> ReadValue(std::string_view value, Message* message) {
  return json::ReadTolerantly(value, message);
}

}  // namespace shop::messaging
