#include "shipping/shipment_store.h"

#include <google/protobuf/util/time_util.h>

namespace shop::shipping {
namespace {

using google::protobuf::util::TimeUtil;

constexpr postgres::Statement kInsert{R"sql(
    INSERT INTO shipments (order_uuid, order_id, user_id, status, tracking_number, address)
    VALUES ($1, $2, $3, $4, $5, $6::jsonb)
    ON CONFLICT (order_uuid) DO NOTHING)sql"};

constexpr postgres::Statement kFind{R"sql(
    SELECT id, order_id, user_id, status, tracking_number,
           (extract(epoch FROM created_at) * 1000000)::bigint AS created_at,
           (extract(epoch FROM updated_at) * 1000000)::bigint AS updated_at
    FROM shipments
    WHERE order_id = $1 AND ($2::bigint IS NULL OR user_id = $2))sql"};

}  // namespace

bool InsertOnce(postgres::Tx& tx, const NewShipment& shipment) {
  return tx.Exec(kInsert, shipment.order_uuid, shipment.order_id, shipment.user_id,
                 StatusText(shipment.status), shipment.tracking_number, shipment.address)
             .affected_rows() == 1;
}

std::optional<v1::Shipment> FindShipment(postgres::Pool& db, int64_t order_id,
                                         std::optional<int64_t> owner) {
  const pqxx::result found =
      postgres::Read(db, [&](postgres::Tx& tx) { return tx.Exec(kFind, order_id, owner); });
  if (found.empty()) return std::nullopt;
  const pqxx::row row = found[0];
  v1::Shipment shipment;
  shipment.set_id(row["id"].as<int64_t>());
  shipment.set_order_id(row["order_id"].as<int64_t>());
  shipment.set_user_id(row["user_id"].as<int64_t>());
  shipment.set_status(ParseStatus(row["status"].as<std::string>()));
  shipment.set_tracking_number(row["tracking_number"].as<std::string>());
  *shipment.mutable_created_at() =
      TimeUtil::MicrosecondsToTimestamp(row["created_at"].as<int64_t>());
  *shipment.mutable_updated_at() =
      TimeUtil::MicrosecondsToTimestamp(row["updated_at"].as<int64_t>());
  return shipment;
}

}  // namespace shop::shipping
