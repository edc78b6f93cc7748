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

#include <algorithm>
#include <array>
#include <chrono>
#include <iostream>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/messaging/event.h"
#include "orders/order.h"
#include "payments/payment.h"
#include "products/reservation.h"
#include "shipping/shipment.h"
#include "shop/events/v1/orders.pb.h"
#include "shop/events/v1/payments.pb.h"
#include "tests/saga/explore.h"

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
  int64_t captured = 0;
  std::map<std::string, int64_t> refunds = {};  // by their key

  int64_t refunded() const {
    int64_t sum = 0;
    for (const auto& [key, amount] : refunds) sum += amount;
    return sum;
  }
};

// What the provider may decide when it is asked to authorize.
constexpr payments::Charge kDecisions[] = {payments::Charge::kAuthorized,
                                           payments::Charge::kDeclined, payments::Charge::kPending};

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
constexpr ReaderOf kReaderOf[] = {
    {"stock", kOrders}, {"payments", kStock},  {"payments", kOrders}, {"shipping", kOrders},
    {"orders", kStock}, {"orders", kPayments}, {"orders", kShipments}};

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
  std::vector<Call> calls;  // of the provider, on their way
  bool unheard = false;     // nothing was heard of the charge since a call that may have changed it
  std::vector<payments::Fact> webhooks;                  // from the provider, on their way
  std::array<std::vector<std::string>, kTopics> topics;  // types of events
  std::array<size_t, kReaders> positions{};
  bool asked_to_cancel = false;
};

// How often each thing may happen that need not.
struct Budget {
  int repeats = 1;         // an event or a webhook comes again
  int losses = 2;          // a call or its answer is lost, as its process dies
  int second_workers = 1;  // a lease expires while its holder still works
  int cancellations = 1;
  int deadlines = 1;
};

class World;
using Moves = std::vector<Step<World>>;

class World {
 public:
  World(int orders, int64_t pieces, Budget budget, bool approves = false)
      : budget_(budget), approves_(approves), pieces_(pieces), on_hand_(pieces) {
    for (int i = 1; i <= orders; ++i) {
      orders_.emplace_back(i);
      orders_.back().topics[kOrders].push_back("ORDER_CREATED");
    }
  }

  std::string Key() const;
  Moves Next() const;
  std::string Wrong() const;
  std::string AtRest() const;

 private:
  // What happens to one order, `name` for people; `change` does it.
  template <typename Change>
  void Add(Moves* moves, size_t i, bool certain, std::string name, const Change& change) const {
    World after = *this;
    change(&after, &after.orders_[i]);
    moves->push_back({fmt::format("order {}: {}", i + 1, name), std::move(after), certain});
  }

  void AddDeliveries(Moves* moves, size_t i) const;
  void AddPeople(Moves* moves, size_t i) const;
  void AddCarrier(Moves* moves, size_t i) const;
  void AddPayments(Moves* moves, size_t i) const;
  void AddProvider(Moves* moves, size_t i) const;

  // --- what each service does with an event
  void Consume(OneOrder* order, Reader reader, const std::string& type);
  void StockConsumes(OneOrder* order, const std::string& type);
  void Move(const products::StockMoves& moves);
  void Ask(OneOrder* order, payments::Ask ask);
  void Tell(OneOrder* order, const payments::Fact& fact);
  void Tell(OneOrder* order, shipping::Fact fact);
  void Tell(OneOrder* order, const orders::Fact& fact);
  void DeadLetter(std::string_view who, const Refusal& refusal) {
    wrong_ = fmt::format("{} cannot handle its event: {}", who, refusal.message);
  }

  std::vector<OneOrder> orders_;
  Budget budget_;
  bool approves_;  // the provider, all and at once
  int64_t pieces_;
  int64_t on_hand_;
  int64_t reserved_ = 0;
  std::string wrong_;
};

// --- deciding -----------------------------------------------------------------------------------

void World::Move(const products::StockMoves& moves) {
  for (const products::StockMove& move : moves) {
    on_hand_ += move.on_hand;
    reserved_ += move.reserved;
  }
}

