#include "common/messaging/operator.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>

#include "common/messaging/positions.h"
#include "common/messaging/refused.h"
#include "common/messaging/republish.h"
#include "common/messaging/retry_queue.h"

namespace shop::messaging {
namespace {

constexpr int kDone = 0;
constexpr int kFailed = 1;
constexpr int kNotUnderstood = 2;
constexpr int kListed = 200;
// In the ids of events that were never published, after the service's name.
constexpr char kOutbox[] = "-outbox-";

constexpr char kUsage[] =
    "usage: messages dead [GROUP]\n"
    "       messages redrive SERVICE-NUMBER [--apply]\n"
    "       messages discard SERVICE-NUMBER|SERVICE-outbox-NUMBER [--apply]\n"
    "       messages gaps\n"
    "       messages republish TOPIC [--since TIME] [--apply]\n"
    "       messages resume GROUP TOPIC [--from TIME] [--apply]\n";
constexpr char kMore[] = "(there may be more: these are the oldest)\n";
constexpr char kDryRun[] = "Nothing was changed: APPLY=1 (--apply) does it.\n";

// The words of a command: those in order, and the options.
struct Words {
  std::vector<std::string> plain;
  std::optional<std::string> time;  // of --since or --from
  bool apply = false;
  bool good = true;
};

Words Sort(const std::vector<std::string>& words) {
  Words sorted;
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--apply") {
      sorted.apply = true;
    } else if ((words[i] == "--since" || words[i] == "--from") && i + 1 < words.size()) {
      sorted.time = words[++i];
    } else {
      sorted.good = sorted.good && !words[i].starts_with("--");
      sorted.plain.push_back(words[i]);
    }
  }
  return sorted;
}

std::string Events(int64_t count) {
  return std::to_string(count) + (count == 1 ? " event" : " events");
}

class Operator {
 public:
  Operator(postgres::Pool& db, const std::string& service, std::ostream& out)
      : db_(db), service_(service), out_(out) {}

  int Dead(const std::string& group) {
    const std::vector<QueuedEvent> events = ListRetryQueue(db_, kListed, group);
    for (const QueuedEvent& event : events) Show(event);
    if (events.size() == kListed) out_ << kMore;
    if (!group.empty()) return kDone;
    const std::vector<RefusedEvent> refused = ListRefused(db_, kListed);
    for (const RefusedEvent& event : refused) Show(event);
    if (refused.size() == kListed) out_ << kMore;
    return kDone;
  }

  int Redrive(const std::string& name, bool apply) {
    const std::optional<QueuedEvent> event = Find(name);
    if (!event) return kFailed;
    if (!event->dead) {
      out_ << name << " is not dead: it is tried again by itself, "
           << (event->first ? "at " + event->retry_at : "after the earlier ones of its key")
           << ".\n";
      return kFailed;
    }
    out_ << "Tried again at once with the same ce_id, before the later ones of its key ("
         << event->later << ")" << (event->first ? "" : "; earlier ones of its key go first")
         << ".\n";
    if (!apply) return DryRun();
    return messaging::Redrive(db_, event->id) ? Changed(name + " is redriven") : Gone(name);
  }

  int Drop(const std::string& name, bool apply) {
    if (name.starts_with(service_ + kOutbox)) return DropRefused(name, apply);
    const std::optional<QueuedEvent> event = Find(name);
    if (!event) return kFailed;
    out_ << "Dropped for good: " << event->group << " counts it as consumed, and the later ones of "
         << "its key (" << event->later << ") go on without it.\n";
    if (!apply) return DryRun();
    return Discard(db_, event->id) ? Changed(name + " is discarded") : Gone(name);
  }

  // An event that was never published.
  int DropRefused(const std::string& name, bool apply) {
    const std::optional<int64_t> id = NumberIn(name, service_ + kOutbox);
    const std::vector<RefusedEvent> refused = ListRefused(db_, std::numeric_limits<int>::max());
    const auto event =
        std::ranges::find_if(refused, [&](const RefusedEvent& one) { return id && one.id == *id; });
    if (event == refused.end()) return Gone(name);
    Show(*event);
    out_ << "Dropped for good: it is never published, and the later ones of its key are.\n";
    if (!apply) return DryRun();
    return DiscardRefused(db_, *id) ? Changed(name + " is discarded") : Gone(name);
  }

  int Gaps() {
    for (const Gap& gap : ListGaps(db_)) {
      out_ << gap.group << "  " << gap.topic << "/" << gap.partition << "  found " << gap.found_at
           << "\n  next is " << gap.next << ", the topic has " << gap.first << " up to "
           << gap.until - 1 << ": at least " << Events(gap.missing())
           << (gap.missing() == 1 ? " is" : " are") << " gone\n  last consumed " << gap.consumed_at
           << (gap.resume ? "; goes on by itself now\n" : "\n");
    }
    return kDone;
  }

