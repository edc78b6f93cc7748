// All SQL of the reconciler. It reads the databases of five services and writes to none: its role may
// do no more.
//
// What a function reads of one database is of one moment. A database that cannot be read is Unreadable,
// which names it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/messaging/positions.h"
#include "common/postgres/pool.h"
#include "reconciler/drift.h"

namespace shop::reconciler {

// Something that has to be compared cannot be read; says what and why.
class Unreadable : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A topic, and the service in whose outbox its events are.
struct Publisher {
  std::string service;
  std::string topic;
};
inline const std::vector<Publisher> kPublishers = {
    {"orders", "orders"}, {"stock", "stock"}, {"payments", "payments"}, {"shipping", "shipments"}};

// A consumer group that what is compared follows from.
struct Group {
  std::string service;  // and the name of the group
  std::vector<std::string> topics;
};
inline const std::vector<Group> kGroups = {{"orders", {"stock", "payments", "shipments"}},
                                           {"payments", {"stock", "orders"}},
                                           {"stock", {"orders"}},
                                           {"shipping", {"orders"}}};

// Who beside orders keeps something for each order, by its UUID.
enum class Keeper { kProducts, kPayments, kShipping };

// The times that a run is about, of one database's clock.
struct Window {
  double from = 0;   // seconds since 1970
  double until = 0;  // what was written later is for the next run
};

// An order of a page.
struct ListedOrder {
  int64_t id = 0;
  std::string uuid;
  int64_t seq = 0;
  // Placed in the window, and by a release whose events have numbers.
  bool all_events = false;
  // Not changed since the window ended.
  bool still = false;
};

// A row of an outbox.
struct OutboxEvent {
  int64_t id = 0;
  std::string key;
  std::string event_id;
  std::string type;
  int64_t seq = 0;                  // of an order's event
  bool has_to_be_on_topic = false;  // published in the window
};

class Databases {
 public:
  // Settings of each service's database: orders, products, payments, stock, shipping.
  explicit Databases(const std::map<std::string, postgres::Settings>& settings);

  // Throws what the database of orders throws.
  void Ping();
  // The window of the last seconds, of a service's database.
  Window WindowOf(const std::string& service, int64_t seconds);

  // Pages in the order of their keys; the last one is empty.
  std::vector<ListedOrder> OrdersAfter(int64_t id, int limit, const Window& window);
  std::vector<std::string> OrdersKnownTo(Keeper keeper, const std::string& after, int limit);

  // What all of them say of these orders, in this sequence; not the payment provider.
  std::vector<OrderView> Views(const std::vector<std::string>& uuids);
  // Those that are no order.
  std::vector<std::string> WithoutOrder(const std::vector<std::string>& uuids);
  std::vector<int64_t> WithoutOrder(const std::vector<int64_t>& ids);

  // Calls `take` with all products, some at a time. One statement, so that their movements and
  // reservations are of the same moment; `ids` limits it to these.
  void EachProduct(const std::function<void(const std::vector<Product>&)>& take);
  std::vector<Product> Products(const std::vector<int64_t>& ids);

  // Calls `take` with the events of a topic in its outbox that are unpublished or were published in
  // the window.
  void EachEvent(const Publisher& publisher, const Window& window,
                 const std::function<void(const OutboxEvent&)>& take);
  // Of the rows, those that are there and were published at the latest when the window ended.
  std::set<int64_t> StillPublished(const std::string& service, const std::vector<int64_t>& rows,
                                   const Window& window);
  // Of these orders, with all that the outbox has. It looks at the whole outbox.
  std::vector<OrderEvents> EventsOf(const std::vector<int64_t>& orders, const Window& window);
  std::vector<Outbox> Outboxes();

  // Of these orders (by id), those of which an event is unpublished, or waits to be tried again. Not
  // those that wait behind a dead letter: they wait for a person.
  std::set<int64_t> WithEventsUnderWay(const std::vector<int64_t>& orders);
  std::map<messaging::Place, int64_t> Positions(const Group& group);

 private:
  postgres::Pool& Of(const std::string& service) { return *pools_.at(service); }

  std::map<std::string, std::unique_ptr<postgres::Pool>> pools_;
};

}  // namespace shop::reconciler
