#include "payments/provider_client.h"

#include <simdjson.h>

#include <utility>

#include "common/json/codec.h"

namespace shop::payments {
namespace {

// A member of a JSON object under way: its name, and its value as text.
void Add(const char* name, std::string_view value, std::string* body) {
  *body += *body == "{" ? "\"" : ",\"";
  *body += name;
  *body += "\":";
  json::WriteString(value, body);
}

void Add(const char* name, int64_t value, std::string* body) {
  *body += *body == "{" ? "\"" : ",\"";
  *body += name;
  *body += "\":" + std::to_string(value);
}

std::optional<Charge> ParseStatus(std::string_view status) {
  for (const Charge charge : {Charge::kPending, Charge::kAuthorized, Charge::kDeclined,
                              Charge::kVoided, Charge::kCaptured}) {
    if (Text(charge) == status) return charge;
  }
  return std::nullopt;
}

std::string TextOf(simdjson::dom::element object, const char* name) {
  std::string_view text;
  return object[name].get(text) == simdjson::SUCCESS ? std::string(text) : std::string();
}

std::optional<ProviderReport> ReadReport(simdjson::dom::element object) {
  const std::optional<Charge> charge = ParseStatus(TextOf(object, "status"));
  ProviderReport report{.key = TextOf(object, "key"), .reported = {}};
  if (!charge || report.key.empty()) return std::nullopt;
  report.reported = {*charge, TextOf(object, "code"), TextOf(object, "message")};
  return report;
}

// What an error says, for people.
std::string Complaint(const HttpReply& reply) {
  if (reply.status == 0) return reply.error;
  std::string text = "HTTP " + std::to_string(reply.status);
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  std::string_view message;
  if (parser.parse(reply.body).get(root) == simdjson::SUCCESS &&
      root["error"]["message"].get(message) == simdjson::SUCCESS) {
    text += ": " + std::string(message);
  }
  return text;
}

// What has become of the charge counts, whatever the status: a conflict (409) comes with the payment
// as it is.
ChargeAnswer Judge(const HttpReply& reply, const std::string& key) {
  const int status = reply.status;
  if (status == 200 || status == 202 || status == 402 || status == 409) {
    simdjson::dom::parser parser;
    simdjson::dom::element root;
    if (parser.parse(reply.body).get(root) == simdjson::SUCCESS) {
      simdjson::dom::element payment;
      if (root["payment"].get(payment) != simdjson::SUCCESS) payment = root;
      const auto report = ReadReport(payment);
      if (report && report->key == key) return report->reported;
    }
  }
  return NoAnswer{Complaint(reply)};
}

}  // namespace

std::optional<ProviderReport> ReadReport(std::string_view text) {
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  if (parser.parse(text.data(), text.size()).get(root) != simdjson::SUCCESS) return std::nullopt;
  return ReadReport(root);
}

HttpPaymentProvider::HttpPaymentProvider(ProviderSettings settings)
    : settings_(std::move(settings)),
      client_({.connect_timeout = settings_.connect_timeout, .timeout = settings_.timeout}) {}

HttpReply HttpPaymentProvider::Post(const char* path, const std::string& idempotency_key,
                                    std::string body, const std::stop_token& stop) {
  return client_.Send({.method = "POST",
                       .url = settings_.url + path,
                       .headers = {"Authorization: Bearer " + settings_.api_key,
                                   "Idempotency-Key: " + idempotency_key},
                       .body = std::move(body)},
                      stop);
}

ChargeAnswer HttpPaymentProvider::Authorize(const ChargeRequest& request,
                                            const std::stop_token& stop) {
  std::string body = "{";
  Add("key", request.key, &body);
  Add("amount", request.amount, &body);
  Add("currency", request.currency, &body);
  Add("token", request.token, &body);
  return Judge(Post("/v1/authorizations", request.key + "/authorize", body + "}", stop),
               request.key);
}

ChargeAnswer HttpPaymentProvider::Capture(const std::string& key, int64_t amount,
                                          const std::stop_token& stop) {
  std::string body = "{";
  Add("key", key, &body);
  Add("amount", amount, &body);
  return Judge(Post("/v1/captures", key + "/capture", body + "}", stop), key);
}

ChargeAnswer HttpPaymentProvider::Void(const std::string& key, const std::stop_token& stop) {
  std::string body = "{";
  Add("key", key, &body);
  return Judge(Post("/v1/voids", key + "/void", body + "}", stop), key);
}

RefundAnswer HttpPaymentProvider::Refund(const std::string& key, const std::string& refund,
                                         int64_t amount, const std::stop_token& stop) {
  std::string body = "{";
  Add("key", key, &body);
  Add("amount", amount, &body);
  const HttpReply reply = Post("/v1/refunds", refund, body + "}", stop);
  if (reply.status == 200) return RefundAccepted{};
  // Only this says that the refund itself is refused, and for good.
  if (reply.status == 409) return RefundRejected{Complaint(reply)};
  return NoAnswer{Complaint(reply)};
}

ChargeAnswer HttpPaymentProvider::Query(const std::string& key, const std::stop_token& stop) {
  const HttpReply reply = client_.Send({.url = settings_.url + "/v1/payments/" + key,
                                        .headers = {"Authorization: Bearer " + settings_.api_key}},
                                       stop);
  if (reply.status == 404) return NotFound{};
  return Judge(reply, key);
}

}  // namespace shop::payments