  int PublishAgain(const std::string& topic, const std::optional<std::string>& since, bool apply) {
    const Republication found =
        apply ? Republish(db_, topic, since) : FindPublished(db_, topic, since);
    out_ << service_ << ": " << Events(found.events) << " of " << topic;
    if (found.events > 0) out_ << ", written from " << found.first << " to " << found.last;
    out_ << (apply ? ", will be published again.\n" : " would be published again.\n");
    if (!apply) return DryRun();
    out_ << "A group that stopped at a gap goes on with them by:\n  make resume GROUP=... TOPIC="
         << topic << " FROM='" << found.from << "'\n";
    return kDone;
  }

  int Resume(const std::string& group, const std::string& topic,
             const std::optional<std::string>& from, bool apply) {
    int64_t missing = 0;
    int partitions = 0;
    for (const Gap& gap : ListGaps(db_)) {
      if (gap.group != group || gap.topic != topic) continue;
      ++partitions;
      missing += gap.missing();
    }
    if (partitions == 0) {
      out_ << service_ << ": " << group << " has no gap on " << topic << ".\n";
      return kFailed;
    }
    out_ << group << " goes on with " << topic << " on " << partitions << " partitions, "
         << (from ? "with the first event from " + *from + " on"
                  : "with the first events there are")
         << ". What is gone (at least " << Events(missing)
         << ") it consumes only if it was published again"
         << (from ? ".\n" : "; without FROM that comes after what is there now.\n");
    if (!apply) return DryRun();
    ResumeGaps(db_, group, topic, from);
    return Changed(group + " goes on within seconds");
  }

 private:
  void Show(const QueuedEvent& event) {
    out_ << service_ << "-" << event.id << "  " << (event.dead ? "dead" : "waiting") << "  "
         << event.group << "  " << event.type << "  " << event.topic << " key " << event.key
         << "\n  came " << event.came_at << " as " << event.topic << " " << event.partition << "/"
         << event.position << ", ce_id " << event.event_id << "\n  tried " << event.attempts
         << " times";
    if (!event.first) {
      out_ << ", waits for an earlier one of its key";
    } else if (!event.dead) {
      out_ << ", next at " << event.retry_at;
    }
    out_ << "; later ones of its key: " << event.later << "\n  " << event.reason << "\n";
  }

  void Show(const RefusedEvent& event) {
    out_ << service_ << kOutbox << event.id << "  refused by Kafka  " << event.type << "  "
         << event.topic << " key " << event.key << "\n  ce_id " << event.event_id
         << "; the later ones of its key wait\n  " << event.reason << "\n";
  }

  static std::optional<int64_t> NumberIn(const std::string& name, const std::string& prefix) {
    int64_t number = 0;
    const char* end = name.data() + name.size();
    const bool shaped = name.starts_with(prefix) && name.size() > prefix.size();
    if (!shaped || std::from_chars(name.data() + prefix.size(), end, number).ptr != end) {
      return std::nullopt;
    }
    return number;
  }

  std::optional<QueuedEvent> Find(const std::string& name) {
    const std::optional<int64_t> id = NumberIn(name, service_ + "-");
    if (!id) {
      out_ << "'" << name << "' is no id of an event here, such as " << service_
           << "-17: make dead lists them.\n";
      return std::nullopt;
    }
    std::optional<QueuedEvent> event = FindQueued(db_, *id);
    if (!event) {
      Gone(name);
    } else {
      Show(*event);
    }
    return event;
  }

  int DryRun() {
    out_ << kDryRun;
    return kDone;
  }
  int Changed(const std::string& what) {
    out_ << what << ".\n";
    return kDone;
  }
  int Gone(const std::string& name) {
    out_ << name << " is not among the events that wait (any more): make dead lists them.\n";
    return kFailed;
  }

  postgres::Pool& db_;
  const std::string& service_;
  std::ostream& out_;
};

}  // namespace

int RunOperatorCommand(postgres::Pool& db, const std::string& service,
                       const std::vector<std::string>& words, std::ostream& out) {
  const Words sorted = Sort(words);
  const std::vector<std::string>& plain = sorted.plain;
  Operator runs(db, service, out);
  try {
    const auto is = [&](const char* name, size_t least, size_t most) {
      return sorted.good && !plain.empty() && plain[0] == name && plain.size() >= least + 1 &&
             plain.size() <= most + 1;
    };
    if (is("dead", 0, 1)) return runs.Dead(plain.size() > 1 ? plain[1] : "");
    if (is("redrive", 1, 1)) return runs.Redrive(plain[1], sorted.apply);
    if (is("discard", 1, 1)) return runs.Drop(plain[1], sorted.apply);
    if (is("gaps", 0, 0)) return runs.Gaps();
    if (is("republish", 1, 1)) return runs.PublishAgain(plain[1], sorted.time, sorted.apply);
    if (is("resume", 2, 2)) return runs.Resume(plain[1], plain[2], sorted.time, sorted.apply);
  } catch (const pqxx::data_exception& error) {
    out << "That is no time: 2026-11-20, or '2026-11-20 14:30+01'.\n";
    return kNotUnderstood;
  } catch (const std::exception& error) {
    out << service << ": " << error.what() << "\n";
    return kFailed;
  }
  out << kUsage;
  return kNotUnderstood;
}

}  // namespace shop::messaging
