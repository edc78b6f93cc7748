#include "payments/payment_store.h"

#include <absl/strings/ascii.h>
#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <utility>

#include "common/json/codec.h"
#include "common/messaging/event.h"
#include "common/messaging/outbox.h"
#include "common/telemetry/metrics.h"
#include "common/telemetry/trace.h"
#include "shop/events/v1/stock.pb.h"

namespace shop::payments {
namespace {

using google::protobuf::util::TimeUtil;
using postgres::Statement;
using postgres::Tx;
using std::chrono::milliseconds;

#define PAYMENT_COLUMNS                                                                              \
  R"sql( order_uuid, order_id, user_id, order_number, wanted, amount, currency, method, token, )sql" \
  R"sql( items, cancelled, asked, doubt, charge, outcome, failure_code, failure_reason, )sql"        \
  R"sql( traceparent, failures, lease, leased_until IS NOT NULL AS leased, )sql"                     \
  R"sql( (extract(epoch FROM created_at) * 1000000)::bigint AS created_us, )sql"                     \
  R"sql( (extract(epoch FROM updated_at) * 1000000)::bigint AS updated_us )sql"

constexpr Statement kCreate{R"sql(
    INSERT INTO payments (order_uuid, order_id, user_id, order_number, traceparent)
    VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (order_uuid) DO NOTHING)sql"};

constexpr Statement kLock{"SELECT" PAYMENT_COLUMNS
                          "FROM payments WHERE order_uuid = $1 FOR UPDATE"};

constexpr Statement kLockByOrder{"SELECT" PAYMENT_COLUMNS
                                 "FROM payments WHERE order_id = $1 FOR UPDATE"};

constexpr Statement kLockDue{"SELECT" PAYMENT_COLUMNS R"sql(
    FROM payments
    WHERE next_at <= now() AND (leased_until IS NULL OR leased_until <= now())
      AND ($1 OR failures = 0)
    ORDER BY next_at
    LIMIT 1
    FOR UPDATE SKIP LOCKED)sql"};

constexpr Statement kFind{"SELECT" PAYMENT_COLUMNS R"sql(
    FROM payments
    WHERE order_id = $1 AND ($2::bigint IS NULL OR user_id = $2) AND wanted)sql"};

// $17: whether there is anything to ask; $18 is the kind of schedule, $19 its milliseconds.
constexpr Statement kSave{R"sql(
    UPDATE payments
    SET user_id = $2, order_number = $3, wanted = $4, amount = $5, currency = $6, method = $7,
        token = $8, items = $9::jsonb, cancelled = $10, asked = $11, doubt = $12, charge = $13,
        outcome = $14, failure_code = $15, failure_reason = $16, updated_at = now(),
        next_at = CASE WHEN NOT $17 THEN NULL
                       WHEN $18 = 'PAUSE' THEN now() + $19 * interval '1 millisecond'
                       ELSE now() END,
        leased_until = CASE $18 WHEN 'NEWS' THEN leased_until
                                WHEN 'HOLD' THEN now() + $19 * interval '1 millisecond' END,
        lease = $20, failures = $21
    WHERE order_uuid = $1)sql"};

constexpr Statement kRefunds{R"sql(
    SELECT uuid, source, cause, amount, items, state, failure_reason,
           (extract(epoch FROM created_at) * 1000000)::bigint AS created_us,
           (extract(epoch FROM updated_at) * 1000000)::bigint AS updated_us
    FROM refunds WHERE order_uuid = $1 ORDER BY position)sql"};

constexpr Statement kSaveRefund{R"sql(
    INSERT INTO refunds (uuid, order_uuid, position, source, cause, amount, items, state,
                         failure_reason)
    VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb, $8, $9)
    ON CONFLICT (uuid) DO UPDATE
    SET state = excluded.state, failure_reason = excluded.failure_reason, updated_at = now()
    WHERE refunds.state <> excluded.state)sql"};

constexpr Statement kBeginAttempt{R"sql(
    INSERT INTO attempts (order_uuid, operation) VALUES ($1, $2) RETURNING id)sql"};

constexpr Statement kEndAttempt{R"sql(
    UPDATE attempts SET outcome = $2, detail = nullif($3, ''), ended_at = now()
    WHERE id = $1)sql"};

// Those whose worker has ended, or has taken longer than its lease.
constexpr Statement kEndLostAttempts{R"sql(
    UPDATE attempts
    SET outcome = 'UNKNOWN', detail = 'the worker did not tell', ended_at = now()
    WHERE order_uuid = $1 AND outcome IS NULL)sql"};

constexpr Statement kNoteWebhook{R"sql(
    INSERT INTO attempts (order_uuid, operation, outcome, detail, ended_at)
    VALUES ($1, 'WEBHOOK', $2, nullif($3, ''), now()))sql"};

constexpr Statement kAttempts{R"sql(
    SELECT operation, outcome, detail,
           (extract(epoch FROM started_at) * 1000000)::bigint AS started_us,
           (extract(epoch FROM ended_at) * 1000000)::bigint AS ended_us
    FROM (SELECT * FROM attempts WHERE order_uuid = $1 ORDER BY id DESC LIMIT 100) AS latest
    ORDER BY id)sql"};

// The value of Text that reads so; an enum's last value is given.
template <typename Enum>
Enum Parse(const std::string& text, Enum last) {
  for (int i = 0; i <= static_cast<int>(last); ++i) {
    if (Text(static_cast<Enum>(i)) == text) return static_cast<Enum>(i);
  }
  throw std::runtime_error("a payment has the unknown state " + text);
}

// An enum of a proto, as its bare name.
template <typename Enum>
std::string BareText(Enum value) {
  const auto* found = google::protobuf::GetEnumDescriptor<Enum>()->FindValueByNumber(value);
  return found == nullptr ? std::string() : std::string(json::BareName(found));
}

template <typename Enum>
Enum ParseBare(const std::string& text) {
  const auto* type = google::protobuf::GetEnumDescriptor<Enum>();
  for (int i = 0; i < type->value_count(); ++i) {
    if (json::BareName(type->value(i)) == text) return static_cast<Enum>(type->value(i)->number());
  }
  return {};
}

template <typename Messages>
std::string JsonList(const Messages& messages) {
  std::string text = "[";
  for (const auto& message : messages) {
    if (text.size() > 1) text += ",";
    json::Write(message, &text);
  }
  return text + "]";
}

// The list in `text`, as the field `items` of a message that has such a one.
template <typename Message>
Message ReadItems(const std::string& text) {
  Message message;
  if (!json::ReadTolerantly("{\"items\":" + text + "}", &message)) {
    throw std::runtime_error("the items of a payment cannot be read");
  }
  return message;
}

std::string RefundItems(const Refund& refund) {
  std::vector<v1::RefundLine> lines(refund.items.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    lines[i].set_product_id(refund.items[i].product_id);
    lines[i].set_quantity(refund.items[i].quantity);
  }
  return JsonList(lines);
}

Refund ReadRefund(const pqxx::row& row) {
  Refund refund;
  refund.uuid = row["uuid"].as<std::string>();
  refund.source = row["source"].as<std::string>();
  refund.cause = ParseBare<events::v1::RefundCause>(row["cause"].as<std::string>());
  refund.amount = row["amount"].as<int64_t>();
  refund.state = Parse(row["state"].as<std::string>(), RefundState::kFailed);
  refund.failure_reason = row["failure_reason"].as<std::string>();
  const auto lines = ReadItems<v1::Refund>(row["items"].as<std::string>());
  for (const v1::RefundLine& line : lines.items()) {
    refund.items.push_back({line.product_id(), line.quantity()});
  }
  return refund;
}

// Without its refunds.
StoredPayment ReadPayment(const pqxx::row& row) {
  StoredPayment stored;
  Payment& payment = stored.payment;
  payment.order.uuid = row["order_uuid"].as<std::string>();
  payment.order.id = row["order_id"].as<int64_t>();
  payment.order.user_id = row["user_id"].as<int64_t>();
  payment.order.number = row["order_number"].as<std::string>();
  payment.wanted = row["wanted"].as<bool>();
  payment.amount = row["amount"].as<int64_t>();
  payment.currency = row["currency"].as<std::string>();
  payment.method = ParseBare<orders::v1::PaymentMethod>(row["method"].as<std::string>());
  payment.token = row["token"].as<std::string>();
  const auto items = ReadItems<events::v1::StockReserved>(row["items"].as<std::string>());
  payment.items.assign(items.items().begin(), items.items().end());
  payment.cancelled = row["cancelled"].as<bool>();
  payment.asked = row["asked"].as<bool>();
  payment.doubt = Parse(row["doubt"].as<std::string>(), Doubt::kNotFound);
  payment.charge = Parse(row["charge"].as<std::string>(), Charge::kCaptured);
  payment.outcome = Parse(row["outcome"].as<std::string>(), Outcome::kFailed);
  payment.failure_code = row["failure_code"].as<std::string>();
  payment.failure_reason = row["failure_reason"].as<std::string>();
  stored.traceparent = row["traceparent"].as<std::string>();
  stored.failures = row["failures"].as<int>();
  stored.lease = row["lease"].as<int64_t>();
  return stored;
}

StoredPayment WithRefunds(Tx& tx, const pqxx::row& row) {
  StoredPayment stored = ReadPayment(row);
  for (const pqxx::row& refund : tx.Exec(kRefunds, stored.payment.order.uuid)) {
    stored.payment.refunds.push_back(ReadRefund(refund));
  }
  return stored;
}

std::optional<StoredPayment> FirstOf(Tx& tx, const pqxx::result& rows) {
  if (rows.empty()) return std::nullopt;
  return WithRefunds(tx, rows[0]);
}

// Each is published once, and its id follows from what it is about.
std::string CauseOf(const Event& event) {
  if (const auto* refunded = std::get_if<events::v1::PaymentRefunded>(&event)) {
    return "refund/" + refunded->refund_uuid();
  }
  return std::visit([](const auto& told) { return "payment/" + told.order_uuid(); }, event);
}

// As it is decided: again when the transaction has to be.
void Count(const Event& event) {
  struct CounterOf {
    const Outcomes& outcomes;
    auto& operator()(const events::v1::PaymentCompleted&) const { return outcomes.completed; }
    auto& operator()(const events::v1::PaymentFailed&) const { return outcomes.failed; }
    auto& operator()(const events::v1::PaymentRefunded&) const { return outcomes.refunded; }
  };
  std::visit(CounterOf{CountedOutcomes()}, event).Increment();
}

void PublishAll(Tx& tx, const StoredPayment& stored, const std::vector<Event>& events) {
  const TraceContext trace = TraceContext::FromHeader(stored.traceparent);
  for (const Event& event : events) {
    Count(event);
    std::visit(
        [&](const auto& told) {
          messaging::Publish(tx, told,
                             {.source = "payments", .trace = trace, .cause_id = CauseOf(event)});
        },
        event);
  }
}

std::string_view Text(Schedule::Kind kind) {
  static constexpr std::array<std::string_view, 4> kTexts{"NEWS", "RELEASE", "PAUSE", "HOLD"};
  return kTexts.at(static_cast<size_t>(kind));
}

// Begins the call that is to be made now, and holds the payment for it.
std::optional<Job> Begin(Tx& tx, StoredPayment stored, std::vector<Event> events,
                         const Pace& pace) {
  const NextAsk next = Next(stored.payment);
  if (next.ask == Ask::kNothing) {
    Save(tx, stored, events, {Schedule::Kind::kRelease});
    return std::nullopt;
  }
  const Step step = Apply(&stored.payment, CallBegins{next.ask});
  events.insert(events.end(), step.events.begin(), step.events.end());
  Save(tx, stored, events, {Schedule::Kind::kHold, pace.lease});
  Job job{.stored = std::move(stored), .next = next};
  job.attempt =
      tx.Exec(kBeginAttempt, job.stored.payment.order.uuid, Text(next.ask))[0][0].as<int64_t>();
  return job;
}

milliseconds PauseAfter(int failures, const Pace& pace) {
  return std::min(pace.first_pause * (1 << std::clamp(failures, 0, 20)), pace.longest_pause);
}

// Whether the payment is further on than before: what was in doubt before does not count.
bool Advances(const Payment& before, const Payment& after, const std::optional<Fact>& fact) {
  return before.charge != after.charge || std::holds_alternative<RefundDone>(*fact) ||
         std::holds_alternative<RefundRefused>(*fact);
}

google::protobuf::Timestamp Time(const pqxx::field& microseconds) {
  return TimeUtil::MicrosecondsToTimestamp(microseconds.as<int64_t>());
}

v1::Refund Shown(const Payment& payment, const pqxx::row& row) {
  const Refund refund = ReadRefund(row);
  v1::Refund shown;
  shown.set_uuid(refund.uuid);
  shown.set_order_id(payment.order.id);
  shown.set_amount(refund.amount);
  shown.set_currency(payment.currency);
  shown.set_status(refund.state == RefundState::kDone     ? v1::REFUND_STATUS_COMPLETED
                   : refund.state == RefundState::kFailed ? v1::REFUND_STATUS_FAILED
                                                          : v1::REFUND_STATUS_PENDING);
  shown.set_cause(BareText(refund.cause));
  for (const RefundLine& line : refund.items) {
    v1::RefundLine* item = shown.add_items();
    item->set_product_id(line.product_id);
    item->set_quantity(line.quantity);
  }
  if (!refund.failure_reason.empty()) shown.set_failure_reason(refund.failure_reason);
  *shown.mutable_created_at() = Time(row["created_us"]);
  *shown.mutable_updated_at() = Time(row["updated_us"]);
  return shown;
}

v1::PaymentAttempt ShownAttempt(const pqxx::row& row) {
  v1::PaymentAttempt attempt;
  attempt.set_operation(row["operation"].as<std::string>());
  if (!row["outcome"].is_null()) attempt.set_outcome(row["outcome"].as<std::string>());
  if (!row["detail"].is_null()) attempt.set_detail(row["detail"].as<std::string>());
  *attempt.mutable_started_at() = Time(row["started_us"]);
  if (!row["ended_us"].is_null()) *attempt.mutable_ended_at() = Time(row["ended_us"]);
  return attempt;
}

}  // namespace