void World::StockConsumes(OneOrder* order, const std::string& type) {
  std::vector<std::string>& stock = order->topics[kStock];
  if (type == "ORDER_CREATED") {
    products::Quantities available{{kProduct, on_hand_ - reserved_}};
    Move(products::Reserve({{kProduct, 1}}, &order->stock, &available));
    const bool reserved = products::DecisionOf(order->stock).reserved;
    stock.push_back(reserved ? "STOCK_RESERVED" : "STOCK_REJECTED");
  } else if (type == "ORDER_CONFIRMED") {
    Move(products::Commit(&order->stock));
  } else if (type == "ORDER_CANCELLED") {
    Move(products::Release(&order->stock));
    if (products::WasReleased(order->stock)) stock.push_back("STOCK_RELEASED");
  }
}

// The provider charges an order once, as every call for it has the same key. What payments could still do
// wrong is to ask for a charge before it knows what became of its last call.
void World::Ask(OneOrder* order, payments::Ask ask) {
  if (ask != payments::Ask::kAuthorize && ask != payments::Ask::kCapture) return;
  const std::string asks = fmt::format("payments asks {} for order {}", Text(ask), order->order.id);
  if (order->unheard) wrong_ = asks + " and does not know what became of the last call";
  if (order->payment.charge == payments::Charge::kCaptured) wrong_ = asks + ", which is paid";
  order->unheard = true;
}

void World::Tell(OneOrder* order, const payments::Fact& fact) {
  if (const auto* begins = std::get_if<payments::CallBegins>(&fact)) Ask(order, begins->ask);
  if (std::holds_alternative<payments::Reported>(fact) ||
      std::holds_alternative<payments::NotFound>(fact)) {
    order->unheard = false;
  }
  for (const payments::Event& event : payments::Apply(&order->payment, fact).events) {
    const auto type = [](const auto& message) {
      return messaging::TypeName(*message.GetDescriptor());
    };
    order->topics[kPayments].push_back(std::visit(type, event));
  }
}

void World::Tell(OneOrder* order, shipping::Fact fact) {
  const Result<shipping::Transition> applied = shipping::Apply(&order->shipment, fact);
  if (!applied) return DeadLetter("shipping", applied.refusal());
  if (!applied->event) return;
  order->topics[kShipments].push_back(messaging::TypeName(*applied->event->GetDescriptor()));
}

void World::Tell(OneOrder* order, const orders::Fact& fact) {
  const Result<orders::Transition> applied = orders::Apply(&order->order, fact);
  if (!applied) return DeadLetter("orders", applied.refusal());
  for (const auto& event : applied->events) {
    order->topics[kOrders].push_back(messaging::TypeName(*event->GetDescriptor()));
  }
}

// As the services' handlers do.
void World::Consume(OneOrder* order, Reader reader, const std::string& type) {
  const payments::Order named{order->order.uuid, order->order.id, order->order.user_id, ""};
  switch (reader) {
    case kStockReadsOrders:
      return StockConsumes(order, type);
    case kPaymentsReadsStock:
      if (type != "STOCK_RESERVED") return;
      return Tell(order, payments::Wanted{.order = named,
                                          .amount = kPrice,
                                          .currency = "USD",
                                          .method = {},
                                          .token = {},
                                          .items = {}});
    case kPaymentsReadsOrders:
      if (type == "ORDER_CANCELLED") Tell(order, payments::Cancelled{named});
      return;
    case kShippingReadsOrders:
      if (type == "ORDER_CREATED") Tell(order, shipping::Fact::kPlaced);
      if (type == "ORDER_CONFIRMED") Tell(order, shipping::Fact::kConfirmed);
      if (type == "ORDER_CANCELLED") Tell(order, shipping::Fact::kCancelled);
      return;
    case kOrdersReadsStock:
      if (type == "STOCK_RESERVED") Tell(order, orders::StockDecided{orders::StockFact::kReserved});
      if (type == "STOCK_REJECTED") Tell(order, orders::StockDecided{orders::StockFact::kRejected});
      return;
    case kOrdersReadsPayments:
      if (type == "PAYMENT_COMPLETED") {
        Tell(order, orders::PaymentDecided{orders::PaymentFact::kCompleted});
      }
      if (type == "PAYMENT_FAILED")
        Tell(order, orders::PaymentDecided{orders::PaymentFact::kFailed});
      return;
    case kOrdersReadsShipments:
      if (type == "SHIPMENT_DISPATCHED") {
        Tell(order, orders::ShipmentMoved{orders::ShipmentFact::kDispatched});
      }
      if (type == "SHIPMENT_DELIVERED") {
        Tell(order, orders::ShipmentMoved{orders::ShipmentFact::kDelivered});
      }
      return;
    case kReaders:
      break;
  }
}

