#include "reconciler/reconciler.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <utility>

#include "common/core/deadline.h"
#include "common/messaging/positions.h"

namespace shop::reconciler {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kPoll{200};
constexpr char kBeforeAllUuids[] = "00000000-0000-0000-0000-000000000000";

void KeepToStop() {
  if (DeadlineScope::HasPassed()) throw Unreadable("the run was told to stop");
}

void Pause(milliseconds time, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  wake.wait_for(lock, stop, time, [] { return false; });
  KeepToStop();
}

bool IsUuid(const std::string& text) {
  if (text.size() != 36) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool hyphen = i == 8 || i == 13 || i == 18 || i == 23;
    const bool hex = (text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f');
    if (hyphen ? text[i] != '-' : !hex) return false;
  }
  return true;
}

// UUIDs of which it is only asked whether they are there: 8 bytes each.
class Known {
 public:
  void Add(const std::string& uuid) { digests_.push_back(DigestOf(uuid)); }
  void Close() { std::ranges::sort(digests_); }
  bool Has(const std::string& uuid) const {
    return std::ranges::binary_search(digests_, DigestOf(uuid));
  }

 private:
  std::vector<uint64_t> digests_;
};

// The numbers of the events of orders, 8 bytes each.
class Numbers {
 public:
  void Add(int64_t order, int64_t seq) {
    if (order > 0 && seq > 0 && seq < kMost) {
      numbers_.push_back(static_cast<uint64_t>(order) * kMost + static_cast<uint64_t>(seq));
    }
  }
  void Close() {
    std::ranges::sort(numbers_);
    numbers_.erase(std::unique(numbers_.begin(), numbers_.end()), numbers_.end());
  }
  std::vector<int64_t> Of(int64_t order) const {
    std::vector<int64_t> found;
    const uint64_t first = static_cast<uint64_t>(order) * kMost;
    for (auto at = std::ranges::lower_bound(numbers_, first);
         at != numbers_.end() && *at - first < kMost; ++at) {
      found.push_back(static_cast<int64_t>(*at - first));
    }
    return found;
  }

 private:
  static constexpr int64_t kMost = 1 << 16;

  std::vector<uint64_t> numbers_;
};

// What the first look has found about a subject.
struct Found {
  std::string version;
  Drifts drifts;
};

// An event that is not on its topic.
struct OffTopic {
  const Publisher* publisher;
  int64_t row;
  Drift drift;
};

// A run under way.
class Run {
 public:
  Run(Databases& databases, Ledger& ledger, Topics& topics, const Options& options,
      std::stop_token stop)
      : databases_(databases),
        ledger_(ledger),
        topics_(topics),
        options_(options),
        stop_(std::move(stop)) {}

  Report Do() {
    LookAtEvents();
    LookAtLedger();
    LookAtOrders();
    LookAtOthers();
    LookAtProducts();
    outboxes_ = databases_.Outboxes();
    LookAgain();
    return std::move(report_);
  }

 private:
  // --- the first look

  // Asks for the time of each database before it reads the topics: what was published before that is
  // on them.
  void LookAtEvents() {
    std::map<std::string, Window> windows;
    std::vector<std::string> names;
    for (const Publisher& publisher : kPublishers) {
      windows[publisher.service] = databases_.WindowOf(publisher.service, options_.window_seconds);
      names.push_back(publisher.topic);
    }
    const TopicContents contents = topics_.Read(names, options_.window_seconds, kMostRecords);
    for (auto& [service, window] : windows) {
      window.from = window.until - static_cast<double>(contents.seconds);
    }
    for (const Publisher& publisher : kPublishers) {
      LookAtOutbox(publisher, windows.at(publisher.service), contents);
    }
    numbers_.Close();
    windows_ = std::move(windows);
    LookForStrangers(contents.orders);
  }

