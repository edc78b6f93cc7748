#include "shipping/shipment_store.h"

#include <absl/strings/ascii.h>
#include <google/protobuf/util/time_util.h>

#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/messaging/outbox.h"
#include "common/postgres/columns.h"

namespace shop::shipping {
namespace {

using google::protobuf::util::TimeUtil;
using postgres::Array;
using postgres::Statement;
using postgres::Tx;

// What ReadShipment reads.
#define SHIPMENT_COLUMNS "order_uuid, order_id, user_id, state, tracking_number, traceparent"

constexpr Statement kLock{"SELECT " SHIPMENT_COLUMNS
                          " FROM shipments"
                          " WHERE order_uuid IN (SELECT unnest($1::uuid[]) LIMIT cardinality($1))"
                          " ORDER BY order_uuid FOR UPDATE"};

constexpr Statement kLockByNumber{"SELECT " SHIPMENT_COLUMNS
                                  " FROM shipments WHERE order_id = $1 FOR UPDATE"};

// The index shipments_due has them in this order.
constexpr Statement kLockDue{"SELECT " SHIPMENT_COLUMNS R"sql( FROM shipments
    WHERE state = $1 AND updated_at <= now() - $2 * interval '1 millisecond'
      AND state IN ('READY', 'DISPATCHED')
    ORDER BY updated_at LIMIT $3 FOR UPDATE SKIP LOCKED)sql"};

// Waits for other transactions that make the shipments of these orders. Answers which it has made.
constexpr Statement kInsert{R"sql(
    INSERT INTO shipments
      (order_uuid, order_id, user_id, state, tracking_number, address, traceparent)
    SELECT order_uuid, order_id, user_id, state, tracking_number, nullif(address, '')::jsonb,
           traceparent
    FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[],
                $7::text[])
      AS made (order_uuid, order_id, user_id, state, tracking_number, address, traceparent)
    ON CONFLICT (order_uuid) DO NOTHING
    RETURNING order_uuid)sql"};

// updated_at says since when a shipment has been in its state.
constexpr Statement kAdvance{R"sql(
    UPDATE shipments s SET state = g.state, updated_at = now()
    FROM (SELECT * FROM unnest($1::uuid[], $2::text[]) LIMIT cardinality($1)) AS g(order_uuid, state)
    WHERE s.order_uuid = g.order_uuid)sql"};

constexpr Statement kFind{R"sql(
    SELECT id, order_id, user_id, state, tracking_number,
           (extract(epoch FROM created_at) * 1000000)::bigint AS created_at,
           (extract(epoch FROM updated_at) * 1000000)::bigint AS updated_at
    FROM shipments
    WHERE order_id = $1 AND ($2::bigint IS NULL OR user_id = $2))sql"};

Shipment ReadShipment(const pqxx::row& row) {
  return {.order_uuid = row["order_uuid"].as<std::string>(),
          .order_id = row["order_id"].as<int64_t>(),
          .user_id = row["user_id"].as<int64_t>(),
          .state = ParseState(row["state"].as<std::string>()),
          .tracking_number = row["tracking_number"].as<std::string>()};
}

std::string TextOfState(const Shipment& shipment) {
  return std::string(StateText(shipment.state));
}

void Advance(Tx& tx, const std::vector<Shipment>& shipments) {
  if (shipments.empty()) return;
  tx.Exec(kAdvance, Array(shipments, &Shipment::order_uuid), Array(shipments, TextOfState));
}

// The UUID as PostgreSQL writes it, whichever way it was written that PostgreSQL reads.
std::string Canonical(const std::string& uuid) {
  std::string canonical;
  for (const char c : uuid) {
    if (c == '-' || c == '{' || c == '}') continue;
    const size_t size = canonical.size();
    if (size == 8 || size == 13 || size == 18 || size == 23) canonical += '-';
    canonical += absl::ascii_tolower(static_cast<unsigned char>(c));
  }
  return canonical;
}

// Those of these UUIDs that have a shipment, which is locked.
std::map<std::string, Shipment> Lock(Tx& tx, const std::set<std::string>& uuids) {
  std::map<std::string, Shipment> shipments;
  for (const pqxx::row& row : tx.Exec(kLock, Array(std::vector(uuids.begin(), uuids.end())))) {
    Shipment shipment = ReadShipment(row);
    std::string uuid = shipment.order_uuid;
    shipments.emplace(std::move(uuid), std::move(shipment));
  }
  return shipments;
}

// Answers the UUIDs of those that it has made: the others have been made meanwhile.
std::set<std::string> Insert(Tx& tx, const std::vector<std::pair<Shipment, TraceContext>>& made) {
  if (made.empty()) return {};
  const auto column = [&](const auto& value) {
    return Array(made, [&](const auto& one) { return std::invoke(value, one.first); });
  };
  return postgres::FirstColumn<std::set<std::string>>(
      tx.Exec(kInsert, column(&Shipment::order_uuid), column(&Shipment::order_id),
              column(&Shipment::user_id), column(TextOfState), column(&Shipment::tracking_number),
              column([](const Shipment& shipment) { return shipment.address.value_or(""); }),
              Array(made, [](const auto& one) { return one.second.Header(); })));
}

}  // namespace