// --- what can happen ----------------------------------------------------------------------------

void World::AddDeliveries(Moves* moves, size_t i) const {
  const OneOrder& order = orders_[i];
  for (int r = 0; r < kReaders; ++r) {
    const auto reader = static_cast<Reader>(r);
    const std::vector<std::string>& topic = order.topics[kReaderOf[r].topic];
    const size_t position = order.positions[r];
    if (position < topic.size()) {
      Add(moves, i, true, fmt::format("{} consumes {}", kReaderOf[r].name, topic[position]),
          [&](World* world, OneOrder* after) {
            ++after->positions[r];
            world->Consume(after, reader, topic[position]);
          });
    }
    if (budget_.repeats == 0) continue;
    for (size_t again = 0; again < position; ++again) {
      Add(moves, i, false, fmt::format("{} consumes {} again", kReaderOf[r].name, topic[again]),
          [&](World* world, OneOrder* after) {
            --world->budget_.repeats;
            world->Consume(after, reader, topic[again]);
          });
    }
  }
}

void World::AddPeople(Moves* moves, size_t i) const {
  const OneOrder& order = orders_[i];
  const auto request = [&](orders::CancelledBy by) {
    return [by](World* world, OneOrder* after) {
      --(by == orders::CancelledBy::kCustomer ? world->budget_.cancellations
                                              : world->budget_.deadlines);
      // A refusal is an answer to a person, and no fault.
      const Result<orders::Transition> applied =
          orders::Apply(&after->order, orders::CancelRequested{by});
      if (!applied) return;
      for (const auto& event : applied->events) {
        after->topics[kOrders].push_back(messaging::TypeName(*event->GetDescriptor()));
      }
    };
  };
  if (budget_.cancellations > 0) {
    Add(moves, i, false, "the customer cancels", request(orders::CancelledBy::kCustomer));
  }
  const orders::Waiting waiting = orders::WaitingFor(order.order.facts);
  if (budget_.deadlines > 0 && waiting != orders::Waiting::kNothing &&
      waiting != orders::Waiting::kDelivery) {
    Add(moves, i, false, "its deadline passes", request(orders::CancelledBy::kDeadline));
  }
  // Whoever asks shipping may die before it has written down the answer; then the sweeper asks.
  if (order.order.facts.cancel != orders::CancelFact::kRequested) return;
  const auto ask = [](OneOrder* after) {
    const Result<shipping::Transition> agreed =
        shipping::Apply(&after->shipment, shipping::Fact::kCancelled);
    if (agreed && agreed->event) {
      after->topics[kShipments].push_back(messaging::TypeName(*agreed->event->GetDescriptor()));
    }
    return static_cast<bool>(agreed);
  };
  Add(moves, i, true, "shipping is asked whether it can be cancelled",
      [&](World* world, OneOrder* after) {
        const bool agreed = ask(after);
        world->Tell(after, orders::CancelAnswered{agreed});
      });
  if (budget_.losses > 0) {
    Add(moves, i, false, "shipping is asked, and who asked dies",
        [&](World* world, OneOrder* after) {
          --world->budget_.losses;
          ask(after);
        });
  }
}

void World::AddCarrier(Moves* moves, size_t i) const {
  if (orders_[i].shipment.state == shipping::State::kReady) {
    Add(moves, i, true, "the carrier takes it",
        [](World* world, OneOrder* after) { world->Tell(after, shipping::Fact::kDispatched); });
  }
  if (orders_[i].shipment.state == shipping::State::kDispatched) {
    Add(moves, i, true, "the carrier brings it",
        [](World* world, OneOrder* after) { world->Tell(after, shipping::Fact::kDelivered); });
  }
}

