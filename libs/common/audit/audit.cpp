#include "common/audit/audit.h"

#include <google/protobuf/util/time_util.h>

#include <string_view>

#include "common/postgres/columns.h"

namespace shop::audit {
namespace {

using postgres::Array;
using postgres::Statement;
using postgres::Tx;

constexpr int kDefaultLimit = 20;
constexpr std::string_view kRolePrefix = "ROLE_";

constexpr Statement kAppend{
    "SELECT audit_append($1, $2, $3, $4, $5, jsonb_object($6::text[], $7::text[]), $8)"};

constexpr Statement kList{R"(
    SELECT sequence, (extract(epoch FROM at) * 1000000)::bigint AS at, user_id, role, service, action, object,
           request_id, encode(hash, 'hex') AS hash
    FROM audit
    WHERE ($1::bigint IS NULL OR sequence < $1) AND ($2::bigint IS NULL OR user_id = $2)
      AND ($3 = '' OR object = $3) AND ($4 = '' OR action = $4)
    ORDER BY sequence DESC LIMIT $5)"};

constexpr Statement kDetails{R"(
    SELECT sequence, key, value FROM audit, jsonb_each_text(details) WHERE sequence = ANY($1::bigint[]))"};

constexpr Statement kBroken{R"(
    SELECT sequence FROM (
      SELECT sequence, lag(sequence, 1, 0::bigint) OVER chain AS before, hash,
             audit_hash(lag(hash, 1, ''::bytea) OVER chain, audit) AS expected
      FROM audit WINDOW chain AS (ORDER BY sequence)) AS entries
    WHERE sequence <> before + 1 OR hash <> expected
    ORDER BY sequence LIMIT 10)"};

constexpr Statement kLast{R"(
    SELECT sequence, encode(hash, 'hex'), (SELECT count(*) FROM audit) FROM audit ORDER BY sequence DESC LIMIT 1)"};

constexpr Statement kIsThere{
    "SELECT count(*) FROM audit WHERE sequence = $1 AND encode(hash, 'hex') = $2"};

v1::AuditEntry ToEntry(const pqxx::row& row) {
  v1::AuditEntry entry;
  entry.set_sequence(row["sequence"].as<int64_t>());
  *entry.mutable_at() =
      google::protobuf::util::TimeUtil::MicrosecondsToTimestamp(row["at"].as<int64_t>());
  if (!row["user_id"].is_null()) entry.set_user_id(row["user_id"].as<int64_t>());
  api::v1::Role role = api::v1::ROLE_UNSPECIFIED;
  api::v1::Role_Parse(std::string(kRolePrefix) + row["role"].c_str(), &role);
  entry.set_role(role);
  if (!row["service"].is_null()) entry.set_service(row["service"].c_str());
  entry.set_action(row["action"].c_str());
  entry.set_object(row["object"].c_str());
  entry.set_request_id(row["request_id"].c_str());
  entry.set_hash(row["hash"].c_str());
  return entry;
}

// Newest first.
v1::ListAuditResponse List(Tx& tx, const v1::ListAuditRequest& request) {
  const int limit = request.has_limit() ? request.limit() : kDefaultLimit;
  const auto sent = [](bool has, int64_t value) {
    return has ? std::optional(value) : std::nullopt;
  };
  const pqxx::result rows = tx.Exec(kList, sent(request.has_before(), request.before()),
                                    sent(request.has_user_id(), request.user_id()),
                                    request.object(), request.action(), limit + 1);
  v1::ListAuditResponse response;
  std::map<int64_t, v1::AuditEntry*> listed;
  for (const pqxx::row& row : rows) {
    if (response.items_size() == limit) {
      response.set_next_before(response.items().rbegin()->sequence());
      break;
    }
    v1::AuditEntry* entry = response.add_items();
    *entry = ToEntry(row);
    listed[entry->sequence()] = entry;
  }
  for (const pqxx::row& row :
       tx.Exec(kDetails, Array(response.items(), &v1::AuditEntry::sequence))) {
    (*listed.at(row[0].as<int64_t>())->mutable_details())[row[1].c_str()] = row[2].c_str();
  }
  return response;
}

}  // namespace

void Record(Tx& tx, const Call& call, const Fact& fact) {
  using Detail = std::pair<const std::string, std::string>;
  const Caller& caller = call.caller;
  const std::string role = api::v1::Role_Name(caller.role).substr(kRolePrefix.size());
  tx.Exec(kAppend, caller.is_user() ? std::optional(caller.user_id) : std::nullopt, role,
          caller.is_service() ? std::optional(caller.service) : std::nullopt, fact.action,
          fact.object, Array(fact.details, &Detail::first), Array(fact.details, &Detail::second),
          call.request_id);
}

Result<v1::ListAuditResponse> Reader::ListAudit(const Call&, const v1::ListAuditRequest& request) {
  return postgres::Read(db_, [&](Tx& tx) { return List(tx, request); });
}

Verdict Verify(Tx& tx, const std::optional<Known>& known) {
  Verdict verdict;
  verdict.broken = postgres::FirstColumn<std::vector<int64_t>>(tx.Exec(kBroken));
  if (const pqxx::result last = tx.Exec(kLast); !last.empty()) {
    verdict.last = {last[0][0].as<int64_t>(), last[0][1].c_str()};
    verdict.entries = last[0][2].as<int64_t>();
  }
  if (known) {
    verdict.known_is_there =
        tx.Exec(kIsThere, known->sequence, known->hash)[0][0].as<int64_t>() == 1;
  }
  return verdict;
}

}  // namespace shop::audit
