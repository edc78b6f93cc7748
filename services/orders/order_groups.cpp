#include "orders/order_groups.h"

#include <utility>

#include "common/messaging/outbox.h"
#include "common/telemetry/span.h"
#include "orders/order_events.h"

namespace shop::orders {
namespace {

using idempotency::Attempt;

// While one group commits, the next one gathers: with two under way groups are half as large.
constexpr int kGroupsAtOnce = 1;
constexpr size_t kMostOrders = 64;

}  // namespace

std::vector<Inserted> KeepAndPublish(postgres::Tx& tx, const std::vector<const NewOrder*>& orders,
                                     const Deadlines& deadlines, const OrderLimits& limits) {
  std::vector<Inserted> inserted = Insert(tx, orders, deadlines, limits.pending);
  std::vector<messaging::Envelope> events;
  for (size_t i = 0; i < orders.size(); ++i) {
    if (!inserted[i].order) continue;
    events.push_back(messaging::MakeEvent(
        OrderCreated(*inserted[i].order, orders[i]->cart, orders[i]->payment_token),
        {.source = "orders", .trace = orders[i]->trace}));
  }
  messaging::Publish(tx, events);
  return inserted;
}

OrderGroups::OrderGroups(postgres::Pool& db, const Deadlines& deadlines, const OrderLimits& limits)
    : db_(db),
      deadlines_(deadlines),
      limits_(limits),
      sizes_(HistogramFamily("orders_group_size",
                             "Orders that were placed in one transaction, or were to be")
                 .Add({}, prometheus::Histogram::BucketBoundaries{1, 2, 4, 8, 16, 32, 64})),
      groups_(kGroupsAtOnce, kMostOrders,
              [this](const std::vector<Placing*>& group) { PlaceTogether(group); }) {}

Result<v1::Order> OrderGroups::Place(Attempt& attempt, const NewOrder& order) {
  Placing placing{&attempt, &order};
  {
    Span span(SpanKind::kInternal, "place in a group");
    (void)groups_.Do(placing);  // where it failed nothing is placed, and nothing unknown
    if (placing.led_by) span.LinkTo(*placing.led_by);
  }
  if (placing.unknown) std::rethrow_exception(placing.unknown);
  if (placing.placed) return *std::move(placing.placed);
  return PlaceAlone(attempt, order);
}

void OrderGroups::PlaceTogether(const std::vector<Placing*>& group) {
  sizes_.Observe(static_cast<double>(group.size()));
  if (traces::On()) {
    for (size_t i = 1; i < group.size(); ++i) group[i]->led_by = group[0]->order->trace;
  }
  std::vector<Placing*> included;
  std::vector<Inserted> inserted;
  try {
    postgres::InTransaction(db_, [&](postgres::Tx& tx) {
      included.clear();
      inserted.clear();
      std::vector<Attempt*> attempts;
      for (const Placing* placing : group) attempts.push_back(placing->attempt);
      const std::vector<bool> free = Attempt::ClaimTogether(tx, attempts);
      std::vector<const NewOrder*> orders;
      for (size_t i = 0; i < group.size(); ++i) {
        if (!free[i]) continue;
        included.push_back(group[i]);
        orders.push_back(group[i]->order);
      }
      if (orders.empty()) return;
      inserted = KeepAndPublish(tx, orders, deadlines_, limits_);
      std::vector<std::pair<Attempt*, const google::protobuf::Message*>> answers;
      for (size_t i = 0; i < included.size(); ++i) {
        if (inserted[i].order) answers.emplace_back(included[i]->attempt, &*inserted[i].order);
      }
      Attempt::KeepTogether(tx, answers);
    });
  } catch (const postgres::CommitUnknown&) {
    for (Placing* placing : included) placing->unknown = std::current_exception();
    return;
  }
  for (size_t i = 0; i < inserted.size(); ++i) {
    included[i]->placed = std::move(inserted[i].order);
  }
}

Result<v1::Order> OrderGroups::PlaceAlone(Attempt& attempt, const NewOrder& order) {
  return attempt.InTransaction([&](postgres::Tx& tx) -> Result<v1::Order> {
    Inserted inserted = std::move(KeepAndPublish(tx, {&order}, deadlines_, limits_).front());
    if (!inserted.order) return TooManyPending(inserted.pending);
    return *std::move(inserted.order);
  });
}

}  // namespace shop::orders