void World::AddPayments(Moves* moves, size_t i) const {
  const OneOrder& order = orders_[i];
  const payments::NextAsk next = payments::Next(order.payment);
  const bool first = order.calls.empty();
  if (next.ask != payments::Ask::kNothing &&
      (first || (order.calls.size() == 1 && budget_.second_workers > 0))) {
    Add(moves, i, first,
        fmt::format("{} asks the provider: {}", first ? "a worker" : "a second worker",
                    Text(next.ask)),
        [&](World* world, OneOrder* after) {
          if (!first) --world->budget_.second_workers;
          world->Tell(after, payments::CallBegins{next.ask});
          after->calls.push_back({next});
        });
  }
  for (size_t c = 0; c < order.calls.size(); ++c) {
    const Call& call = order.calls[c];
    const std::string_view what = Text(call.ask.ask);
    if (call.done) {
      Add(moves, i, true, fmt::format("{} is answered", what), [&](World* world, OneOrder* after) {
        after->calls.erase(after->calls.begin() + static_cast<std::ptrdiff_t>(c));
        world->Tell(after, call.answer);
      });
    }
    if (budget_.losses > 0) {
      Add(moves, i, false,
          fmt::format("{} is lost {}", what, call.done ? "on its way back" : "on its way there"),
          [&](World* world, OneOrder* after) {
            --world->budget_.losses;
            after->calls.erase(after->calls.begin() + static_cast<std::ptrdiff_t>(c));
          });
    }
  }
  for (size_t w = 0; w < order.webhooks.size(); ++w) {
    const payments::Fact& told = order.webhooks[w];
    Add(moves, i, true, "a webhook arrives", [&](World* world, OneOrder* after) {
      after->webhooks.erase(after->webhooks.begin() + static_cast<std::ptrdiff_t>(w));
      world->Tell(after, told);
    });
    if (budget_.repeats > 0) {
      Add(moves, i, false, "a webhook arrives, and will again", [&](World* world, OneOrder* after) {
        --world->budget_.repeats;
        world->Tell(after, told);
      });
    }
    if (budget_.losses > 0) {
      Add(moves, i, false, "a webhook is lost", [&](World* world, OneOrder* after) {
        --world->budget_.losses;
        after->webhooks.erase(after->webhooks.begin() + static_cast<std::ptrdiff_t>(w));
      });
    }
  }
}

void World::AddProvider(Moves* moves, size_t i) const {
  using payments::Ask;
  using payments::Charge;
  const OneOrder& order = orders_[i];
  for (size_t c = 0; c < order.calls.size(); ++c) {
    if (order.calls[c].done) continue;
    const payments::NextAsk& ask = order.calls[c].ask;
    const auto carry_out = [&](const std::string& name, const auto& change) {
      Add(moves, i, true, fmt::format("the provider: {}", name), [&](World*, OneOrder* after) {
        change(&after->provider);
        after->calls[c].done = true;
        if (ask.ask == Ask::kRefund) {
          after->calls[c].answer = payments::RefundDone{ask.refund_uuid};
        } else {
          after->calls[c].answer = SaysOf(after->provider);
        }
      });
    };
    const auto nothing = [](Provider*) {};
    switch (ask.ask) {
      case Ask::kAuthorize:
        if (order.provider.charge != Charge::kNone) {
          carry_out("AUTHORIZE, it has that payment", nothing);
          break;
        }
        for (const Charge decision : kDecisions) {
          if (approves_ && decision != Charge::kAuthorized) continue;
          carry_out(fmt::format("AUTHORIZE, {}", Text(decision)),
                    [&](Provider* provider) { provider->charge = decision; });
        }
        break;
      case Ask::kCapture:
        carry_out("CAPTURE", [](Provider* provider) {
          if (provider->charge != Charge::kAuthorized) return;
          provider->charge = Charge::kCaptured;
          provider->captured += kPrice;
        });
        break;
      case Ask::kVoid:
        carry_out("VOID", [](Provider* provider) {
          if (provider->charge != Charge::kCaptured && provider->charge != Charge::kDeclined) {
            provider->charge = Charge::kVoided;
          }
        });
        break;
      case Ask::kRefund:
        carry_out("REFUND", [&](Provider* provider) {
          for (const payments::Refund& refund : order.payment.refunds) {
            if (refund.uuid == ask.refund_uuid) provider->refunds[refund.uuid] = refund.amount;
          }
        });
        break;
      default:
        carry_out("QUERY", nothing);
    }
  }
  if (order.provider.charge == Charge::kPending) {
    for (const Charge decision : {Charge::kAuthorized, Charge::kDeclined}) {
      Add(moves, i, true, fmt::format("the provider decides late: {}", Text(decision)),
          [&](World*, OneOrder* after) {
            after->provider.charge = decision;
            after->webhooks.push_back(SaysOf(after->provider));
          });
    }
  }
}

Moves World::Next() const {
  Moves moves;
  if (!wrong_.empty()) return moves;
  for (size_t i = 0; i < orders_.size(); ++i) {
    AddDeliveries(&moves, i);
    AddPeople(&moves, i);
    AddCarrier(&moves, i);
    AddPayments(&moves, i);
    AddProvider(&moves, i);
  }
  return moves;
}

