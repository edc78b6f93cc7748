#include "reconciler/databases.h"

#include <fmt/format.h>

#include <algorithm>
#include <type_traits>
#include <unordered_map>
#include <utility>

#include "common/postgres/columns.h"

namespace shop::reconciler {
namespace {

using postgres::Array;
using postgres::Statement;
using postgres::Tx;

constexpr int kFetch = 1000;  // rows of a cursor at a time

// What `read` answers; an error of it names the database.
template <typename Reading>
auto Naming(const std::string& service, const Reading& read) {
  try {
    return read();
  } catch (const std::exception& error) {
    throw Unreadable("the database of " + service + ": " + error.what());
  }
}

// Runs `work(Tx&)`, which is one statement: that is one round trip, and read-only by the role.
template <typename Work>
auto ReadOne(postgres::Pool& pool, const std::string& service, const Work& work) {
  return Naming(service, [&] { return postgres::Read(pool, work); });
}

// Runs `work(Tx&)` in a transaction that cannot write and sees one moment. It may be run again.
template <typename Work>
auto ReadTogether(postgres::Pool& pool, const std::string& service, const Work& work) {
  return Naming(service, [&] {
    return postgres::InTransaction(pool, [&](Tx& tx) {
      tx.Run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY");
      return work(tx);
    });
  });
}

// Calls `take` with each row of a query, of which only some are in memory at a time. Nothing is
// called twice, so a connection that breaks is an error.
void ReadEach(postgres::Pool& pool, const std::string& service, const std::string& query,
              const std::function<void(const pqxx::result&)>& take) {
  bool begun = false;
  ReadTogether(pool, service, [&](Tx& tx) {
    if (std::exchange(begun, true)) throw std::runtime_error("the connection broke");
    // The first row of a sum over everything may take its time.
    tx.Run("SET LOCAL statement_timeout = '10min'");
    tx.Run("DECLARE every NO SCROLL CURSOR FOR " + query);
    for (;;) {
      const pqxx::result rows = tx.Run(fmt::format("FETCH {} FROM every", kFetch));
      if (rows.empty()) return;
      take(rows);
    }
  });
}

template <typename T>
T Or(const pqxx::field& field, T otherwise) {
  return field.is_null() ? otherwise : field.as<T>();
}
std::string TextOf(const pqxx::field& field) {
  return Or<std::string>(field, "");
}

// --- orders

constexpr Statement kOrdersAfter{R"sql(
    SELECT id, uuid::text, seq,
           created_at > to_timestamp($3) AND EXISTS (
             SELECT FROM order_timeline
             WHERE order_id = id AND sequence = 1 AND what = 'ORDER_CREATED'),
           updated_at < to_timestamp($4)
    FROM orders WHERE id > $1 ORDER BY id LIMIT $2)sql"};

// xmin is the transaction that wrote the row last.
constexpr Statement kOrders{R"sql(
    SELECT uuid::text, id, status, stock, payment, cancel, seq, total_price, currency, entries,
           xmin::text
    FROM orders WHERE uuid = ANY($1::uuid[]))sql"};

constexpr Statement kItems{R"sql(
    SELECT order_id, product_id, sum(quantity)::bigint FROM order_items
    WHERE order_id = ANY($1::bigint[]) GROUP BY 1, 2)sql"};

constexpr Statement kReturned{R"sql(
    SELECT order_id, product_id, sum(quantity)::bigint
    FROM returns JOIN return_items ON return_id = id
    WHERE order_id = ANY($1::bigint[]) AND status = 'ACCEPTED' GROUP BY 1, 2)sql"};

// An event of each status, and one of each accepted return.
constexpr Statement kTimelines{R"sql(
    SELECT order_id, count(*), min(sequence), max(sequence), bool_or(what = 'ORDER_CREATED'),
           count(*) FILTER (WHERE what LIKE 'ORDER\_%' OR what = 'RETURN_ACCEPTED')
    FROM order_timeline WHERE order_id = ANY($1::bigint[]) GROUP BY 1)sql"};

Order ReadOrder(const pqxx::row& row) {
  return {.id = row[1].as<int64_t>(),
          .status = row[2].as<std::string>(),
          .stock = TextOf(row[3]),
          .payment = TextOf(row[4]),
          .cancel = TextOf(row[5]),
          .seq = row[6].as<int64_t>(),
          .total_price = row[7].as<int64_t>(),
          .currency = row[8].as<std::string>(),
          .entries = row[9].as<int64_t>(),
          .version = row[10].as<std::string>()};
}

// By UUID.
std::unordered_map<std::string, Order> ReadOrders(Tx& tx, const std::string& uuids) {
  std::unordered_map<std::string, Order> orders;
  std::unordered_map<int64_t, Order*> by_id;
  std::vector<int64_t> ids;
  for (const auto& row : tx.Exec(kOrders, uuids)) {
    Order& order = orders[row[0].as<std::string>()] = ReadOrder(row);
    by_id[order.id] = &order;
    ids.push_back(order.id);
  }
  const std::string wanted = Array(ids);
  for (const auto& row : tx.Exec(kItems, wanted)) {
    by_id.at(row[0].as<int64_t>())->items[row[1].as<int64_t>()] = row[2].as<int64_t>();
  }
  for (const auto& row : tx.Exec(kReturned, wanted)) {
    by_id.at(row[0].as<int64_t>())->returned[row[1].as<int64_t>()] = row[2].as<int64_t>();
  }
  for (const auto& row : tx.Exec(kTimelines, wanted)) {
    Order& order = *by_id.at(row[0].as<int64_t>());
    order.entries_there = row[1].as<int64_t>();
    order.first_entry = row[2].as<int64_t>();
    order.last_entry = row[3].as<int64_t>();
    order.tells_of_creation = row[4].as<bool>();
    order.events_told = row[5].as<int64_t>();
  }
  return orders;
}

// --- what others keep for each order

constexpr Statement kReservations{R"sql(
    SELECT r.order_uuid::text, r.state, r.xmin::text, l.product_id, l.quantity, l.returned
    FROM reservations r LEFT JOIN reservation_lines l USING (order_uuid)
    WHERE r.order_uuid = ANY($1::uuid[]) ORDER BY r.order_uuid, l.product_id)sql"};

std::unordered_map<std::string, Reservation> ReadReservations(Tx& tx, const std::string& uuids) {
  std::unordered_map<std::string, Reservation> reservations;
  for (const auto& row : tx.Exec(kReservations, uuids)) {
    Reservation& reservation = reservations[row[0].as<std::string>()];
    reservation.state = row[1].as<std::string>();
    if (reservation.version.empty()) reservation.version = row[2].as<std::string>();
    if (row[3].is_null()) continue;
    reservation.lines[row[3].as<int64_t>()] = {row[4].as<int64_t>(), row[5].as<int64_t>()};
    // A return changes its line alone.
    reservation.version += fmt::format("+{}", row[5].as<int64_t>());
  }
  return reservations;
}

constexpr Statement kPayments{R"sql(
    SELECT p.order_uuid::text, p.wanted, p.cancelled, p.next_at IS NOT NULL, p.amount, p.currency,
           p.charge, p.outcome, r.refunded, r.refunding, concat_ws('+', p.xmin, r.version)
    FROM payments p LEFT JOIN LATERAL (
      SELECT (sum(amount) FILTER (WHERE state = 'DONE'))::bigint AS refunded,
             (sum(amount) FILTER (WHERE state <> 'FAILED'))::bigint AS refunding,
             string_agg(refunds.xmin::text, '+' ORDER BY position) AS version
      FROM refunds WHERE order_uuid = p.order_uuid) r ON true
    WHERE p.order_uuid = ANY($1::uuid[]))sql"};

std::unordered_map<std::string, Payment> ReadPayments(Tx& tx, const std::string& uuids) {
  std::unordered_map<std::string, Payment> payments;
  for (const auto& row : tx.Exec(kPayments, uuids)) {
    payments[row[0].as<std::string>()] = {.wanted = row[1].as<bool>(),
                                          .cancelled = row[2].as<bool>(),
                                          .under_way = row[3].as<bool>(),
                                          .amount = row[4].as<int64_t>(),
                                          .currency = row[5].as<std::string>(),
                                          .charge = row[6].as<std::string>(),
                                          .outcome = row[7].as<std::string>(),
                                          .refunded = Or<int64_t>(row[8], 0),
                                          .refunding = Or<int64_t>(row[9], 0),
                                          .version = row[10].as<std::string>()};
  }
  return payments;
}

constexpr Statement kShipments{R"sql(
    SELECT order_uuid::text, state, xmin::text FROM shipments
    WHERE order_uuid = ANY($1::uuid[]))sql"};

std::unordered_map<std::string, Shipment> ReadShipments(Tx& tx, const std::string& uuids) {
  std::unordered_map<std::string, Shipment> shipments;
  for (const auto& row : tx.Exec(kShipments, uuids)) {
    shipments[row[0].as<std::string>()] = {row[1].as<std::string>(), row[2].as<std::string>()};
  }
  return shipments;
}

constexpr Statement kReservationKeys{
    "SELECT order_uuid::text FROM reservations WHERE order_uuid > $1::uuid"
    " ORDER BY order_uuid LIMIT $2"};
constexpr Statement kPaymentKeys{
    "SELECT order_uuid::text FROM payments WHERE order_uuid > $1::uuid"
    " ORDER BY order_uuid LIMIT $2"};
constexpr Statement kShipmentKeys{
    "SELECT order_uuid::text FROM shipments WHERE order_uuid > $1::uuid"
    " ORDER BY order_uuid LIMIT $2"};

struct Kept {
  const char* service;
  Statement keys;
};
constexpr Kept kKept[] = {{"products", kReservationKeys},  // in the sequence of Keeper
                          {"payments", kPaymentKeys},
                          {"shipping", kShipmentKeys}};

constexpr Statement kUuidsWithoutOrder{R"sql(
    SELECT asked::text FROM unnest($1::uuid[]) AS asked
    WHERE NOT EXISTS (SELECT FROM orders WHERE uuid = asked))sql"};
constexpr Statement kIdsWithoutOrder{R"sql(
    SELECT asked FROM unnest($1::bigint[]) AS asked
    WHERE NOT EXISTS (SELECT FROM orders WHERE id = asked))sql"};

// --- products

// Of all products, or of those whose ids are in the array.
std::string ProductsQuery(const std::string& ids) {
  const auto only = [&](const char* column) {
    return ids.empty() ? std::string() : fmt::format("WHERE {} = ANY('{}'::bigint[])", column, ids);
  };
  return fmt::format(
      R"sql(
      SELECT p.id, p.on_hand, p.reserved, m.on_hand, m.reserved, m.sold, l.held, l.sold,
             concat_ws('+', p.xmin, m.last, l.held, l.sold)
      FROM products p
      LEFT JOIN (
        SELECT product_id, sum(on_hand)::bigint AS on_hand, sum(reserved)::bigint AS reserved,
               (sum(-on_hand) FILTER (WHERE kind IN ('COMMITTED', 'RETURNED')))::bigint AS sold,
               max(id) AS last
        FROM stock_movements {} GROUP BY product_id) m ON m.product_id = p.id
      LEFT JOIN (
        SELECT product_id,
               (sum(quantity) FILTER (WHERE state = 'HELD'))::bigint AS held,
               (sum(quantity - returned)
                FILTER (WHERE state IN ('COMMITTED', 'RETURNED')))::bigint AS sold
        FROM reservation_lines JOIN reservations USING (order_uuid) {}
        GROUP BY product_id) l ON l.product_id = p.id
      {} ORDER BY p.id)sql",
      only("product_id"), only("product_id"), only("p.id"));
}

std::vector<Product> ReadProducts(const pqxx::result& rows) {
  std::vector<Product> products;
  for (const auto& row : rows) {
    products.push_back({.id = row[0].as<int64_t>(),
                        .on_hand = row[1].as<int64_t>(),
                        .reserved = row[2].as<int64_t>(),
                        .moved_on_hand = Or<int64_t>(row[3], 0),
                        .moved_reserved = Or<int64_t>(row[4], 0),
                        .moved_sold = Or<int64_t>(row[5], 0),
                        .held = Or<int64_t>(row[6], 0),
                        .sold = Or<int64_t>(row[7], 0),
                        .version = row[8].as<std::string>()});
  }
  return products;
}

// --- events

constexpr Statement kEventsOf{R"sql(
    SELECT id, seq, created_at > to_timestamp($2) AND EXISTS (
             SELECT FROM order_timeline
             WHERE order_id = id AND sequence = 1 AND what = 'ORDER_CREATED'), number
    FROM orders LEFT JOIN (
      SELECT DISTINCT key::bigint AS order_id, (value::jsonb ->> 'seq')::bigint AS number
      FROM outbox WHERE topic = 'orders' AND key = ANY($3::text[])
    ) AS events ON order_id = id AND number > 0
    WHERE id = ANY($1::bigint[]) ORDER BY id, number)sql"};

constexpr Statement kStillPublished{R"sql(
    SELECT id FROM outbox
    WHERE id = ANY($1::bigint[]) AND published_at <= to_timestamp($2))sql"};

constexpr Statement kWaiting{R"sql(
    SELECT count(*), coalesce(min(id), 0),
           coalesce(extract(epoch FROM now() - min(created_at)), 0)::bigint
    FROM outbox WHERE published_at IS NULL)sql"};

constexpr Statement kUnderWay{R"sql(
    SELECT key FROM outbox WHERE published_at IS NULL AND key = ANY($1::text[])
    UNION
    SELECT key FROM retry_queue WHERE key = ANY($1::text[]) AND consumer = $2
    GROUP BY consumer, topic, key HAVING NOT bool_or(dead))sql"};

std::vector<std::string> Texts(const std::vector<int64_t>& ids) {
  std::vector<std::string> texts;
  for (const int64_t id : ids) texts.push_back(std::to_string(id));
  return texts;
}

}  // namespace

