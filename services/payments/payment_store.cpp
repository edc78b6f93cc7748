#include "payments/payment_store.h"

#include <absl/strings/ascii.h>
#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <array>
#include <functional>
#include <iterator>
#include <map>
#include <set>
#include <stdexcept>
#include <utility>

#include "common/json/codec.h"
#include "common/messaging/event.h"
#include "common/messaging/outbox.h"
#include "common/postgres/columns.h"
#include "common/telemetry/metrics.h"
#include "common/telemetry/trace.h"
#include "shop/events/v1/stock.pb.h"

namespace shop::payments {
namespace {

using google::protobuf::util::TimeUtil;
using postgres::Array;
using postgres::Statement;
using postgres::Tx;
using std::chrono::milliseconds;

#define PAYMENT_COLUMNS                                                                              \
  R"sql( order_uuid, order_id, user_id, order_number, wanted, amount, currency, method, token, )sql" \
  R"sql( CASE WHEN charge = 'CAPTURED' THEN items ELSE '[]' END AS items, )sql"                      \
  R"sql( cancelled, asked, doubt, charge, outcome, failure_code, failure_reason, )sql"               \
  R"sql( traceparent, failures, lease, leased_until IS NOT NULL AS leased, )sql"                     \
  R"sql( (extract(epoch FROM created_at) * 1000000)::bigint AS created_us, )sql"                     \
  R"sql( (extract(epoch FROM updated_at) * 1000000)::bigint AS updated_us )sql"

#define DUE                \
  "SELECT" PAYMENT_COLUMNS \
  R"sql(FROM payments WHERE next_at <= now() AND (leased_until IS NULL OR leased_until <= now()) )sql"

// Of what the provider was never asked. A row that has the UUID or the number is left alone: of two
// transactions with the same new order the later one may meet either first.
constexpr Statement kInsert{R"sql(
    INSERT INTO payments (order_uuid, order_id, user_id, order_number, wanted, amount, currency,
                          method, token, items, cancelled, outcome, failure_code, failure_reason,
                          traceparent, next_at)
    SELECT order_uuid, order_id, user_id, order_number, wanted, amount, currency, method, token,
           items::jsonb, cancelled, outcome, failure_code, failure_reason, traceparent,
           CASE WHEN asks THEN now() END
    FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::boolean[], $6::bigint[],
                $7::text[], $8::text[], $9::text[], $10::text[], $11::boolean[], $12::text[],
                $13::text[], $14::text[], $15::text[], $16::boolean[])
         AS n (order_uuid, order_id, user_id, order_number, wanted, amount, currency, method, token,
               items, cancelled, outcome, failure_code, failure_reason, traceparent, asks)
    ORDER BY order_uuid
    ON CONFLICT DO NOTHING
    RETURNING order_uuid)sql"};

// One after the other, in the sequence of the array.
#define LOCK_EACH                                                       \
  "SELECT p.* FROM unnest($1::uuid[]) AS n (uuid) CROSS JOIN LATERAL (" \
  "SELECT" PAYMENT_COLUMNS "FROM payments WHERE order_uuid = n.uuid LIMIT 1 FOR UPDATE"
constexpr Statement kLock{LOCK_EACH ") AS p"};
constexpr Statement kLockFree{LOCK_EACH " SKIP LOCKED) AS p"};

constexpr Statement kLockByOrder{"SELECT" PAYMENT_COLUMNS
                                 "FROM payments WHERE order_id = $1 FOR UPDATE"};

// Up to $1 payments, of these up to $2 whose last call has brought nothing. No more are locked: a part
// is asked only for as many rows as are still wanted.
constexpr Statement kLockDue{R"sql(
    WITH again AS ()sql" DUE "AND failures > 0 ORDER BY next_at LIMIT $2 FOR UPDATE SKIP LOCKED"
                             R"sql(
    ), fresh AS ()sql" DUE "AND failures = 0 ORDER BY next_at LIMIT $1 FOR UPDATE SKIP LOCKED"
                             R"sql(
    ) (SELECT * FROM again UNION ALL SELECT * FROM fresh) LIMIT $1)sql"};

