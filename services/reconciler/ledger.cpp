#include "reconciler/ledger.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <utility>

#include "reconciler/databases.h"

namespace shop::reconciler {
namespace {

constexpr int kPage = 500;

LedgerEntry ReadEntry(simdjson::dom::element payment) {
  return {.key = std::string(std::string_view(payment["key"])),
          .status = std::string(std::string_view(payment["status"])),
          .captured = int64_t(payment["captured"]),
          .refunded = int64_t(payment["refunded"])};
}

// Calls `read` with the JSON of an answer.
template <typename Read>
auto Parsed(const HttpReply& reply, const Read& read) {
  if (reply.status != 200) {
    throw Unreadable("the payment provider: " +
                     (reply.status == 0 ? reply.error : fmt::format("HTTP {}", reply.status)));
  }
  try {
    simdjson::dom::parser parser;
    const simdjson::dom::element root = parser.parse(reply.body);
    return read(root);
  } catch (const simdjson::simdjson_error& error) {
    throw Unreadable(std::string("the payment provider's answer: ") + error.what());
  }
}

}  // namespace

Ledger::Ledger(std::string url, std::string api_key)
    : url_(std::move(url)), api_key_(std::move(api_key)) {}

HttpReply Ledger::Get(const std::string& path, const std::stop_token& stop) {
  return client_.Send({.url = url_ + path, .headers = {"Authorization: Bearer " + api_key_}}, stop);
}

LedgerPage Ledger::List(int64_t after, const std::stop_token& stop) {
  const HttpReply reply = Get(fmt::format("/v1/ledger?after={}&limit={}", after, kPage), stop);
  return Parsed(reply, [](simdjson::dom::element root) {
    LedgerPage page;
    for (const simdjson::dom::element payment : simdjson::dom::array(root["payments"])) {
      page.entries.push_back(ReadEntry(payment));
    }
    int64_t next = 0;
    if (root["next"].get(next) == simdjson::SUCCESS) page.next = next;
    return page;
  });
}

std::optional<LedgerEntry> Ledger::Find(const std::string& key, const std::stop_token& stop) {
  const HttpReply reply = Get("/v1/payments/" + key, stop);
  if (reply.status == 404) return std::nullopt;
  return Parsed(reply, [](simdjson::dom::element root) { return ReadEntry(root); });
}

}  // namespace shop::reconciler