  void LookAtOutbox(const Publisher& publisher, const Window& window,
                    const TopicContents& contents) {
    databases_.EachEvent(publisher, window, [&](const OutboxEvent& event) {
      ++report_.events;
      int64_t order = 0;
      std::from_chars(event.key.data(), event.key.data() + event.key.size(), order);
      if (publisher.topic == "orders") numbers_.Add(order, event.seq);
      if (!event.has_to_be_on_topic || contents.Has(event.event_id)) return;
      Note();
      off_topic_.push_back(
          {&publisher,
           event.id,
           {Kind::kEventNotOnTopic, "order " + event.key,
            fmt::format("{} was published, says the outbox of {}; topic {} does "
                        "not have it (ce_id {})",
                        event.type, publisher.service, publisher.topic, event.event_id)}});
    });
  }

  // Orders that the topic tells of and that are not there.
  void LookForStrangers(const std::vector<int64_t>& told) {
    for (size_t at = 0; at < told.size(); at += static_cast<size_t>(options_.batch)) {
      KeepToStop();
      const size_t end = std::min(at + static_cast<size_t>(options_.batch), told.size());
      const std::vector<int64_t> some(told.begin() + static_cast<ptrdiff_t>(at),
                                      told.begin() + static_cast<ptrdiff_t>(end));
      for (const int64_t order : databases_.WithoutOrder(some)) {
        Note();
        strangers_.push_back(order);
      }
    }
  }

  // All that the provider knows, with the orders it is about.
  void LookAtLedger() {
    for (std::optional<int64_t> after = 0; after;) {
      KeepToStop();
      LedgerPage page = ledger_.List(*after, stop_);
      after = page.next;
      std::vector<std::string> uuids;
      std::map<std::string, LedgerEntry> entries;
      for (LedgerEntry& entry : page.entries) {
        if (!IsUuid(entry.key)) {
          foreign_.push_back(Compare(OrderView{.uuid = entry.key, .ledger = entry}).front());
          continue;
        }
        in_ledger_.Add(entry.key);
        uuids.push_back(entry.key);
        entries.emplace(entry.key, std::move(entry));
      }
      for (OrderView& view : databases_.Views(uuids)) {
        view.ledger = entries.at(view.uuid);
        Look(view);
      }
    }
    in_ledger_.Close();
  }

  // All orders; those of which the provider knows nothing are compared here.
  void LookAtOrders() {
    const Window& window = windows_.at("orders");
    int64_t last = 0;
    for (;;) {
      KeepToStop();
      const std::vector<ListedOrder> page = databases_.OrdersAfter(last, options_.batch, window);
      if (page.empty()) return;
      last = page.back().id;
      report_.orders += static_cast<int64_t>(page.size());
      std::vector<std::string> uuids;
      for (const ListedOrder& order : page) {
        if (!in_ledger_.Has(order.uuid)) uuids.push_back(order.uuid);
        if (!order.still) continue;  // its events may be younger than what was read of them
        Drifts drifts =
            Compare(OrderEvents{order.id, order.seq, order.all_events, numbers_.Of(order.id)});
        if (drifts.empty()) continue;
        Note();
        events_.emplace(order.id, std::move(drifts));
      }
      for (const OrderView& view : databases_.Views(uuids)) Look(view);
    }
  }

  // What others keep for orders that are not there.
  void LookAtOthers() {
    for (const Keeper keeper : {Keeper::kProducts, Keeper::kPayments, Keeper::kShipping}) {
      std::string last = kBeforeAllUuids;
      for (;;) {
        KeepToStop();
        const std::vector<std::string> page =
            databases_.OrdersKnownTo(keeper, last, options_.batch);
        if (page.empty()) break;
        last = page.back();
        for (OrderView& view : databases_.Views(databases_.WithoutOrder(page))) {
          if (in_ledger_.Has(view.uuid)) continue;  // it was compared before
          Look(view);
        }
      }
    }
  }