// --- what has to hold ---------------------------------------------------------------------------

// All that an order may ever publish.
const std::vector<std::vector<std::string>> kHistories = {
    {"ORDER_CREATED", "ORDER_CONFIRMED", "ORDER_SHIPPED", "ORDER_DELIVERED"},
    {"ORDER_CREATED", "ORDER_CANCELLED"},
    {"ORDER_CREATED", "ORDER_CONFIRMED", "ORDER_CANCELLED"},
};

bool IsPartOfAHistory(const std::vector<std::string>& events) {
  return std::any_of(kHistories.begin(), kHistories.end(), [&](const auto& history) {
    return events.size() <= history.size() &&
           std::equal(events.begin(), events.end(), history.begin());
  });
}

std::string World::Wrong() const {
  if (!wrong_.empty()) return wrong_;
  if (reserved_ < 0 || on_hand_ < reserved_) {
    return fmt::format("{} pieces are reserved of {}", reserved_, on_hand_);
  }
  int64_t sold = 0;
  for (const OneOrder& order : orders_) {
    const int64_t id = order.order.id;
    if (order.stock.state == products::Reservation::kCommitted) ++sold;
    if (order.provider.refunded() > order.provider.captured) {
      return fmt::format("more went back for order {} than was charged", id);
    }
    if (!IsPartOfAHistory(order.topics[kOrders])) {
      return fmt::format("order {} published {}", id, fmt::join(order.topics[kOrders], ", "));
    }
    if (order.order.seq != static_cast<int64_t>(order.topics[kOrders].size())) {
      return fmt::format("order {} published {} events, the last with seq {}", id,
                         order.topics[kOrders].size(), order.order.seq);
    }
    const orders::v1::OrderStatus status = orders::StatusOf(order.order.facts);
    if (status == orders::v1::ORDER_STATUS_SHIPPED && order.provider.captured == 0) {
      return fmt::format("order {} is on its way and not paid", id);
    }
    if (order.shipment.state == shipping::State::kDispatched &&
        status == orders::v1::ORDER_STATUS_CANCELLED) {
      return fmt::format("order {} is cancelled and on its way", id);
    }
  }
  if (on_hand_ + sold != pieces_) {
    return fmt::format("{} on hand and {} sold of {}", on_hand_, sold, pieces_);
  }
  return "";
}

std::string World::AtRest() const {
  for (const OneOrder& order : orders_) {
    const int64_t id = order.order.id;
    const orders::v1::OrderStatus status = orders::StatusOf(order.order.facts);
    const int64_t kept = order.provider.captured - order.provider.refunded();
    const products::Reservation stock = order.stock.state;
    if (status == orders::v1::ORDER_STATUS_DELIVERED) {
      if (kept != kPrice) return fmt::format("order {} was delivered, and {} is paid", id, kept);
      if (stock != products::Reservation::kCommitted) {
        return fmt::format("order {} was delivered, its stock is {}", id,
                           products::ReservationText(stock));
      }
      if (order.shipment.state != shipping::State::kDelivered) {
        return fmt::format("order {} was delivered, and its shipment was not", id);
      }
    } else if (status == orders::v1::ORDER_STATUS_CANCELLED) {
      if (kept != 0) return fmt::format("order {} was cancelled, and {} is kept", id, kept);
      if (order.provider.charge == payments::Charge::kAuthorized ||
          order.provider.charge == payments::Charge::kPending) {
        return fmt::format("order {} was cancelled, and its charge is still open", id);
      }
      if (stock == products::Reservation::kHeld || stock == products::Reservation::kCommitted) {
        return fmt::format("order {} was cancelled, its stock is {}", id,
                           products::ReservationText(stock));
      }
      if (order.shipment.state != shipping::State::kCancelled) {
        return fmt::format("order {} was cancelled, and its shipment was not", id);
      }
    } else {
      return fmt::format("order {} waits for ever, {}", id, orders::StatusText(status));
    }
  }
  return "";
}

// A letter for each type of event.
char Letter(const std::string& type) {
  static std::map<std::string, char> letters;
  return letters.try_emplace(type, static_cast<char>('a' + letters.size())).first->second;
}

std::string FactKey(const payments::Fact& fact) {
  if (const auto* reported = std::get_if<payments::Reported>(&fact)) {
    return std::string(Text(reported->charge));
  }
  return std::to_string(fact.index());
}