const Outcomes& CountedOutcomes() {
  static auto& family = CounterFamily(
      "payments_total", "Payments that were completed or failed, and refunds, by which of these");
  static const Outcomes outcomes{family.Add({{"outcome", "completed"}}),
                                 family.Add({{"outcome", "failed"}}),
                                 family.Add({{"outcome", "refunded"}})};
  return outcomes;
}

StoredPayment LockOrCreate(Tx& tx, const Order& order, const std::string& traceparent) {
  tx.Exec(kCreate, order.uuid, order.id, order.user_id, order.number, traceparent);
  return Lock(tx, order.uuid).value();
}

std::optional<StoredPayment> Lock(Tx& tx, const std::string& order_uuid) {
  return FirstOf(tx, tx.Exec(kLock, order_uuid));
}

std::optional<StoredPayment> LockByOrder(Tx& tx, int64_t order_id) {
  return FirstOf(tx, tx.Exec(kLockByOrder, order_id));
}

std::optional<StoredPayment> LockByKey(Tx& tx, const std::string& key) {
  constexpr std::string_view kUuid = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
  const bool is_uuid =
      std::equal(key.begin(), key.end(), kUuid.begin(), kUuid.end(), [](char c, char form) {
        return form == '-' ? c == '-' : absl::ascii_isxdigit(static_cast<unsigned char>(c));
      });
  return is_uuid ? Lock(tx, key) : std::nullopt;
}