Databases::Databases(const std::map<std::string, postgres::Settings>& settings) {
  for (const auto& [service, database] : settings) {
    pools_[service] = std::make_unique<postgres::Pool>(database);
  }
}

void Databases::Ping() {
  postgres::Ping(Of("orders"));
}

Window Databases::WindowOf(const std::string& service, int64_t seconds) {
  return ReadOne(Of(service), service, [&](Tx& tx) {
    const double now = tx.Run("SELECT extract(epoch FROM now())::float8")[0][0].as<double>();
    return Window{now - static_cast<double>(seconds), now};
  });
}

std::vector<ListedOrder> Databases::OrdersAfter(int64_t id, int limit, const Window& window) {
  return ReadOne(Of("orders"), "orders", [&](Tx& tx) {
    std::vector<ListedOrder> orders;
    for (const auto& row : tx.Exec(kOrdersAfter, id, limit, window.from, window.until)) {
      orders.push_back({row[0].as<int64_t>(), row[1].as<std::string>(), row[2].as<int64_t>(),
                        row[3].as<bool>(), row[4].as<bool>()});
    }
    return orders;
  });
}

std::vector<std::string> Databases::OrdersKnownTo(Keeper keeper, const std::string& after,
                                                  int limit) {
  const Kept& kept = kKept[static_cast<size_t>(keeper)];
  return ReadOne(Of(kept.service), kept.service, [&](Tx& tx) {
    return postgres::FirstColumn<std::vector<std::string>>(tx.Exec(kept.keys, after, limit));
  });
}

