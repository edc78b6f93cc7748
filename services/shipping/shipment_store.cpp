#include "shipping/shipment_store.h"

#include <google/protobuf/util/time_util.h>

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
                          " FROM shipments WHERE order_uuid = $1 FOR UPDATE"};

constexpr Statement kLockByNumber{"SELECT " SHIPMENT_COLUMNS
                                  " FROM shipments WHERE order_id = $1 FOR UPDATE"};

// The index shipments_due has them in this order.
constexpr Statement kLockDue{"SELECT " SHIPMENT_COLUMNS R"sql( FROM shipments
    WHERE state = $1 AND updated_at <= now() - $2 * interval '1 millisecond'
      AND state IN ('READY', 'DISPATCHED')
    ORDER BY updated_at LIMIT $3 FOR UPDATE SKIP LOCKED)sql"};

// Waits for another transaction that makes the shipment of this order.
constexpr Statement kInsert{R"sql(
    INSERT INTO shipments
      (order_uuid, order_id, user_id, state, tracking_number, address, traceparent)
    VALUES ($1, $2, $3, $4, $5, $6::jsonb, $7)
    ON CONFLICT (order_uuid) DO NOTHING)sql"};

// updated_at says since when a shipment has been in its state.
constexpr Statement kAdvance{R"sql(
    UPDATE shipments s SET state = g.state, updated_at = now()
    FROM unnest($1::uuid[], $2::text[]) AS g(order_uuid, state)
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

void Advance(Tx& tx, const std::vector<Shipment>& shipments) {
  tx.Exec(kAdvance, Array(shipments, &Shipment::order_uuid),
          Array(shipments, [](const Shipment& s) { return std::string(StateText(s.state)); }));
}

bool Insert(Tx& tx, const Shipment& shipment, const TraceContext& trace) {
  return tx.Exec(kInsert, shipment.order_uuid, shipment.order_id, shipment.user_id,
                 StateText(shipment.state), shipment.tracking_number, shipment.address,
                 trace.Header())
             .affected_rows() == 1;
}

}  // namespace

Result<Shipment> Move(Tx& tx, const Shipment& fresh, Fact fact,
                      const messaging::EventContext& context) {
  for (;;) {
    const pqxx::result found = tx.Exec(kLock, fresh.order_uuid);
    Shipment shipment = found.empty() ? fresh : ReadShipment(found[0]);
    const Result<Transition> transition = Apply(&shipment, fact);
    if (!transition) return transition.refusal();
    if (!transition->changed) return shipment;
    if (!found.empty()) {
      Advance(tx, {shipment});
    } else if (!Insert(tx, shipment, context.trace)) {
      continue;  // it has been made meanwhile, and is found now
    }
    if (transition->event) messaging::Publish(tx, *transition->event, context);
    return shipment;
  }
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