std::string World::Key() const {
  std::string key =
      fmt::format("{}/{}/{}{}{}{}{}/{}|", on_hand_, reserved_, budget_.repeats, budget_.losses,
                  budget_.second_workers, budget_.cancellations, budget_.deadlines, wrong_);
  for (const OneOrder& one : orders_) {
    const orders::Facts& facts = one.order.facts;
    key += fmt::format("{}{}{}{}{}.{};{};{};", static_cast<int>(facts.stock),
                       static_cast<int>(facts.payment), static_cast<int>(facts.shipment),
                       static_cast<int>(facts.cancel), static_cast<int>(facts.cancelled_by),
                       one.order.seq, static_cast<int>(one.stock.state),
                       static_cast<int>(one.shipment.state));
    const payments::Payment& payment = one.payment;
    key += fmt::format("{}{}{}{}{}{}{};", payment.wanted, payment.cancelled, payment.asked,
                       static_cast<int>(payment.doubt), static_cast<int>(payment.charge),
                       static_cast<int>(payment.outcome), payment.token);
    for (const payments::Refund& refund : payment.refunds) {
      key += fmt::format("{}{},", refund.source, static_cast<int>(refund.state));
    }
    key += fmt::format(";{}.{}.{}.{};", static_cast<int>(one.provider.charge),
                       one.provider.captured, one.provider.refunds.size(), one.unheard);
    for (const Call& call : one.calls) {
      key += fmt::format("{}{}{},", static_cast<int>(call.ask.ask), call.done,
                         call.done ? FactKey(call.answer) : "");
    }
    key += ';';
    for (const payments::Fact& webhook : one.webhooks) key += FactKey(webhook) + ",";
    for (const std::vector<std::string>& topic : one.topics) {
      key += ';';
      for (const std::string& type : topic) key += Letter(type);
    }
    key += ';';
    for (const size_t position : one.positions) key += static_cast<char>('0' + position);
    key += '|';
  }
  return key;
}

// --- the tests ----------------------------------------------------------------------------------

Explored ExploreAll(const World& start) {
  return Explore<World>(
      start, [](const World& world) { return world.Wrong(); },
      [](const World& world) { return world.AtRest(); });
}

std::string Told(const Explored& explored) {
  if (!explored.finding) return "";
  return fmt::format("{}:\n  {}", explored.finding->wrong,
                     fmt::join(explored.finding->way, "\n  "));
}

void ExpectNothingIsWrong(const World& start) {
  const Explored explored = ExploreAll(start);
  std::cout << fmt::format("{} states, {} steps, {} ends\n", explored.states, explored.steps,
                           explored.ends);
  EXPECT_EQ(Told(explored), "");
  EXPECT_GT(explored.ends, 0u);
}

constexpr Budget kNothing{
    .repeats = 0, .losses = 0, .second_workers = 0, .cancellations = 0, .deadlines = 0};

TEST(Saga, AnOrderEndsPaidAndDeliveredOrCancelledAndUndone) {
  Budget budget = kNothing;
  budget.cancellations = 1;
  budget.deadlines = 1;
  ExpectNothingIsWrong(World(1, 1, budget));
}

TEST(Saga, AlsoWhenAnEventOrAWebhookComesAgain) {
  Budget budget = kNothing;
  budget.repeats = 1;
  budget.cancellations = 1;
  ExpectNothingIsWrong(World(1, 1, budget));
}

TEST(Saga, AlsoWhenProcessesDieWithCallsUnderWay) {
  Budget budget = kNothing;
  budget.losses = 2;
  budget.cancellations = 1;
  ExpectNothingIsWrong(World(1, 1, budget));
}

TEST(Saga, AlsoWhenTwoWorkersHaveOnePayment) {
  Budget budget = kNothing;
  budget.losses = 1;
  budget.second_workers = 1;
  budget.cancellations = 1;
  ExpectNothingIsWrong(World(1, 1, budget));
}

TEST(Saga, AnOrderThatCannotBeFilledIsCancelledAndChargesNothing) {
  ExpectNothingIsWrong(World(1, 0, {}));
}

TEST(Saga, OfTwoOrdersForTheLastPieceOneGetsIt) {
  ExpectNothingIsWrong(World(2, 1, kNothing, true));
}

}  // namespace
}  // namespace shop::saga