void Save(Tx& tx, const StoredPayment& stored, const std::vector<Event>& events,
          Schedule schedule) {
  const Payment& payment = stored.payment;
  const bool asks = Next(payment).ask != Ask::kNothing;
  tx.Exec(kSave, payment.order.uuid, payment.order.user_id, payment.order.number, payment.wanted,
          payment.amount, payment.currency, BareText(payment.method), payment.token,
          JsonList(payment.items), payment.cancelled, payment.asked, Text(payment.doubt),
          Text(payment.charge), Text(payment.outcome), payment.failure_code, payment.failure_reason,
          asks, Text(schedule.kind), schedule.time.count(), stored.lease, stored.failures);
  for (size_t i = 0; i < payment.refunds.size(); ++i) {
    const Refund& refund = payment.refunds[i];
    tx.Exec(kSaveRefund, refund.uuid, payment.order.uuid, static_cast<int64_t>(i), refund.source,
            BareText(refund.cause), refund.amount, RefundItems(refund), Text(refund.state),
            refund.failure_reason);
  }
  PublishAll(tx, stored, events);
  if (asks) tx.SignalCommit(kWorkSignal);
}

std::optional<Job> BeginNext(postgres::Pool& db, const Pace& pace, bool retries) {
  return postgres::InTransaction(db, [&](Tx& tx) -> std::optional<Job> {
    const pqxx::result due = tx.Exec(kLockDue, retries);
    if (due.empty()) return std::nullopt;
    StoredPayment stored = WithRefunds(tx, due[0]);
    if (due[0]["leased"].as<bool>()) tx.Exec(kEndLostAttempts, stored.payment.order.uuid);
    ++stored.lease;
    return Begin(tx, std::move(stored), {}, pace);
  });
}

