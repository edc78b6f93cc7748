// Any request for a few methods: gateway/routing/binding.h.
//
// The first byte chooses the method; the lines of the rest are the request's target, two values of
// path variables, the headers' value, and the body.
#include <google/protobuf/util/message_differencer.h>

#include <cstdint>
#include <memory>

#include "common/json/codec.h"
#include "gateway/routing/binding.h"
#include "gateway/routing/router.h"
#include "gateway/testing/library.pb.h"
#include "property.h"

namespace {

using google::protobuf::Message;
using google::protobuf::util::MessageDifferencer;
using shop::fuzz::Require;
using shop::fuzz::RequireClear;
using shop::gateway::Binding;
using shop::gateway::HttpRequest;
namespace books = shop::testing::v1;

struct Method {
  const Message& request;
  std::vector<std::string> variables;
  std::string body;
  Binding binding{request.GetDescriptor(), variables, body};
};

std::string_view TakeLine(std::string_view* text) {
  const std::string_view line = text->substr(0, text->find('\n'));
  text->remove_prefix(std::min(text->size(), line.size() + 1));
  return line;
}

std::string Backwards(std::string_view query) {
  std::string turned;
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), pair.size() + 1));
    turned = std::string(pair) + (turned.empty() ? "" : "&") + turned;
  }
  return turned;
}

std::string PercentEncoded(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string encoded;
  for (const char c : text) {
    encoded += '%';
    encoded += kHex[c >> 4 & 15];
    encoded += kHex[c & 15];
  }
  return encoded;
}

void Check(const Method& method, const HttpRequest& request,
           const std::vector<std::string>& values) {
  const std::unique_ptr<Message> message(method.request.New());
  const auto bound = method.binding.Bind(request, values, message.get());
  if (!bound) RequireClear(bound.refusal());

  // Who sends the parameters the other way round gets the same, lists turned round.
  const std::string turned = "/x?" + Backwards(request.query());
  HttpRequest other = request;
  other.target = turned;
  const std::unique_ptr<Message> same(method.request.New());
  Require(
      static_cast<bool>(method.binding.Bind(other, values, same.get())) == static_cast<bool>(bound),
      "the order of the parameters decides nothing", request.target);
  if (!bound) return;
  MessageDifferencer lists_as_sets;
  lists_as_sets.set_repeated_field_comparison(MessageDifferencer::AS_SET);
  Require(lists_as_sets.Compare(*message, *same), "the order of the parameters changes nothing",
          request.target);

  // What goes to a service arrives there.
  const std::unique_ptr<Message> arrived(method.request.New());
  Require(arrived->ParseFromString(message->SerializeAsString()), "the message can be sent",
          request.target);
  Require(MessageDifferencer::Equals(*message, *arrived), "the message arrives whole");

  // The path has the last word.
  for (size_t i = 0; i < method.variables.size(); ++i) {
    const std::string& name = method.variables[i];
    if (name.find('.') != std::string::npos) continue;
    const auto* field = message->GetDescriptor()->FindFieldByName(name);
    const std::unique_ptr<Message> alone(method.request.New());
    Require(static_cast<bool>(shop::json::ReadScalar(values[i], field, name, alone.get())),
            "a value of the path that is taken fits its field");
    MessageDifferencer this_field;
    Require(this_field.CompareWithFields(*message, *alone, {field}, {field}),
            "the path has the last word", request.target);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Method* const methods[] = {
      new Method{books::GetBookRequest::default_instance(), {"shelf", "id"}, ""},
      new Method{books::ListBooksRequest::default_instance(), {}, ""},
      new Method{books::CreateBookRequest::default_instance(), {}, "*"},
      new Method{books::UpdateBookRequest::default_instance(), {"book.id"}, "book"}};
  if (size == 0) return 0;
  const Method& method = *methods[data[0] % std::size(methods)];
  std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  HttpRequest request;
  request.target = TakeLine(&rest);
  std::vector<std::string> values;
  for (int i = 0; i < 2; ++i) values.emplace_back(TakeLine(&rest));
  const std::string_view header = TakeLine(&rest);
  request.headers = {{"Idempotency-Key", header}, {"If-Match", header}};
  request.body = rest;
  values.resize(method.variables.size());
  Check(method, request, values);

  const auto decoded =
      shop::gateway::PercentDecode(PercentEncoded(request.target), shop::gateway::Encoded::kForm);
  Require(decoded == request.target, "what is encoded is decoded");
  return 0;
}
