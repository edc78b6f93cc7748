// Every interleaving of an order's way, by the very functions that production runs.
//
// orders, stock, payments and shipping decide by pure functions (state, fact) -> (state, events). Here
// they are driven through every sequence in which topics may deliver their events to them, with
// everything that may come between: an event delivered again, a cancellation by the customer, a deadline,
// a process that dies after a call to the provider or to shipping and before it wrote down the answer,
// two workers with the same payment, an answer that comes late, and what the provider decides.
//
// What is not here is SQL: the stores run these functions between reading rows that they have locked and
// writing them, and property tests on PostgreSQL hold them to it.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <iostream>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/messaging/event.h"
#include "explore.h"
#include "orders/order.h"
#include "payments/payment.h"
#include "products/reservation.h"
#include "shipping/shipment.h"
#include "shop/events/v1/orders.pb.h"
#include "shop/events/v1/payments.pb.h"

namespace shop::saga {
namespace {

constexpr int64_t kProduct = 7;
constexpr int64_t kPrice = 1250;

std::string UuidOf(int64_t order) {
  return fmt::format("00000000-0000-4000-8000-{:012}", order);
}

// --- the provider, as the outside world has it --------------------------------------------------

// One payment there, under its key. What it says of a call is a function of this.
struct Provider {
  payments::Charge charge = payments::Charge::kNone;
  int captures = 0;
  int64_t captured = 0;
  std::map<std::string, int64_t> refunds = {};  // by their key

  int64_t refunded() const {
    int64_t sum = 0;
    for (const auto& [key, amount] : refunds) sum += amount;
    return sum;
  }
};

// What the provider may decide when it is asked to authorize.
constexpr payments::Charge kDecisions[] = {
    payments::Charge::kAuthorized, payments::Charge::kDeclined, payments::Charge::kPending};

payments::Fact SaysOf(const Provider& provider) {
  if (provider.charge == payments::Charge::kNone) return payments::NotFound{};
  return payments::Reported{.charge = provider.charge, .code = "card_declined", .message = "no"};
}

// A call that has left: where it is, and what it will be answered once the provider has done it.
struct Call {
  payments::NextAsk ask;
  bool done = false;
  payments::Fact answer = payments::NotFound{};
};

// --- one order, everywhere ----------------------------------------------------------------------

enum Topic { kOrders, kStock, kPayments, kShipments, kTopics };

// Who consumes what; each reader has a position of its own. Events of one order on one topic stay in
// their sequence, and nothing else does.
enum Reader {
  kStockReadsOrders,
  kPaymentsReadsStock,
  kPaymentsReadsOrders,
  kShippingReadsOrders,
  kOrdersReadsStock,
  kOrdersReadsPayments,
  kOrdersReadsShipments,
  kReaders
};
struct ReaderOf {
  std::string_view name;
  Topic topic;
};
constexpr ReaderOf kReaderOf[] = {{"stock", kOrders},     {"payments", kStock},
                                  {"payments", kOrders},  {"shipping", kOrders},
                                  {"orders", kStock},     {"orders", kPayments},
                                  {"orders", kShipments}};

struct OneOrder {
  explicit OneOrder(int64_t id) {
    order.id = id;
    order.uuid = UuidOf(id);
    order.user_id = 1;
  }

  orders::LockedOrder order;
  products::OrderStock stock;
  shipping::Shipment shipment;
  payments::Payment payment;
  Provider provider;
  std::vector<Call> calls;                // of the provider, on their way
  std::vector<payments::Fact> webhooks;   // from the provider, on their way
  std::array<std::vector<std::string>, kTopics> topics;  // types of events
  std::array<size_t, kReaders> positions{};
  bool asked_to_cancel = false;
};

// How often each thing may happen that need not.
struct Budget {
  int repeats = 1;        // an event or a webhook comes again
  int losses = 2;         // a call or its answer is lost, as its process dies
  int second_workers = 1; // a lease expires while its holder still works
  int cancellations = 1;
  int deadlines = 1;
};
