// The audit log of a service: who did what to whom, in its own database.
//
//   audit::Record(tx, call, {.action = "PRICE_CHANGED", .object = "product 7", .details = {{"from", "1.00"}, {"to", "2.00"}}});
//
// An entry commits with what it tells of, or neither does. Entries are numbered without a gap and only
// appended: the table refuses every other change, and each entry's hash covers the entry before, so that
// whoever gets around the table cannot change or leave out one without making all later hashes anew. That
// shows once somebody has kept a later hash (Verify's `known`).
//
// While an entry is not committed, no other transaction of the service can append one: Record is the last
// thing in a transaction. Entries have nothing personal, as they are kept for good: people are numbers.
//
// Needs the table of kAuditMigrations ("audit_migrations.h").
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/core/result.h"
#include "common/postgres/pool.h"
#include "common/rpc/call.h"
#include "shop/audit/v1/audit.pb.h"

namespace shop::audit {

struct Fact {
  std::string action;  // as shop/audit/v1/audit.proto lists them
  std::string object;  // "product 7"
  std::map<std::string, std::string> details = {};
};

// By the caller of `call`, now.
void Record(postgres::Tx& tx, const Call& call, const Fact& fact);

// The rpc by which a service tells of its log, for a SUPER_ADMIN alone:
//
//   .On("ListProductAudit", &audit_, &audit::Reader::ListAudit)
class Reader {
 public:
  explicit Reader(postgres::Pool& db) : db_(db) {}

  Result<v1::ListAuditResponse> ListAudit(const Call& call, const v1::ListAuditRequest& request);

 private:
  postgres::Pool& db_;
};

// An entry that somebody has kept a note of.
struct Known {
  int64_t sequence = 0;
  std::string hash;  // in hex
};

struct Verdict {
  int64_t entries = 0;
  Known last;  // all zero in an empty log
  std::vector<int64_t>
      broken;  // the first few whose number or hash does not follow from the entry before
  bool known_is_there = true;  // whether the known entry is there as it was
};

// Reads the whole log.
Verdict Verify(postgres::Tx& tx, const std::optional<Known>& known);

}  // namespace shop::audit