// Orders last: each was committed before anybody else could hear of it.
std::vector<OrderView> Databases::Views(const std::vector<std::string>& uuids) {
  if (uuids.empty()) return {};
  const std::string asked = Array(uuids);
  const auto reservations =
      ReadOne(Of("products"), "products", [&](Tx& tx) { return ReadReservations(tx, asked); });
  const auto payments =
      ReadOne(Of("payments"), "payments", [&](Tx& tx) { return ReadPayments(tx, asked); });
  const auto shipments =
      ReadOne(Of("shipping"), "shipping", [&](Tx& tx) { return ReadShipments(tx, asked); });
  const auto orders =
      ReadTogether(Of("orders"), "orders", [&](Tx& tx) { return ReadOrders(tx, asked); });

  std::vector<OrderView> views;
  for (const std::string& uuid : uuids) {
    OrderView& view = views.emplace_back(OrderView{.uuid = uuid});
    const auto find = [&](const auto& rows, auto* found) {
      if (const auto row = rows.find(uuid); row != rows.end()) *found = row->second;
    };
    find(orders, &view.order);
    find(reservations, &view.reservation);
    find(payments, &view.payment);
    find(shipments, &view.shipment);
  }
  return views;
}

std::vector<std::string> Databases::WithoutOrder(const std::vector<std::string>& uuids) {
  return ReadOne(Of("orders"), "orders", [&](Tx& tx) {
    return postgres::FirstColumn<std::vector<std::string>>(
        tx.Exec(kUuidsWithoutOrder, Array(uuids)));
  });
}