constexpr Statement kFind{"SELECT" PAYMENT_COLUMNS R"sql(
    FROM payments
    WHERE order_id = $1 AND ($2::bigint IS NULL OR user_id = $2) AND wanted)sql"};

// What a payment is about, where that was not known when its row was made.
constexpr Statement kDescribe{R"sql(
    UPDATE payments AS p
    SET user_id = n.user_id, order_number = n.order_number, wanted = true, amount = n.amount,
        currency = n.currency, method = n.method, items = n.items::jsonb
    FROM (SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::bigint[], $5::text[],
                               $6::text[], $7::text[]) LIMIT cardinality($1))
         AS n (order_uuid, user_id, order_number, amount, currency, method, items)
    WHERE p.order_uuid = n.order_uuid)sql"};

// All that moves, of any number of payments, with the calls that have ended and those that begin. A payment
// that is held stays where it is in the sequence of those that are due, as long as there is anything
// to ask: so the update touches no index.
constexpr Statement kUpdate{R"sql(
    WITH updated AS (
      UPDATE payments AS p
      SET cancelled = n.cancelled, token = n.token, asked = n.asked, doubt = n.doubt,
          charge = n.charge, outcome = n.outcome, failure_code = n.failure_code,
          failure_reason = n.failure_reason, lease = n.lease, failures = n.failures,
          updated_at = now(),
          next_at = CASE WHEN NOT asks THEN NULL
                         WHEN schedule = 'PAUSE' THEN now() + milliseconds * interval '1 millisecond'
                         WHEN schedule = 'HOLD' THEN coalesce(next_at, now())
                         ELSE now() END,
          leased_until = CASE schedule
                         WHEN 'NEWS' THEN leased_until
                         WHEN 'HOLD' THEN now() + milliseconds * interval '1 millisecond' END
      FROM (SELECT * FROM unnest($1::uuid[], $2::boolean[], $3::text[], $4::boolean[], $5::text[],
                                 $6::text[], $7::text[], $8::text[], $9::text[], $10::bigint[],
                                 $11::integer[], $12::boolean[], $13::text[], $14::bigint[])
            LIMIT cardinality($1))
           AS n (order_uuid, cancelled, token, asked, doubt, charge, outcome, failure_code,
                 failure_reason, lease, failures, asks, schedule, milliseconds)
      WHERE p.order_uuid = n.order_uuid
    ), ended AS (
      UPDATE attempts AS a
      SET outcome = n.outcome, detail = nullif(n.detail, ''), ended_at = now()
      FROM (SELECT * FROM unnest($15::bigint[], $16::text[], $17::text[]) LIMIT cardinality($15))
           AS n (id, outcome, detail)
      WHERE a.id = n.id
    )
    INSERT INTO attempts (order_uuid, operation)
    SELECT * FROM unnest($18::uuid[], $19::text[])
    RETURNING order_uuid, id)sql"};

constexpr Statement kRefunds{R"sql(
    SELECT order_uuid, uuid, source, cause, amount, items, state, failure_reason,
           (extract(epoch FROM created_at) * 1000000)::bigint AS created_us,
           (extract(epoch FROM updated_at) * 1000000)::bigint AS updated_us
    FROM refunds WHERE order_uuid = ANY ($1::uuid[]) ORDER BY order_uuid, position)sql"};

constexpr Statement kSaveRefunds{R"sql(
    INSERT INTO refunds (uuid, order_uuid, position, source, cause, amount, items, state,
                         failure_reason)
    SELECT uuid, order_uuid, position, source, cause, amount, items::jsonb, state, failure_reason
    FROM unnest($1::uuid[], $2::uuid[], $3::integer[], $4::text[], $5::text[], $6::bigint[], $7::text[],
                $8::text[], $9::text[])
         AS n (uuid, order_uuid, position, source, cause, amount, items, state, failure_reason)
    ON CONFLICT (uuid) DO UPDATE
    SET state = excluded.state, failure_reason = excluded.failure_reason, updated_at = now()
    WHERE refunds.state <> excluded.state)sql"};

