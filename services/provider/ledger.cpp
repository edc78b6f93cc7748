#include "provider/ledger.h"

#include <absl/strings/escaping.h>

#include <functional>

#include "common/crypto/random.h"
#include "common/json/codec.h"
#include "provider/token.h"

namespace shop::provider {
namespace {

using postgres::Statement;
using postgres::Tx;

struct Payment {
  int64_t id = 0;
  std::string key;
  std::string status;
  int64_t amount = 0;
  std::string currency;
  std::string token;
  int64_t authorized = 0;
  int64_t captured = 0;
  int64_t refunded = 0;
  std::string code;
  std::string message;
};

#define PAYMENT_COLUMNS \
  " id, key, status, amount, currency, token, authorized, captured, refunded, code, message "

Payment ReadPayment(const pqxx::row& row) {
  return {row["id"].as<int64_t>(),           row["key"].as<std::string>(),
          row["status"].as<std::string>(),   row["amount"].as<int64_t>(),
          row["currency"].as<std::string>(), row["token"].as<std::string>(),
          row["authorized"].as<int64_t>(),   row["captured"].as<int64_t>(),
          row["refunded"].as<int64_t>(),     row["code"].as<std::string>(),
          row["message"].as<std::string>()};
}

// With a lock on its row, which an unknown key gets too, so that two requests of one key come one after
// the other; its status is then empty, and it goes unless it is stored.
Payment Lock(Tx& tx, const std::string& key) {
  static constexpr Statement kClaim{
      "INSERT INTO payments (key, status) VALUES ($1, '') ON CONFLICT (key) DO NOTHING"};
  static constexpr Statement kLock{"SELECT" PAYMENT_COLUMNS
                                   "FROM payments WHERE key = $1 FOR UPDATE"};
  tx.Exec(kClaim, key);
  return ReadPayment(tx.Exec(kLock, key)[0]);
}

void Store(Tx& tx, const Payment& payment, std::optional<int64_t> decide_after_ms = {}) {
  static constexpr Statement kStore{R"sql(
      UPDATE payments
      SET status = $2, amount = $3, currency = $4, token = $5, authorized = $6, captured = $7,
          refunded = $8, code = $9, message = $10, updated_at = now(),
          decide_at = now() + $11 * interval '1 millisecond'
      WHERE id = $1)sql"};
  tx.Exec(kStore, payment.id, payment.status, payment.amount, payment.currency, payment.token,
          payment.authorized, payment.captured, payment.refunded, payment.code, payment.message,
          decide_after_ms);
}

// The same text as PAYMENT_JSON.
std::string Json(const Payment& payment) {
  const auto text = [](std::string_view value) {
    std::string quoted;
    json::WriteString(value, &quoted);
    return quoted;
  };
  return "{\"key\":" + text(payment.key) + ",\"status\":" + text(payment.status) +
         ",\"amount\":" + std::to_string(payment.amount) +
         ",\"currency\":" + text(payment.currency) +
         ",\"authorized\":" + std::to_string(payment.authorized) +
         ",\"captured\":" + std::to_string(payment.captured) +
         ",\"refunded\":" + std::to_string(payment.refunded) + ",\"code\":" + text(payment.code) +
         ",\"message\":" + text(payment.message) + "}";
}

#define PAYMENT_JSON                                                           \
  R"sql('{"key":' || to_json(key) || ',"status":' || to_json(status) ||)sql"   \
  R"sql( ',"amount":' || amount || ',"currency":' || to_json(currency) ||)sql" \
  R"sql( ',"authorized":' || authorized || ',"captured":' || captured ||)sql"  \
  R"sql( ',"refunded":' || refunded || ',"code":' || to_json(code) ||)sql"     \
  R"sql( ',"message":' || to_json(message) || '}')sql"

Answer Show(const Payment& payment) {
  const int status = payment.status == "PENDING" ? 202 : payment.status == "DECLINED" ? 402 : 200;
  return {.status = status, .body = Json(payment)};
}

// Says what stands in the way, and how the payment is.
Answer Conflict(const Payment& payment, std::string_view message) {
  Answer answer = Error(409, "conflict", message);
  answer.body.pop_back();
  answer.body += ",\"payment\":" + Json(payment) + "}";
  return answer;
}

Answer NotFound() {
  return Error(404, "not_found", "there is no payment with this key");
}

void AddWebhooks(Tx& tx, const Payment& payment, int copies) {
  static constexpr Statement kAdd{"INSERT INTO webhooks (event_id, body) VALUES ($1, $2)"};
  const auto bytes = RandomBytes<12>();
  const std::string id =
      "evt_" + absl::BytesToHexString({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  const std::string type = payment.status == "DECLINED" ? "payment.declined" : "payment.authorized";
  const std::string body =
      "{\"id\":\"" + id + "\",\"type\":\"" + type + "\"," + Json(payment).substr(1);
  for (int i = 0; i < copies; ++i) tx.Exec(kAdd, id, body);
}

// Runs `work` unless the idempotency key has an answer already. What is answered with a 4xx other than
// 402 had no effect: it is rolled back, key and all, and a repeat is decided anew.
Answer Once(postgres::Pool& db, const Request& request, const std::function<Answer(Tx&)>& work) {
  static constexpr Statement kClaim{
      "INSERT INTO answers (idempotency_key, fingerprint, status, body) VALUES ($1, $2, 0, '')"
      " ON CONFLICT (idempotency_key) DO NOTHING"};
  static constexpr Statement kEarlier{
      "SELECT fingerprint, status, body FROM answers WHERE idempotency_key = $1"};
  static constexpr Statement kComplete{
      "UPDATE answers SET status = $2, body = $3 WHERE idempotency_key = $1"};
  std::optional<Answer> answer;
  db.RunInTransaction([&](Tx& tx) {
    // Waits for another request with this key.
    if (tx.Exec(kClaim, request.idempotency_key, request.fingerprint).affected_rows() == 0) {
      const pqxx::row earlier = tx.Exec(kEarlier, request.idempotency_key)[0];
      answer = earlier[0].as<std::string>() == request.fingerprint
                   ? Answer{.status = earlier[1].as<int>(), .body = earlier[2].as<std::string>()}
                   : Error(422, "idempotency_key_reused",
                           "this Idempotency-Key was used with another request");
      return false;
    }
    answer = work(tx);
    const bool kept = answer->status < 300 || answer->status == 402;
    if (kept) tx.Exec(kComplete, request.idempotency_key, answer->status, answer->body);
    return kept;
  });
  return *std::move(answer);
}

// What most requests are: the first one with their idempotency key, of a payment that is as it should be.
// One statement carries it out and keeps its answer, or does neither and returns no row. Then Once decides.
// Should the connection break, it is run again and finds its own work.
template <typename... Args>
pqxx::result AtOnce(postgres::Pool& db, const Statement& statement, const Args&... args) {
  try {
    return postgres::Read(db, [&](Tx& tx) { return tx.Exec(statement, args...); });
  } catch (const pqxx::unique_violation&) {
    return {};  // the idempotency key has an answer
  }
}

// A payment that is not there yet.
bool AuthorizeAtOnce(postgres::Pool& db, const Request& request, const Payment& payment,
                     std::optional<int64_t> decide_after_ms, const Answer& answer) {
  static constexpr Statement kAuthorize{R"sql(
      WITH authorized AS (
        INSERT INTO payments (key, status, amount, currency, token, authorized, code, message,
                              decide_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now() + $9 * interval '1 millisecond')
        ON CONFLICT (key) DO NOTHING
        RETURNING key)
      INSERT INTO answers (idempotency_key, fingerprint, status, body)
      SELECT $10, $11, $12, $13 FROM authorized
      RETURNING status)sql"};
  return !AtOnce(db, kAuthorize, payment.key, payment.status, payment.amount, payment.currency,
                 payment.token, payment.authorized, payment.code, payment.message, decide_after_ms,
                 request.idempotency_key, request.fingerprint, answer.status, answer.body)
              .empty();
}

// Whether this is the first time that the request is dropped.
bool DropOnce(postgres::Pool& db, const Request& request) {
  static constexpr Statement kDrop{
      "INSERT INTO dropped (idempotency_key) VALUES ($1) ON CONFLICT DO NOTHING"};
  return postgres::InTransaction(db, [&](Tx& tx) {
           return tx.Exec(kDrop, request.idempotency_key).affected_rows();
         }) == 1;
}

}  // namespace

Answer Error(int status, std::string_view code, std::string_view message) {
  Answer answer{.status = status, .body = "{\"error\":{\"code\":"};
  json::WriteString(code, &answer.body);
  answer.body += ",\"message\":";
  json::WriteString(message, &answer.body);
  answer.body += "}}";
  return answer;
}

Answer Ledger::Authorize(const Request& request) {
  const Behaviour& behaviour = BehaviourOf(request.token);
  if (behaviour.drop_first && DropOnce(db_, request)) {
    return {.delivery = Answer::Delivery::kNever};
  }
  Payment wanted;
  wanted.key = request.key;
  wanted.amount = request.amount;
  wanted.currency = request.currency;
  wanted.token = behaviour.token;  // the outcome, and nobody's own
  std::optional<int64_t> decide_after_ms;
  if (!behaviour.decline_code.empty()) {
    wanted.status = "DECLINED";
    wanted.code = behaviour.decline_code;
    wanted.message = behaviour.decline_message;
  } else if (behaviour.late) {
    wanted.status = "PENDING";
    decide_after_ms = decide_after_.count();
  } else {
    wanted.status = "AUTHORIZED";
    wanted.authorized = wanted.amount;
  }
  const int webhooks = wanted.status == "AUTHORIZED" ? behaviour.webhooks : 0;
  Answer answer = Show(wanted);
  bool carried_out =
      webhooks == 0 && AuthorizeAtOnce(db_, request, wanted, decide_after_ms, answer);
  if (!carried_out) {
    answer = Once(db_, request, [&](Tx& tx) {
      const Payment payment = Lock(tx, request.key);
      if (!payment.status.empty()) {
        return Conflict(payment, payment.status == "VOIDED" ? "the payment was voided"
                                                            : "the key has a payment already");
      }
      wanted.id = payment.id;
      Store(tx, wanted, decide_after_ms);
      AddWebhooks(tx, wanted, webhooks);
      carried_out = true;
      return Show(wanted);
    });
  }
  // A repeat is answered.
  if (carried_out && behaviour.silent) answer.delivery = Answer::Delivery::kNever;
  if (carried_out && behaviour.reset) answer.delivery = Answer::Delivery::kReset;
  return answer;
}

Answer Ledger::Capture(const Request& request) {
  static constexpr Statement kCapture{R"sql(
      WITH captured AS (
        UPDATE payments SET status = 'CAPTURED', captured = authorized, updated_at = now()
        WHERE key = $1 AND status = 'AUTHORIZED' AND authorized = $2
        RETURNING *)
      INSERT INTO answers (idempotency_key, fingerprint, status, body)
      SELECT $3, $4, 200, )sql" PAYMENT_JSON R"sql( FROM captured
      RETURNING body)sql"};
  const pqxx::result captured = AtOnce(db_, kCapture, request.key, request.amount,
                                       request.idempotency_key, request.fingerprint);
  if (!captured.empty()) return {.status = 200, .body = captured[0][0].as<std::string>()};
  return Once(db_, request, [&](Tx& tx) {
    Payment payment = Lock(tx, request.key);
    if (payment.status.empty()) return NotFound();
    if (payment.status != "AUTHORIZED") return Conflict(payment, "there is nothing to capture");
    if (request.amount != payment.authorized) {
      return Conflict(payment, "another amount is authorized");
    }
    payment.status = "CAPTURED";
    payment.captured = payment.authorized;
    Store(tx, payment);
    return Show(payment);
  });
}

Answer Ledger::Void(const Request& request) {
  return Once(db_, request, [&](Tx& tx) {
    Payment payment = Lock(tx, request.key);
    if (payment.status == "CAPTURED") return Conflict(payment, "it is captured: refund it");
    if (payment.status == "DECLINED") return Conflict(payment, "it was declined");
    payment.status = "VOIDED";
    payment.authorized = 0;
    Store(tx, payment);
    return Show(payment);
  });
}

Answer Ledger::Refund(const Request& request) {
  return Once(db_, request, [&](Tx& tx) {
    Payment payment = Lock(tx, request.key);
    if (payment.status.empty()) return NotFound();
    if (request.amount > payment.captured - payment.refunded) {
      return Conflict(payment, "more than is left of what was captured");
    }
    payment.refunded += request.amount;
    Store(tx, payment);
    return Show(payment);
  });
}

Answer Ledger::Find(const std::string& key) {
  static constexpr Statement kFind{"SELECT" PAYMENT_COLUMNS "FROM payments WHERE key = $1"};
  const pqxx::result found = postgres::Read(db_, [&](Tx& tx) { return tx.Exec(kFind, key); });
  if (found.empty()) return NotFound();
  return {.status = 200, .body = Json(ReadPayment(found[0]))};
}

Answer Ledger::List(int64_t after, int limit) {
  static constexpr Statement kList{"SELECT" PAYMENT_COLUMNS
                                   "FROM payments WHERE id > $1 ORDER BY id LIMIT $2"};
  const pqxx::result rows =
      postgres::Read(db_, [&](Tx& tx) { return tx.Exec(kList, after, limit); });
  std::string body = "{\"payments\":[";
  int64_t last = after;
  for (const pqxx::row& row : rows) {
    const Payment payment = ReadPayment(row);
    if (last != after) body += ",";
    body += Json(payment);
    last = payment.id;
  }
  body += "]";
  if (static_cast<int>(rows.size()) == limit) body += ",\"next\":" + std::to_string(last);
  return {.status = 200, .body = body + "}"};
}

int Ledger::DecideDue() {
  static constexpr Statement kDue{"SELECT" PAYMENT_COLUMNS R"sql(
      FROM payments WHERE status = 'PENDING' AND decide_at <= now()
      ORDER BY decide_at LIMIT 100 FOR UPDATE SKIP LOCKED)sql"};
  return postgres::InTransaction(db_, [&](Tx& tx) {
    const pqxx::result due = tx.Exec(kDue);
    for (const pqxx::row& row : due) {
      Payment payment = ReadPayment(row);
      payment.status = "AUTHORIZED";
      payment.authorized = payment.amount;
      Store(tx, payment);
      AddWebhooks(tx, payment, BehaviourOf(payment.token).webhooks);
    }
    return static_cast<int>(due.size());
  });
}

std::vector<Webhook> Ledger::TakeWebhooks(int most, std::chrono::milliseconds lease) {
  static constexpr Statement kTake{R"sql(
      UPDATE webhooks SET attempts = attempts + 1, next_at = now() + $2 * interval '1 millisecond'
      WHERE id IN (SELECT id FROM webhooks WHERE sent_at IS NULL AND next_at <= now()
                   ORDER BY next_at LIMIT $1 FOR UPDATE SKIP LOCKED)
      RETURNING id, attempts, body)sql"};
  const pqxx::result taken =
      postgres::InTransaction(db_, [&](Tx& tx) { return tx.Exec(kTake, most, lease.count()); });
  std::vector<Webhook> webhooks;
  for (const pqxx::row& row : taken) {
    webhooks.push_back({row[0].as<int64_t>(), row[1].as<int>(), row[2].as<std::string>()});
  }
  return webhooks;
}

void Ledger::MarkSent(const Webhook& webhook) {
  static constexpr Statement kSent{"UPDATE webhooks SET sent_at = now() WHERE id = $1"};
  postgres::InTransaction(db_, [&](Tx& tx) { tx.Exec(kSent, webhook.id); });
}

void Ledger::SendLater(const Webhook& webhook, std::chrono::milliseconds pause) {
  static constexpr Statement kLater{
      "UPDATE webhooks SET next_at = now() + $2 * interval '1 millisecond' WHERE id = $1"};
  postgres::InTransaction(db_, [&](Tx& tx) { tx.Exec(kLater, webhook.id, pause.count()); });
}

}  // namespace shop::provider
