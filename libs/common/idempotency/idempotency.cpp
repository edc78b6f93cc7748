#include "common/idempotency/idempotency.h"

#include <absl/strings/escaping.h>

#include <map>
#include <memory>
#include <optional>

#include "common/crypto/sha256.h"
#include "common/postgres/columns.h"
#include "shop/api/v1/options.pb.h"

namespace shop::idempotency {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using postgres::Array;
using postgres::Statement;
using postgres::Tx;

constexpr char kHeader[] = "Idempotency-Key";
constexpr std::string_view kLockNotAvailable = "55P03";
// How long a request waits for another one with its key, and how long those do that share a transaction,
// which none of them should hold up.
constexpr char kPatience[] = "2s";
constexpr char kSharedPatience[] = "50ms";
constexpr char kNoLimit[] = "0";

constexpr Statement kFind{
    "SELECT request_type, fingerprint, response, refusals FROM idempotent_requests"
    " WHERE user_id = $1 AND key = $2"};
// Waits for a transaction that is claiming a key, with $6 as lock_timeout; $7 is that from then on. Gives
// back the keys that are claimed: none that has an answer, or under which a request was refused since this
// one began. Goes by the keys' order, so that two do not wait for each other.
constexpr Statement kClaim{R"(
    INSERT INTO idempotent_requests AS known (user_id, key, request_type, fingerprint, refusals)
    SELECT user_id, key, request_type, fingerprint, refusals
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[])
         AS asked (user_id, key, request_type, fingerprint, refusals)
    WHERE set_config('lock_timeout', $6, true) <> ''
    ORDER BY user_id, key
    ON CONFLICT (user_id, key) DO UPDATE
      SET request_type = excluded.request_type, fingerprint = excluded.fingerprint, created_at = now()
      WHERE known.response IS NULL AND known.refusals = excluded.refusals
    RETURNING user_id, key, set_config('lock_timeout', $7, true))"};
constexpr Statement kKeep{R"(
    UPDATE idempotent_requests AS known SET response = decode(kept.response, 'hex')
    FROM (SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[]) LIMIT cardinality($1))
         AS kept (user_id, key, response)
    WHERE known.user_id = kept.user_id AND known.key = kept.key)"};
// Waits as kClaim does.
constexpr Statement kRefuse{R"(
    INSERT INTO idempotent_requests AS known (user_id, key, refusals)
    SELECT $1::bigint, $2::text, $3::bigint + 1 WHERE set_config('lock_timeout', $4, true) <> ''
    ON CONFLICT (user_id, key) DO UPDATE
      SET refusals = known.refusals + 1, created_at = now()
      WHERE known.response IS NULL)"};

// The field that the header fills. Throws std::logic_error where the type has none.
const FieldDescriptor* KeyField(const google::protobuf::Descriptor& type) {
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor* field = type.field(i);
    if (field->options().GetExtension(api::v1::header) == kHeader &&
        field->type() == FieldDescriptor::TYPE_STRING && !field->is_repeated()) {
      return field;
    }
  }
  throw std::logic_error(type.full_name() + " has no field for the Idempotency-Key");
}

// What a statement that waits for the key's row has given; nothing where it has waited too long.
std::optional<pqxx::result> InTime(const auto& execute) {
  try {
    return execute();
  } catch (const pqxx::sql_error& error) {
    if (error.sqlstate() != kLockNotAvailable) throw;
    return std::nullopt;
  }
}

}  // namespace

Refusal KeyReused() {
  return {.code = Code::kInvalidArgument,
          .message = "this Idempotency-Key was used with another request",
          .reason = "IDEMPOTENCY_KEY_REUSED"};
}

Refusal KeyBusy() {
  return {.code = Code::kAborted,
          .message = "another request with this Idempotency-Key is running, try again",
          .reason = "IDEMPOTENCY_KEY_BUSY"};
}

std::string Fingerprint(const Message& request) {
  const std::unique_ptr<Message> copy(request.New());
  copy->CopyFrom(request);
  copy->GetReflection()->ClearField(copy.get(), KeyField(*request.GetDescriptor()));
  return Sha256Hex(copy->SerializeAsString());
}

Attempt::Attempt(postgres::Pool& db, const Call& call, const Message& request)
    : db_(db),
      call_(call),
      key_(request.GetReflection()->GetString(request, KeyField(*request.GetDescriptor()))),
      request_type_(request.GetDescriptor()->full_name()),
      fingerprint_(key_.empty() ? std::string() : Fingerprint(request)) {}