std::vector<Result<Shipment>> MoveAll(Tx& tx, const std::vector<Step>& steps, Fact fact) {
  std::vector<Result<Shipment>> outcomes;
  std::vector<std::string> uuids;
  for (const Step& step : steps) {
    outcomes.emplace_back(step.fresh);
    uuids.push_back(Canonical(step.fresh.order_uuid));
  }
  std::set<std::string> unsettled(uuids.begin(), uuids.end());
  while (!unsettled.empty()) {
    const std::map<std::string, Shipment> found = Lock(tx, unsettled);
    std::map<std::string, Shipment> now = found;
    std::set<std::string> changed;
    std::map<std::string, TraceContext> makers;
    std::vector<std::pair<std::string, messaging::Envelope>> events;  // by UUID
    for (size_t i = 0; i < steps.size(); ++i) {
      const std::string& uuid = uuids[i];
      if (!unsettled.contains(uuid)) continue;
      const auto& [fresh, context] = steps[i];
      Shipment& shipment = now.try_emplace(uuid, fresh).first->second;
      const Result<Transition> transition = Apply(&shipment, fact);
      if (!transition) {
        outcomes[i] = transition.refusal();
        continue;
      }
      outcomes[i] = shipment;
      if (!transition->changed) continue;
      changed.insert(uuid);
      makers.try_emplace(uuid, context.trace);
      if (transition->event) {
        events.emplace_back(uuid, messaging::MakeEvent(*transition->event, context));
      }
    }
    std::vector<Shipment> moved;
    std::vector<std::pair<Shipment, TraceContext>> made;
    for (const std::string& uuid : changed) {
      if (found.contains(uuid)) {
        moved.push_back(now.at(uuid));
      } else {
        made.emplace_back(now.at(uuid), makers.at(uuid));
      }
    }
    Advance(tx, moved);
    const std::set<std::string> inserted = Insert(tx, made);
    unsettled.clear();
    for (const auto& [shipment, trace] : made) {
      // It has been made meanwhile, and is found now.
      const std::string uuid = Canonical(shipment.order_uuid);
      if (!inserted.contains(uuid)) unsettled.insert(uuid);
    }
    std::vector<messaging::Envelope> published;
    for (auto& [uuid, event] : events) {
      if (!unsettled.contains(uuid)) published.push_back(std::move(event));
    }
    messaging::Publish(tx, published);
  }
  return outcomes;
}

Result<Shipment> Move(Tx& tx, const Shipment& fresh, Fact fact,
                      const messaging::EventContext& context) {
  return MoveAll(tx, {Step{fresh, context}}, fact).front();
}

Result<Shipment> MoveExisting(Tx& tx, int64_t order_id, Fact fact,
                              const messaging::EventContext& context) {
  const pqxx::result found = tx.Exec(kLockByNumber, order_id);
  if (found.empty()) return Refusal{Code::kNotFound, "there is no shipment of such an order"};
  return Move(tx, ReadShipment(found[0]), fact, context);
}

size_t MoveDue(Tx& tx, State state, std::chrono::milliseconds after, Fact fact, int limit) {
  std::vector<Shipment> moved;
  std::vector<messaging::Envelope> events;
  for (const pqxx::row& row : tx.Exec(kLockDue, StateText(state), after.count(), limit)) {
    Shipment shipment = ReadShipment(row);
    const Result<Transition> transition = Apply(&shipment, fact);
    if (!transition || !transition->changed) continue;
    const auto trace = TraceContext::FromHeader(row["traceparent"].as<std::string>(""));
    if (transition->event) {
      events.push_back(
          messaging::MakeEvent(*transition->event, {.source = "shipping", .trace = trace}));
    }
    moved.push_back(std::move(shipment));
  }
  if (moved.empty()) return 0;
  Advance(tx, moved);
  messaging::Publish(tx, events);
  return moved.size();
}

std::optional<v1::Shipment> FindShipment(Tx& tx, int64_t order_id, std::optional<int64_t> owner) {
  const pqxx::result found = tx.Exec(kFind, order_id, owner);
  if (found.empty()) return std::nullopt;
  const pqxx::row row = found[0];
  const State state = ParseState(row["state"].as<std::string>());
  v1::Shipment shipment;
  shipment.set_id(row["id"].as<int64_t>());
  shipment.set_order_id(row["order_id"].as<int64_t>());
  shipment.set_user_id(row["user_id"].as<int64_t>());
  shipment.set_status(StatusOf(state));
  if (ShowsTrackingNumber(state)) {
    shipment.set_tracking_number(row["tracking_number"].as<std::string>());
  }
  *shipment.mutable_created_at() =
      TimeUtil::MicrosecondsToTimestamp(row["created_at"].as<int64_t>());
  *shipment.mutable_updated_at() =
      TimeUtil::MicrosecondsToTimestamp(row["updated_at"].as<int64_t>());
  return shipment;
}

}  // namespace shop::shipping
