// Where consumer groups stand, in the database of their service, and the gaps they stand in front
// of. For Consumer and for an operator's commands (operator.h).
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/postgres/pool.h"

namespace shop::messaging {

using Place = std::pair<std::string, int>;  // topic, partition

// Keeps the next record of each of these partitions, and for one that has changed the time.
void SavePositions(postgres::Pool& db, const std::string& group,
                   const std::map<Place, int64_t>& next);
// The next record of each partition that was ever kept for the group.
std::map<Place, int64_t> Positions(postgres::Pool& db, const std::string& group);
// Whether everything before these offsets is done, by these positions. A partition that the group has no
// position of has to be empty.
bool HasReached(const std::map<Place, int64_t>& positions, const std::map<Place, int64_t>& ends);

// The group needs the record `next`, and the partition has those from `first` up to before `until`:
// it was away for longer than the topic keeps events, or the topic has lost some.
struct Gap {
  std::string group;
  std::string topic;
  int partition = 0;
  int64_t next = 0;
  int64_t first = 0;
  int64_t until = 0;
  bool resume = false;  // a person has said where to go on
  // Seconds since 1970, by the clocks of those who published: the first record from then on;
  // without, `first`.
  std::optional<double> resume_from = {};
  std::string found_at = {};     // for people
  std::string consumed_at = {};  // when the group last went on with this partition; for people

  // How many records are missing at least. A topic that ended before `next` and has grown past it
  // since does not tell: one.
  int64_t missing() const { return std::max<int64_t>({first - next, next - until, 1}); }
};

// Keeps the gap and answers what is known of it: a person's word on the very same gap stands.
Gap NoteGap(postgres::Pool& db, const Gap& gap);
// Forgets the gap of a partition, which the group has left behind.
void ForgetGap(postgres::Pool& db, const std::string& group, const Place& place);

std::vector<Gap> ListGaps(postgres::Pool& db);
// Has the group leave its gaps on the topic behind, within seconds: it goes on with the first
// record from the time `from` on (as PostgreSQL reads times), or without it with the first that
// there is. Answers on how many partitions.
int ResumeGaps(postgres::Pool& db, const std::string& group, const std::string& topic,
               const std::optional<std::string>& from);

}  // namespace shop::messaging