Result<Attempt::Use> Attempt::Replay(const pqxx::row& row, Message* earlier) {
  if (row["request_type"].as<std::string>() != request_type_ ||
      row["fingerprint"].as<std::string>() != fingerprint_) {
    decided_ = true;
    return KeyReused();
  }
  if (!earlier->ParseFromString(pqxx::binarystring(row["response"]).str())) {
    throw std::runtime_error("idempotent_requests.response is no " +
                             earlier->GetDescriptor()->full_name());
  }
  kept_ = true;
  call_.replayed = true;
  return Use::kReplayed;
}

Result<Attempt::Use> Attempt::LookUp(Message* earlier) {
  const pqxx::result rows =
      postgres::Read(db_, [&](Tx& tx) { return tx.Exec(kFind, UserId(), key_); });
  if (rows.empty()) return Use::kFree;
  if (!rows[0]["response"].is_null()) return Replay(rows[0], earlier);
  refusals_seen_ = rows[0]["refusals"].as<int64_t>();
  return Use::kFree;
}

pqxx::result Attempt::ClaimKeys(Tx& tx, const std::vector<Attempt*>& attempts, const char* patience,
                                const char* patience_afterwards) {
  return tx.Exec(kClaim, Array(attempts, &Attempt::UserId), Array(attempts, &Attempt::key_),
                 Array(attempts, &Attempt::request_type_), Array(attempts, &Attempt::fingerprint_),
                 Array(attempts, &Attempt::refusals_seen_), patience, patience_afterwards);
}

Result<Attempt::Use> Attempt::Claim(Tx& tx, Message* earlier) {
  if (key_.empty()) return Use::kFree;
  decided_ = false;
  const auto claimed = InTime([&] { return ClaimKeys(tx, {this}, kPatience, kNoLimit); });
  if (claimed && !claimed->empty()) return Use::kFree;
  decided_ = true;
  if (!claimed) return KeyBusy();
  const pqxx::row row = tx.Exec(kFind, UserId(), key_)[0];
  if (!row["response"].is_null()) return Replay(row, earlier);
  return KeyBusy();
}

void Attempt::Keep(Tx& tx, const Message& answer) {
  KeepTogether(tx, {{this, &answer}});
}

std::vector<bool> Attempt::ClaimTogether(Tx& tx, const std::vector<Attempt*>& attempts) {
  std::vector<bool> free(attempts.size());
  std::map<std::pair<int64_t, std::string>, size_t> first;  // of each key
  std::vector<Attempt*> keyed;
  for (size_t i = 0; i < attempts.size(); ++i) {
    Attempt* attempt = attempts[i];
    if (attempt->key_.empty()) {
      free[i] = true;
    } else if (first.emplace(std::pair(attempt->UserId(), attempt->key_), i).second) {
      keyed.push_back(attempt);
    }
  }
  if (keyed.empty()) return free;
  for (const pqxx::row& row : ClaimKeys(tx, keyed, kSharedPatience, kSharedPatience)) {
    free[first.at({row[0].as<int64_t>(), row[1].as<std::string>()})] = true;
  }
  return free;
}

void Attempt::KeepTogether(Tx& tx,
                           const std::vector<std::pair<Attempt*, const Message*>>& answers) {
  std::vector<int64_t> users;
  std::vector<std::string> keys, bytes;
  for (const auto& [attempt, answer] : answers) {
    if (attempt->key_.empty()) continue;
    users.push_back(attempt->UserId());
    keys.push_back(attempt->key_);
    bytes.push_back(absl::BytesToHexString(answer->SerializeAsString()));
    attempt->kept_ = true;
  }
  if (keys.empty()) return;
  tx.Exec(kKeep, Array(users), Array(keys), Array(bytes));
}

Result<Attempt::Use> Attempt::Refuse(Message* earlier) {
  return postgres::InTransaction(db_, [&](Tx& tx) -> Result<Use> {
    const auto refused =
        InTime([&] { return tx.Exec(kRefuse, UserId(), key_, refusals_seen_, kPatience); });
    if (!refused) return KeyBusy();
    if (refused->affected_rows() == 1) return Use::kFree;
    return Replay(tx.Exec(kFind, UserId(), key_)[0], earlier);
  });
}

}  // namespace shop::idempotency
