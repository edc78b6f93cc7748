#include "common/idempotency/idempotency.h"

#include "common/crypto/sha256.h"
#include "shop/api/v1/options.pb.h"

namespace shop::idempotency {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using postgres::Statement;
using postgres::Tx;

constexpr char kHeader[] = "Idempotency-Key";
constexpr std::string_view kLockNotAvailable = "55P03";

constexpr Statement kFind{
    "SELECT request_type, fingerprint, response, refusals FROM idempotent_requests"
    " WHERE user_id = $1 AND key = $2"};
// Waits for a transaction that is claiming the key. Changes no row when there is an answer, or when
// a request was refused since this one began.
constexpr Statement kClaim{R"(
    INSERT INTO idempotent_requests AS known (user_id, key, request_type, fingerprint)
    VALUES ($1, $2, $3, $4)
    ON CONFLICT (user_id, key) DO UPDATE
      SET request_type = excluded.request_type, fingerprint = excluded.fingerprint, created_at = now()
      WHERE known.response IS NULL AND known.refusals = $5)"};
constexpr Statement kKeep{
    "UPDATE idempotent_requests SET response = $3 WHERE user_id = $1 AND key = $2"};
// Waits as kClaim does.
constexpr Statement kRefuse{R"(
    INSERT INTO idempotent_requests AS known (user_id, key, refusals) VALUES ($1, $2, $3 + 1)
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

// Runs a statement that waits for the key's row, for two seconds at most.
Result<int64_t> ChangeRow(Tx& tx, const auto& execute) {
  tx.Run("SET LOCAL lock_timeout = '2s'");
  try {
    const auto changed = static_cast<int64_t>(execute().affected_rows());
    tx.Run("SET LOCAL lock_timeout TO DEFAULT");
    return changed;
  } catch (const pqxx::sql_error& error) {
    if (error.sqlstate() != kLockNotAvailable) throw;
    return KeyBusy();
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
      postgres::Read(db_, [&](Tx& tx) { return tx.Exec(kFind, call_.caller.user_id, key_); });
  if (rows.empty()) return Use::kFree;
  if (!rows[0]["response"].is_null()) return Replay(rows[0], earlier);
  refusals_seen_ = rows[0]["refusals"].as<int64_t>();
  return Use::kFree;
}

Result<Attempt::Use> Attempt::Claim(Tx& tx, Message* earlier) {
  if (key_.empty()) return Use::kFree;
  decided_ = false;
  const Result<int64_t> claimed = ChangeRow(tx, [&] {
    return tx.Exec(kClaim, call_.caller.user_id, key_, request_type_, fingerprint_, refusals_seen_);
  });
  if (claimed && *claimed == 1) return Use::kFree;
  decided_ = true;
  if (!claimed) return claimed.refusal();
  const pqxx::row row = tx.Exec(kFind, call_.caller.user_id, key_)[0];
  if (!row["response"].is_null()) return Replay(row, earlier);
  return KeyBusy();
}

void Attempt::Keep(Tx& tx, const Message& answer) {
  if (key_.empty()) return;
  const std::string bytes = answer.SerializeAsString();
  tx.Exec(kKeep, call_.caller.user_id, key_, pqxx::binarystring(bytes));
  kept_ = true;
}

Result<Attempt::Use> Attempt::Refuse(Message* earlier) {
  return postgres::InTransaction(db_, [&](Tx& tx) -> Result<Use> {
    const Result<int64_t> refused =
        ChangeRow(tx, [&] { return tx.Exec(kRefuse, call_.caller.user_id, key_, refusals_seen_); });
    if (!refused) return refused.refusal();
    if (*refused == 1) return Use::kFree;
    return Replay(tx.Exec(kFind, call_.caller.user_id, key_)[0], earlier);
  });
}

}  // namespace shop::idempotency