  void LookAtProducts() {
    databases_.EachProduct([&](const std::vector<Product>& some) {
      KeepToStop();
      for (const Product& product : some) {
        ++report_.products;
        Drifts drifts = Compare(product);
        if (drifts.empty()) continue;
        Note();
        products_.emplace(product.id, Found{product.version, std::move(drifts)});
      }
    });
  }

  void Look(const OrderView& view) {
    Drifts drifts = Compare(view);
    if (drifts.empty()) return;
    Note();
    orders_.insert_or_assign(view.uuid, Found{VersionOf(view), std::move(drifts)});
    if (view.order) numbers_of_orders_.emplace(view.uuid, view.order->id);
  }

  // Counts what was found.
  void Note() {
    if (++found_ > kMostFound) {
      throw Unreadable(
          fmt::format("more than {} subjects differ: a service is far behind, or a "
                      "whole database is of another time",
                      kMostFound));
    }
  }

  // --- the second look

  void LookAgain() {
    std::vector<int64_t> suspected;
    for (const auto& [uuid, id] : numbers_of_orders_) suspected.push_back(id);
    std::set<int64_t> under_way = UnderWay(suspected);
    if (found_ > 0 || AnyStuck()) Pause(options_.settle, stop_);
    if (!orders_.empty()) {
      WaitUntilConsumed();
      under_way.merge(UnderWay(suspected));
      if (report_.why_undecided.empty()) WaitUntilConsumed();
    }
    LookAtOrdersAgain(under_way);
    LookAtEventsAgain();
    LookAtProductsAgain();
    LookAtOutboxesAgain();
    std::ranges::move(foreign_, std::back_inserter(report_.drifts));
  }

  std::set<int64_t> UnderWay(const std::vector<int64_t>& orders) {
    return orders.empty() ? std::set<int64_t>() : databases_.WithEventsUnderWay(orders);
  }

  // Until all groups have consumed what is on the topics now, or the patience is over: then it says
  // who is behind.
  void WaitUntilConsumed() {
    const std::map<messaging::Place, int64_t> ends = topics_.Ends();
    const auto give_up = steady_clock::now() + options_.patience;
    for (;;) {
      const std::string behind = WhoIsBehind(ends);
      if (behind.empty()) return;
      if (steady_clock::now() > give_up) {
        report_.why_undecided = behind;
        return;
      }
      Pause(kPoll, stop_);
    }
  }

  std::string WhoIsBehind(const std::map<messaging::Place, int64_t>& ends) {
    for (const Group& group : kGroups) {
      const std::map<messaging::Place, int64_t> positions = databases_.Positions(group);
      for (const auto& end : ends) {
        const std::string& topic = end.first.first;
        if (std::ranges::find(group.topics, topic) == group.topics.end()) continue;
        if (!messaging::HasReached(positions, {end})) {
          return fmt::format("group {} has not consumed all of topic {}, partition {}",
                             group.service, topic, end.first.second);
        }
      }
    }
    return {};
  }

  // Calls `look` with the keys of what was found, some at a time.
  template <typename Key, typename Look>
  void InBatches(const std::map<Key, Found>& found, const Look& look) {
    std::vector<Key> keys;
    for (auto at = found.begin(); at != found.end();) {
      keys.push_back(at->first);
      if (++at != found.end() && keys.size() < static_cast<size_t>(options_.batch)) continue;
      KeepToStop();
      look(keys);
      keys.clear();
    }
  }

  void LookAtOrdersAgain(const std::set<int64_t>& under_way) {
    InBatches(orders_, [&](const std::vector<std::string>& uuids) {
      for (OrderView& view : databases_.Views(uuids)) {
        const Found& before = orders_.at(view.uuid);
        if (VersionOf(view) != before.version) continue;
        view.ledger = ledger_.Find(view.uuid, stop_);
        const bool moves = view.order && under_way.contains(view.order->id);
        Confirm(before, Compare(view), moves);
      }
    });
  }