// Those whose worker has ended, or has taken longer than its lease.
constexpr Statement kEndLostAttempts{R"sql(
    UPDATE attempts
    SET outcome = 'UNKNOWN', detail = 'the worker did not tell', ended_at = now()
    WHERE order_uuid = ANY ($1::uuid[]) AND outcome IS NULL)sql"};

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

// Refunds are of captured money alone, so that most payments need not be asked for any.
std::vector<StoredPayment> WithRefunds(Tx& tx, const pqxx::result& rows) {
  std::vector<StoredPayment> payments;
  std::map<std::string, std::vector<Refund>> refunds;
  for (const pqxx::row& row : rows) {
    payments.push_back(ReadPayment(row));
    const Payment& payment = payments.back().payment;
    if (payment.charge == Charge::kCaptured) refunds[payment.order.uuid];
  }
  if (refunds.empty()) return payments;
  const std::string captured = Array(refunds, [](const auto& entry) { return entry.first; });
  for (const pqxx::row& row : tx.Exec(kRefunds, captured)) {
    refunds.at(row["order_uuid"].as<std::string>()).push_back(ReadRefund(row));
  }
  for (StoredPayment& stored : payments) {
    const auto found = refunds.find(stored.payment.order.uuid);
    if (found != refunds.end()) stored.payment.refunds = std::move(found->second);
  }
  return payments;
}

std::map<std::string, StoredPayment> ByUuid(std::vector<StoredPayment> payments) {
  std::map<std::string, StoredPayment> by_uuid;
  for (StoredPayment& stored : payments) {
    const std::string uuid = stored.payment.order.uuid;
    by_uuid.emplace(uuid, std::move(stored));
  }
  return by_uuid;
}