std::vector<int64_t> Databases::WithoutOrder(const std::vector<int64_t>& ids) {
  return ReadOne(Of("orders"), "orders", [&](Tx& tx) {
    return postgres::FirstColumn<std::vector<int64_t>>(tx.Exec(kIdsWithoutOrder, Array(ids)));
  });
}

void Databases::EachProduct(const std::function<void(const std::vector<Product>&)>& take) {
  ReadEach(Of("products"), "products", ProductsQuery(""),
           [&](const pqxx::result& rows) { take(ReadProducts(rows)); });
}

std::vector<Product> Databases::Products(const std::vector<int64_t>& ids) {
  std::vector<Product> products;
  ReadEach(Of("products"), "products", ProductsQuery(Array(ids)), [&](const pqxx::result& rows) {
    for (Product& product : ReadProducts(rows)) products.push_back(std::move(product));
  });
  return products;
}

void Databases::EachEvent(const Publisher& publisher, const Window& window,
                          const std::function<void(const OutboxEvent&)>& take) {
  // The topic is read from the same time on by other clocks, which may be minutes apart.
  constexpr int kClocksApart = 600;
  const std::string query = fmt::format(
      R"sql(SELECT id, key, event_id, type, (value::jsonb ->> 'seq')::bigint,
              published_at BETWEEN to_timestamp({0}) + interval '{1} seconds' AND to_timestamp({2})
            FROM outbox WHERE topic = '{3}'
              AND (published_at IS NULL OR published_at > to_timestamp({0})))sql",
      window.from, kClocksApart, window.until, publisher.topic);
  ReadEach(Of(publisher.service), publisher.service, query, [&](const pqxx::result& rows) {
    for (const auto& row : rows) {
      take({.id = row[0].as<int64_t>(),
            .key = row[1].as<std::string>(),
            .event_id = row[2].as<std::string>(),
            .type = row[3].as<std::string>(),
            .seq = Or<int64_t>(row[4], 0),
            .has_to_be_on_topic = Or(row[5], false)});
    }
  });
}