  // Reports what is the same at both looks. Of an order with events under way what these could
  // resolve is none; while a group is behind it is undecided.
  void Confirm(const Found& before, const Drifts& now, bool moves) {
    for (const Drift& drift : now) {
      if (std::ranges::find(before.drifts, drift) == before.drifts.end()) continue;
      if (!MayBeUnderWay(drift.kind)) {
        report_.drifts.push_back(drift);
      } else if (!report_.why_undecided.empty()) {
        ++report_.undecided;
      } else if (!moves) {
        report_.drifts.push_back(drift);
      }
    }
  }

  void LookAtEventsAgain() {
    std::vector<int64_t> orders;
    for (const auto& [order, drifts] : events_) orders.push_back(order);
    if (!orders.empty()) {
      for (const OrderEvents& events : databases_.EventsOf(orders, windows_.at("orders"))) {
        Confirm({.version = {}, .drifts = events_.at(events.order_id)}, Compare(events), false);
      }
    }
    for (const Publisher& publisher : kPublishers) LookOffTopicAgain(publisher);
    if (strangers_.empty()) return;
    for (const int64_t order : databases_.WithoutOrder(strangers_)) {
      report_.drifts.push_back({Kind::kEventWithoutOrder, "order " + std::to_string(order),
                                "topic orders tells of it, and there is no such order"});
    }
  }

  // A topic only grows, so what it did not have it still has not, unless the row was published again.
  void LookOffTopicAgain(const Publisher& publisher) {
    std::vector<int64_t> rows;
    for (const OffTopic& event : off_topic_) {
      if (event.publisher == &publisher) rows.push_back(event.row);
    }
    if (rows.empty()) return;
    const std::set<int64_t> still =
        databases_.StillPublished(publisher.service, rows, windows_.at(publisher.service));
    for (const OffTopic& event : off_topic_) {
      if (event.publisher == &publisher && still.contains(event.row)) {
        report_.drifts.push_back(event.drift);
      }
    }
  }

  void LookAtProductsAgain() {
    InBatches(products_, [&](const std::vector<int64_t>& ids) {
      for (const Product& product : databases_.Products(ids)) {
        const Found& before = products_.at(product.id);
        if (product.version == before.version) Confirm(before, Compare(product), false);
      }
    });
  }

  bool AnyStuck() const {
    return std::ranges::any_of(outboxes_, [&](const Outbox& outbox) {
      return !Compare(outbox, options_.outbox_seconds).empty();
    });
  }

  void LookAtOutboxesAgain() {
    if (!AnyStuck()) return;
    for (const Outbox& now : databases_.Outboxes()) {
      const auto before = std::ranges::find(outboxes_, now.service, &Outbox::service);
      if (before->oldest_id != now.oldest_id) continue;
      std::ranges::move(Compare(now, options_.outbox_seconds), std::back_inserter(report_.drifts));
    }
  }

  Databases& databases_;
  Ledger& ledger_;
  Topics& topics_;
  const Options& options_;
  const std::stop_token stop_;

  std::map<std::string, Window> windows_;  // by service
  Numbers numbers_;
  Known in_ledger_;

  // What the first look has found.
  size_t found_ = 0;
  std::map<std::string, Found> orders_;  // by UUID
  std::map<std::string, int64_t> numbers_of_orders_;
  std::map<int64_t, Found> products_;
  std::map<int64_t, Drifts> events_;  // by order
  std::vector<OffTopic> off_topic_;
  std::vector<int64_t> strangers_;
  std::vector<Outbox> outboxes_;
  Drifts foreign_;  // of the provider, with keys that are no UUIDs: nothing can change there

  Report report_;
};

}  // namespace

Report Reconciler::Run(const std::stop_token& stop) {
  const DeadlineScope until_stopped(DeadlineScope::TimePoint::max(), stop);
  return reconciler::Run(databases_, ledger_, topics_, options_, stop).Do();
}

}  // namespace shop::reconciler