std::optional<StoredPayment> FirstOf(Tx& tx, const pqxx::result& rows) {
  if (rows.empty()) return std::nullopt;
  return std::move(WithRefunds(tx, rows).front());
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

// A payment that is to be stored.
struct Change {
  StoredPayment stored;
  Schedule schedule;
  std::vector<Event> events;
};

bool Asks(const Change& change) {
  return Next(change.stored.payment).ask != Ask::kNothing;
}

void PublishAll(Tx& tx, const std::vector<Change>& changes) {
  std::vector<messaging::Envelope> envelopes;
  for (const Change& change : changes) {
    for (const Event& event : change.events) {
      Count(event);
      const messaging::EventContext context{
          .source = "payments",
          .trace = TraceContext::FromHeader(change.stored.traceparent),
          .cause_id = CauseOf(event)};
      envelopes.push_back(
          std::visit([&](const auto& told) { return messaging::MakeEvent(told, context); }, event));
    }
  }
  messaging::Publish(tx, envelopes);
}

std::string_view Text(Schedule::Kind kind) {
  static constexpr std::array<std::string_view, 4> kTexts{"NEWS", "RELEASE", "PAUSE", "HOLD"};
  return kTexts.at(static_cast<size_t>(kind));
}

// A column of the payments that are to be stored.
template <typename Value>
std::string Column(const std::vector<Change>& changes, const Value& value) {
  return Array(changes,
               [&](const Change& change) { return std::invoke(value, change.stored.payment); });
}

template <typename Value>
std::string OrderColumn(const std::vector<Change>& changes, const Value& value) {
  return Column(changes, [&](const Payment& payment) { return payment.order.*value; });
}

// Of an enum, its text.
template <auto Value>
std::string TextColumn(const std::vector<Change>& changes) {
  return Column(changes, [](const Payment& payment) { return std::string(Text(payment.*Value)); });
}

std::string MethodColumn(const std::vector<Change>& changes) {
  return Column(changes, [](const Payment& payment) { return BareText(payment.method); });
}

std::string ItemsColumn(const std::vector<Change>& changes) {
  return Column(changes, [](const Payment& payment) { return JsonList(payment.items); });
}

// What is recorded of calls, for people.
struct Attempts {
  struct Ended {
    int64_t id;
    Ending ending;
  };
  struct Begun {
    std::string order_uuid;
    Ask ask;
  };
  std::vector<Ended> ended;
  std::vector<Begun> begun;
};

// By order_uuid, of the attempts that begin.
using AttemptIds = std::map<std::string, int64_t>;

void SaveRefunds(Tx& tx, const std::vector<Change>& changes) {
  struct Row {
    const std::string* order_uuid;
    int64_t position;
    const Refund* refund;
  };
  std::vector<Row> rows;
  for (const Change& change : changes) {
    const Payment& payment = change.stored.payment;
    for (const Refund& refund : payment.refunds) {
      rows.push_back({&payment.order.uuid, &refund - payment.refunds.data(), &refund});
    }
  }
  if (rows.empty()) return;
  const auto column = [&](const auto& value) {
    return Array(rows, [&](const Row& row) { return value(*row.refund); });
  };
  tx.Exec(kSaveRefunds, column([](const Refund& refund) { return refund.uuid; }),
          Array(rows, [](const Row& row) { return *row.order_uuid; }), Array(rows, &Row::position),
          column([](const Refund& refund) { return refund.source; }),
          column([](const Refund& refund) { return BareText(refund.cause); }),
          column([](const Refund& refund) { return refund.amount; }), column(RefundItems),
          column([](const Refund& refund) { return std::string(Text(refund.state)); }),
          column([](const Refund& refund) { return refund.failure_reason; }));
}

// Stores payments that this transaction has locked, publishes their events and schedules their next
// calls.
AttemptIds Update(Tx& tx, const std::vector<Change>& changes, const Attempts& attempts = {}) {
  AttemptIds ids;
  if (changes.empty() && attempts.ended.empty()) return ids;
  const auto& ended = attempts.ended;
  const auto& begun = attempts.begun;
  const pqxx::result rows = tx.Exec(
      kUpdate, OrderColumn(changes, &Order::uuid), Column(changes, &Payment::cancelled),
      Column(changes, &Payment::token), Column(changes, &Payment::asked),
      TextColumn<&Payment::doubt>(changes), TextColumn<&Payment::charge>(changes),
      TextColumn<&Payment::outcome>(changes), Column(changes, &Payment::failure_code),
      Column(changes, &Payment::failure_reason),
      Array(changes, [](const Change& change) { return change.stored.lease; }),
      Array(changes, [](const Change& change) { return change.stored.failures; }),
      Array(changes, Asks),
      Array(changes, [](const Change& change) { return std::string(Text(change.schedule.kind)); }),
      Array(changes, [](const Change& change) { return change.schedule.time.count(); }),
      Array(ended, &Attempts::Ended::id),
      Array(ended, [](const Attempts::Ended& call) { return call.ending.outcome; }),
      Array(ended, [](const Attempts::Ended& call) { return call.ending.detail; }),
      Array(begun, &Attempts::Begun::order_uuid),
      Array(begun, [](const Attempts::Begun& call) { return std::string(Text(call.ask)); }));
  for (const pqxx::row& row : rows) ids[row[0].as<std::string>()] = row[1].as<int64_t>();
  SaveRefunds(tx, changes);
  PublishAll(tx, changes);
  const bool due = std::ranges::any_of(changes, [](const Change& change) {
    return change.schedule.kind == Schedule::Kind::kNews && Asks(change);
  });
  if (due) tx.SignalCommit(kWorkSignal);
  return ids;
}

// Inserts those of the payments that are not there yet, and publishes and schedules what follows for
// them. Returns their UUIDs.
std::set<std::string> Insert(Tx& tx, std::vector<Change> changes) {
  if (changes.empty()) return {};
  const auto inserted = postgres::FirstColumn<std::set<std::string>>(
      tx.Exec(kInsert, OrderColumn(changes, &Order::uuid), OrderColumn(changes, &Order::id),
              OrderColumn(changes, &Order::user_id), OrderColumn(changes, &Order::number),
              Column(changes, &Payment::wanted), Column(changes, &Payment::amount),
              Column(changes, &Payment::currency), MethodColumn(changes),
              Column(changes, &Payment::token), ItemsColumn(changes),
              Column(changes, &Payment::cancelled), TextColumn<&Payment::outcome>(changes),
              Column(changes, &Payment::failure_code), Column(changes, &Payment::failure_reason),
              Array(changes, [](const Change& change) { return change.stored.traceparent; }),
              Array(changes, Asks)));
  std::erase_if(changes, [&](const Change& change) {
    return !inserted.contains(change.stored.payment.order.uuid);
  });
  PublishAll(tx, changes);
  if (std::ranges::any_of(changes, Asks)) tx.SignalCommit(kWorkSignal);
  return inserted;
}

// What a turn comes to.
struct Decided {
  std::vector<Change> changes;
  std::vector<Job> jobs;
  Attempts attempts;
};

// Begins the call that is to be made now, and holds the payment for it. Without one it is released.
void Begin(StoredPayment stored, std::vector<Event> events, bool retry, const Pace& pace,
           Decided* decided) {
  const NextAsk next = Next(stored.payment);
  if (next.ask == Ask::kNothing) {
    decided->changes.push_back({std::move(stored), {Schedule::Kind::kRelease}, std::move(events)});
    return;
  }
  const Step step = Apply(&stored.payment, CallBegins{next.ask});
  events.insert(events.end(), step.events.begin(), step.events.end());
  decided->attempts.begun.push_back({stored.payment.order.uuid, next.ask});
  decided->jobs.push_back({.stored = stored, .next = next, .retry = retry});
  decided->changes.push_back(
      {std::move(stored), {Schedule::Kind::kHold, pace.lease}, std::move(events)});
}

milliseconds PauseAfter(int failures, const Pace& pace) {
  return std::min(pace.first_pause * (1 << std::clamp(failures, 0, 20)), pace.longest_pause);
}

// Whether the payment is further on than before: what was in doubt before does not count.
bool Advances(Charge before, Charge after, const Fact& fact) {
  return before != after || std::holds_alternative<RefundDone>(fact) ||
         std::holds_alternative<RefundRefused>(fact);
}

// What calls have told of a payment.
struct Told {
  bool news = false;
  bool advances = false;
  std::vector<Event> events = {};
  const Made* by_holder = nullptr;  // the call of whoever has the lease
};

// Takes in what a call has brought.
void TakeResult(const Made& call, StoredPayment* stored, Told* told, Attempts* attempts) {
  if (stored->lease == call.job.stored.lease) told->by_holder = &call;
  attempts->ended.push_back({call.job.attempt, call.ending});
  const Charge before = stored->payment.charge;
  Step step = call.fact ? Apply(&stored->payment, *call.fact) : Step();
  if (!step.changed) return;
  told->news = true;
  if (Advances(before, stored->payment.charge, *call.fact)) {
    stored->failures = 0;
    told->advances = true;
  }
  std::ranges::move(step.events, std::back_inserter(told->events));
}

// Whether the very same would be asked again, and nothing has come of it.
bool IsStuck(const StoredPayment& stored, const Told& told) {
  const NextAsk& asked = told.by_holder->job.next;
  return !told.news || (!told.advances && Next(stored.payment).ask == asked.ask);
}

// Decides how a payment goes on of which calls have told.
void GoOn(StoredPayment stored, Told told, const Pace& pace, bool stopping, Decided* decided) {
  if (told.by_holder == nullptr) {
    if (!told.news) return;
    decided->changes.push_back(
        {std::move(stored), {Schedule::Kind::kNews}, std::move(told.events)});
  } else if (stopping) {
    decided->changes.push_back(
        {std::move(stored), {Schedule::Kind::kRelease}, std::move(told.events)});
  } else if (IsStuck(stored, told)) {
    const milliseconds pause = PauseAfter(stored.failures++, pace);
    decided->changes.push_back(
        {std::move(stored), {Schedule::Kind::kPause, pause}, std::move(told.events)});
  } else {
    Begin(std::move(stored), std::move(told.events), told.by_holder->job.retry, pace, decided);
  }
}

// Leases payments that are due, but for those that this transaction has locked before. Returns whether
// there may be more.
bool LeaseDue(Tx& tx, const Room& room, const std::map<std::string, StoredPayment>& locked,
              const Pace& pace, Decided* decided) {
  const auto retrying = static_cast<size_t>(std::ranges::count_if(decided->jobs, &Job::retry));
  const auto calls = static_cast<int64_t>(room.calls - decided->jobs.size());
  const auto retries = static_cast<int64_t>(room.retries - std::min(room.retries, retrying));
  const pqxx::result due = tx.Exec(kLockDue, calls, retries);
  std::vector<StoredPayment> leased = WithRefunds(tx, due);
  std::vector<std::string> lost;
  for (size_t i = 0; i < leased.size(); ++i) {
    StoredPayment& stored = leased[i];
    if (locked.contains(stored.payment.order.uuid)) continue;
    const pqxx::row row = due[static_cast<pqxx::result::size_type>(i)];
    if (row["leased"].as<bool>()) lost.push_back(stored.payment.order.uuid);
    ++stored.lease;
    const bool retry = stored.failures > 0;
    Begin(std::move(stored), {}, retry, pace, decided);
  }
  if (!lost.empty()) tx.Exec(kEndLostAttempts, Array(lost));
  return static_cast<int64_t>(due.size()) == calls;
}

// One turn, with `lock` for the payments of the calls that were made.
Turn Advance(Tx& tx, const Statement& lock, const std::vector<Made>& made, const Room& room,
             const Pace& pace, bool stopping) {
  const auto uuid_of = [](const Made& call) { return call.job.stored.payment.order.uuid; };
  Turn turn{.more = room.calls > 0};
  Decided decided;
  std::map<std::string, StoredPayment> locked;
  std::set<std::string> uuids;
  for (const Made& call : made) uuids.insert(uuid_of(call));
  if (!uuids.empty()) {
    locked = ByUuid(WithRefunds(tx, tx.Exec(lock, Array(uuids, std::identity()))));
  }
  std::map<std::string, Told> told;
  for (size_t i = 0; i < made.size(); ++i) {
    const auto found = locked.find(uuid_of(made[i]));
    if (found == locked.end()) {
      turn.locked.push_back(i);
    } else {
      TakeResult(made[i], &found->second, &told[found->first], &decided.attempts);
    }
  }
  for (auto& [uuid, of_it] : told) {
    GoOn(std::move(locked.at(uuid)), std::move(of_it), pace, stopping, &decided);
  }
  if (room.calls > decided.jobs.size()) turn.more = LeaseDue(tx, room, locked, pace, &decided);

  const AttemptIds ids = Update(tx, decided.changes, decided.attempts);
  turn.jobs = std::move(decided.jobs);
  for (Job& job : turn.jobs) job.attempt = ids.at(job.stored.payment.order.uuid);
  return turn;
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

Result<std::vector<int64_t>> TakeIn(Tx& tx, const std::vector<Heard>& heard) {
  std::map<std::string, std::vector<const Heard*>> by_uuid;
  for (const Heard& one : heard) by_uuid[one.order.uuid].push_back(&one);
  const auto take_in = [&](StoredPayment stored) -> std::optional<Change> {
    Change change{std::move(stored), {Schedule::Kind::kNews}, {}};
    bool changed = false;
    for (const Heard* one : by_uuid.at(change.stored.payment.order.uuid)) {
      Step step = Apply(&change.stored.payment, one->fact);
      changed = changed || step.changed;
      std::ranges::move(step.events, std::back_inserter(change.events));
    }
    if (!changed) return std::nullopt;
    change.stored.failures = 0;
    return change;
  };

  // Most are new: those are one statement.
  std::vector<Change> made;
  std::set<std::string> makes;
  for (const auto& [uuid, facts] : by_uuid) {
    StoredPayment fresh{.payment = {}, .traceparent = facts.front()->traceparent};
    fresh.payment.order = facts.front()->order;
    std::optional<Change> change = take_in(std::move(fresh));
    if (!change) continue;
    made.push_back(*std::move(change));
    makes.insert(uuid);
  }
  for (const std::string& uuid : Insert(tx, std::move(made))) by_uuid.erase(uuid);
  if (by_uuid.empty()) return std::vector<int64_t>();

  const std::string uuids = Array(by_uuid, [](const auto& entry) { return entry.first; });
  auto locked = ByUuid(WithRefunds(tx, tx.Exec(kLock, uuids)));
  std::vector<Change> changes;
  std::vector<Change> described;
  std::vector<int64_t> unknown;
  for (const auto& [uuid, facts] : by_uuid) {
    const auto found = locked.find(uuid);
    if (found == locked.end()) {
      const int64_t order_id = facts.front()->order.id;
      if (makes.contains(uuid)) {
        throw std::runtime_error("order " + std::to_string(order_id) +
                                 " has a payment under another UUID");
      }
      unknown.push_back(order_id);
      continue;
    }
    for (const Heard* one : facts) {
      const auto* returned = std::get_if<Returned>(&one->fact);
      if (returned != nullptr && HasToWait(found->second.payment, *returned)) {
        return Refusal{Code::kAborted, "refunds that are under way take what this return is due"};
      }
    }
    const bool was_wanted = found->second.payment.wanted;
    std::optional<Change> change = take_in(std::move(found->second));
    if (!change) continue;
    if (!was_wanted && change->stored.payment.wanted) described.push_back(*change);
    changes.push_back(*std::move(change));
  }
  if (!described.empty()) {
    tx.Exec(kDescribe, OrderColumn(described, &Order::uuid),
            OrderColumn(described, &Order::user_id), OrderColumn(described, &Order::number),
            Column(described, &Payment::amount), Column(described, &Payment::currency),
            MethodColumn(described), ItemsColumn(described));
  }
  Update(tx, changes);
  return unknown;
}

std::optional<StoredPayment> LockByOrder(Tx& tx, int64_t order_id) {
  return FirstOf(tx, tx.Exec(kLockByOrder, order_id));
}

bool IsUuid(std::string_view text) {
  constexpr std::string_view kUuid = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
  return std::equal(text.begin(), text.end(), kUuid.begin(), kUuid.end(), [](char c, char form) {
    return form == '-' ? c == '-' : absl::ascii_isxdigit(static_cast<unsigned char>(c));
  });
}

std::optional<StoredPayment> LockByKey(Tx& tx, const std::string& key) {
  if (!IsUuid(key)) return std::nullopt;
  return FirstOf(tx, tx.Exec(kLock, Array(std::vector{key})));
}

void Save(Tx& tx, const StoredPayment& stored, const std::vector<Event>& events,
          Schedule schedule) {
  Update(tx, {{stored, schedule, events}});
}

Turn TakeTurn(postgres::Pool& db, const std::vector<Made>& made, const Room& room, const Pace& pace,
              bool stopping) {
  return postgres::InTransaction(
      db, [&](Tx& tx) { return Advance(tx, kLockFree, made, room, pace, stopping); });
}

std::optional<Job> Finish(postgres::Pool& db, const Made& made, const Pace& pace, bool stopping) {
  return postgres::InTransaction(db, [&](Tx& tx) -> std::optional<Job> {
    Turn turn = Advance(tx, kLock, {made}, {}, pace, stopping);
    if (turn.jobs.empty()) return std::nullopt;
    return std::move(turn.jobs.front());
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
    for (const pqxx::row& row : tx.Exec(kRefunds, Array(std::vector{payment.order.uuid}))) {
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
  for (const pqxx::row& row : tx.Exec(kRefunds, Array(std::vector{order_uuid}))) {
    if (row["uuid"].as<std::string>() == uuid) return Shown(payment, row);
  }
  throw std::logic_error("there is no refund " + uuid);
}

}  // namespace shop::payments