std::optional<Job> Finish(postgres::Pool& db, const Job& job, const std::optional<Fact>& fact,
                          const Ending& ending, const Pace& pace, bool stopping) {
  return postgres::InTransaction(db, [&](Tx& tx) -> std::optional<Job> {
    tx.Exec(kEndAttempt, job.attempt, ending.outcome, ending.detail);
    StoredPayment stored = Lock(tx, job.stored.payment.order.uuid).value();
    const Payment before = stored.payment;
    const Step step = fact ? Apply(&stored.payment, *fact) : Step();
    if (step.changed && Advances(before, stored.payment, fact)) stored.failures = 0;
    if (stored.lease != job.stored.lease) {
      if (step.changed) Save(tx, stored, step.events, {Schedule::Kind::kNews});
      return std::nullopt;
    }
    if (stopping) {
      Save(tx, stored, step.events, {Schedule::Kind::kRelease});
      return std::nullopt;
    }
    if (step.changed) return Begin(tx, std::move(stored), step.events, pace);
    const milliseconds pause = PauseAfter(stored.failures, pace);
    ++stored.failures;
    Save(tx, stored, {}, {Schedule::Kind::kPause, pause});
    return std::nullopt;
  });
}

void NoteWebhook(Tx& tx, const std::string& order_uuid, const Ending& ending) {
  tx.Exec(kNoteWebhook, order_uuid, ending.outcome, ending.detail);
}

