#include "provider/api.h"

#include <simdjson.h>

#include <algorithm>
#include <charconv>

#include "common/crypto/sha256.h"
#include "common/telemetry/log.h"

namespace shop::provider {
namespace {

constexpr size_t kLongestKey = 255;
constexpr int64_t kMostMoney = 1'000'000'000'000'000;  // as much as an order may cost

bool ReadNumber(std::string_view text, int64_t least, int64_t most, int64_t* value) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, *value);
  return error == std::errc() && stop == end && *value >= least && *value <= most;
}

// Reads the members of a request's body, and keeps the first complaint.
class Body {
 public:
  explicit Body(const std::string& text) {
    if (parser_.parse(text).get(root_) != simdjson::SUCCESS) wrong_ = "the body is no JSON object";
  }

  std::string Text(const char* name) {
    if (!wrong_.empty()) return {};
    std::string_view value;
    if (root_[name].get(value) != simdjson::SUCCESS || value.empty() ||
        value.size() > kLongestKey || value.find('\0') != std::string_view::npos) {
      Complain(name, "has to be a text of 1 to 255 bytes");
    }
    return std::string(value);
  }
  std::string OptionalText(const char* name) {
    if (!wrong_.empty()) return {};
    simdjson::dom::element found;
    return root_[name].get(found) == simdjson::SUCCESS ? Text(name) : std::string();
  }
  int64_t Amount(const char* name) {
    if (!wrong_.empty()) return 0;
    int64_t value = 0;
    if (root_[name].get(value) != simdjson::SUCCESS || value <= 0 || value > kMostMoney) {
      Complain(name, "has to be a positive number of minor units");
    }
    return value;
  }
  const std::string& wrong() const { return wrong_; }

 private:
  void Complain(const char* name, const char* why) { wrong_ = std::string(name) + " " + why; }

  simdjson::dom::parser parser_;
  simdjson::dom::element root_;
  std::string wrong_;
};

}  // namespace

Answer Api::Handle(const ApiRequest& request) {
  try {
    return Dispatch(request);
  } catch (const std::exception& error) {
    log::Warning("a request was not answered", {{"error", error.what()}});
    return Error(503, "unavailable", "try again later");
  }
}

Answer Api::Dispatch(const ApiRequest& request) {
  if (!EqualInConstantTime(request.authorization, "Bearer " + api_key_)) {
    return Error(401, "unauthenticated", "the API key is wrong");
  }
  const std::string_view target = request.target;
  const std::string_view path = target.substr(0, target.find('?'));
  if (request.method == "POST") return Post(path, request);
  if (request.method != "GET") return Error(405, "method_not_allowed", "there are GET and POST");
  constexpr std::string_view kPayments = "/v1/payments/";
  if (path.starts_with(kPayments)) {
    return ledger_.Find(std::string(path.substr(kPayments.size())));
  }
  if (path == "/v1/ledger") return List(target.substr(std::min(path.size() + 1, target.size())));
  return Error(404, "not_found", "there is no such path");
}

Answer Api::Post(std::string_view path, const ApiRequest& request) {
  const bool authorizes = path == "/v1/authorizations";
  const bool captures = path == "/v1/captures";
  const bool voids = path == "/v1/voids";
  const bool refunds = path == "/v1/refunds";
  if (!authorizes && !captures && !voids && !refunds) {
    return Error(404, "not_found", "there is no such path");
  }
  if (request.idempotency_key.empty() || request.idempotency_key.size() > kLongestKey) {
    return Error(400, "invalid_request", "Idempotency-Key has to be a text of 1 to 255 bytes");
  }
  Body body(request.body);
  Request wanted{.idempotency_key = request.idempotency_key,
                 .fingerprint = Sha256Hex(std::string(path) + "\n" + request.body),
                 .key = body.Text("key")};
  if (!voids) wanted.amount = body.Amount("amount");
  if (authorizes) {
    wanted.currency = body.Text("currency");
    wanted.token = body.OptionalText("token");
    if (wanted.token.empty()) wanted.token = "tok_approve";
  }
  if (!body.wrong().empty()) return Error(400, "invalid_request", body.wrong());
  if (authorizes) return ledger_.Authorize(wanted);
  if (captures) return ledger_.Capture(wanted);
  if (voids) return ledger_.Void(wanted);
  return ledger_.Refund(wanted);
}

Answer Api::List(std::string_view query) {
  int64_t after = 0;
  int64_t limit = 100;
  while (!query.empty()) {
    const std::string_view part = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(part.size() + 1, query.size()));
    if (part.starts_with("after=") && !ReadNumber(part.substr(6), 0, kMostMoney, &after)) {
      return Error(400, "invalid_request", "after has to be the `next` of the page before");
    }
    if (part.starts_with("limit=") && !ReadNumber(part.substr(6), 1, 1000, &limit)) {
      return Error(400, "invalid_request", "limit has to be 1 to 1000");
    }
  }
  return ledger_.List(after, static_cast<int>(limit));
}

}  // namespace shop::provider
