// What the payment provider says it has captured and given back, read over HTTP as from anybody
// else's provider: GET /v1/ledger, a page at a time, and GET /v1/payments/{key}.
#pragma once

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "common/http/http_client.h"
#include "reconciler/drift.h"

namespace shop::reconciler {

struct LedgerPage {
  std::vector<LedgerEntry> entries;
  std::optional<int64_t> next;  // `after` of the next page; nothing on the last one
};

class Ledger {
 public:
  // `url` is http://host:port, without a path.
  Ledger(std::string url, std::string api_key);

  // Throw Unreadable when the provider does not answer, or not as it should.
  LedgerPage List(int64_t after, const std::stop_token& stop);
  std::optional<LedgerEntry> Find(const std::string& key, const std::stop_token& stop);

 private:
  HttpReply Get(const std::string& path, const std::stop_token& stop);

  const std::string url_;
  const std::string api_key_;
  HttpClient client_{{}};
};

}  // namespace shop::reconciler