std::optional<v1::Payment> FindPayment(postgres::Pool& db, int64_t order_id,
                                       std::optional<int64_t> owner) {
  return postgres::InTransaction(db, [&](Tx& tx) -> std::optional<v1::Payment> {
    const pqxx::result found = tx.Exec(kFind, order_id, owner);
    if (found.empty()) return std::nullopt;
    Payment payment = ReadPayment(found[0]).payment;
    v1::Payment shown;
    for (const pqxx::row& row : tx.Exec(kRefunds, payment.order.uuid)) {
      payment.refunds.push_back(ReadRefund(row));
      *shown.add_refunds() = Shown(payment, row);
    }
    for (const pqxx::row& row : tx.Exec(kAttempts, payment.order.uuid)) {
      *shown.add_attempts() = ShownAttempt(row);
    }
    shown.set_order_id(payment.order.id);
    shown.set_user_id(payment.order.user_id);
    shown.set_status(StatusOf(payment));
    shown.set_amount(payment.amount);
    shown.set_captured(Captured(payment));
    shown.set_refunded(Refunded(payment));
    shown.set_currency(payment.currency);
    shown.set_payment_method(payment.method);
    if (payment.outcome == Outcome::kFailed) {
      shown.set_failure_code(payment.failure_code);
      shown.set_failure_reason(payment.failure_reason);
    }
    *shown.mutable_created_at() = Time(found[0]["created_us"]);
    *shown.mutable_updated_at() = Time(found[0]["updated_us"]);
    return shown;
  });
}

v1::Refund FindRefund(Tx& tx, const std::string& uuid) {
  static constexpr Statement kOrderOf{"SELECT order_uuid FROM refunds WHERE uuid = $1"};
  static constexpr Statement kPaymentOf{"SELECT" PAYMENT_COLUMNS
                                        "FROM payments WHERE order_uuid = $1"};
  const std::string order_uuid = tx.Exec(kOrderOf, uuid)[0][0].as<std::string>();
  const Payment payment = ReadPayment(tx.Exec(kPaymentOf, order_uuid)[0]).payment;
  for (const pqxx::row& row : tx.Exec(kRefunds, order_uuid)) {
    if (row["uuid"].as<std::string>() == uuid) return Shown(payment, row);
  }
  throw std::logic_error("there is no refund " + uuid);
}

}  // namespace shop::payments
