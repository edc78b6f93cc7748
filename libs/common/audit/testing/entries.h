// What an audit log has, for tests.
#pragma once

#include <string>
#include <vector>

#include "common/audit/audit.h"

namespace shop::audit::testing {

// Oldest first: "ADMIN 1: PRICE_CHANGED product 7, from 1.00, to 2.00".
inline std::vector<std::string> Entries(postgres::Pool& db) {
  v1::ListAuditRequest request;
  request.set_limit(100);
  const Result<v1::ListAuditResponse> listed = Reader(db).ListAudit(Call(), request);
  std::vector<std::string> entries;
  for (const v1::AuditEntry& entry : listed->items()) {
    std::string text = api::v1::Role_Name(entry.role()).substr(5) + " " +
                       std::to_string(entry.user_id()) + ": " + entry.action() + " " +
                       entry.object();
    const std::map<std::string, std::string> details(entry.details().begin(),
                                                     entry.details().end());
    for (const auto& [name, value] : details) text += ", " + name + " " + value;
    entries.insert(entries.begin(), text);
  }
  return entries;
}

}  // namespace shop::audit::testing