std::set<int64_t> Databases::StillPublished(const std::string& service,
                                            const std::vector<int64_t>& rows,
                                            const Window& window) {
  return ReadOne(Of(service), service, [&](Tx& tx) {
    return postgres::FirstColumn<std::set<int64_t>>(
        tx.Exec(kStillPublished, Array(rows), window.until));
  });
}

std::vector<OrderEvents> Databases::EventsOf(const std::vector<int64_t>& orders,
                                             const Window& window) {
  return ReadOne(Of("orders"), "orders", [&](Tx& tx) {
    std::vector<OrderEvents> events;
    for (const auto& row : tx.Exec(kEventsOf, Array(orders), window.from, Array(Texts(orders)))) {
      const int64_t id = row[0].as<int64_t>();
      if (events.empty() || events.back().order_id != id) {
        events.push_back({.order_id = id, .seq = row[1].as<int64_t>(), .all = row[2].as<bool>()});
      }
      if (!row[3].is_null()) events.back().numbers.push_back(row[3].as<int64_t>());
    }
    return events;
  });
}

std::vector<Outbox> Databases::Outboxes() {
  std::vector<Outbox> outboxes;
  for (const Publisher& publisher : kPublishers) {
    const pqxx::result found =
        ReadOne(Of(publisher.service), publisher.service, [](Tx& tx) { return tx.Exec(kWaiting); });
    outboxes.push_back({publisher.service, found[0][0].as<int64_t>(), found[0][1].as<int64_t>(),
                        found[0][2].as<int64_t>()});
  }
  return outboxes;
}

std::set<int64_t> Databases::WithEventsUnderWay(const std::vector<int64_t>& orders) {
  std::set<int64_t> under_way;
  const std::string keys = Array(Texts(orders));
  for (const Publisher& publisher : kPublishers) {
    const pqxx::result found = ReadOne(Of(publisher.service), publisher.service, [&](Tx& tx) {
      return tx.Exec(kUnderWay, keys, publisher.service);
    });
    for (const auto& row : found) under_way.insert(row[0].as<int64_t>());
  }
  return under_way;
}

std::map<messaging::Place, int64_t> Databases::Positions(const Group& group) {
  return Naming(group.service,
                [&] { return messaging::Positions(Of(group.service), group.service); });
}

}  // namespace shop::reconciler
