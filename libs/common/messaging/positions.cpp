#include "common/messaging/positions.h"

#include "common/postgres/columns.h"

namespace shop::messaging {
namespace {

using postgres::Array;
using postgres::InTransaction;
using postgres::Read;
using postgres::Statement;
using postgres::Tx;

constexpr Statement kSave{
    "INSERT INTO consumer_positions (consumer, topic, partition, next)"
    " SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::bigint[])"
    " ON CONFLICT (consumer, topic, partition) DO UPDATE"
    " SET next = excluded.next, saved_at = excluded.saved_at"
    " WHERE consumer_positions.next <> excluded.next"};
constexpr Statement kPositions{
    "SELECT topic, partition, next FROM consumer_positions WHERE consumer = $1"};
constexpr Statement kNote{
    "INSERT INTO consumer_gaps AS known (consumer, topic, partition, next, first, until)"
    " VALUES ($1, $2, $3, $4, $5, $6)"
    " ON CONFLICT (consumer, topic, partition) DO UPDATE"
    " SET next = excluded.next, first = excluded.first, until = excluded.until,"
    "     resume = known.resume AND known.next = excluded.next AND known.first = excluded.first"
    " RETURNING resume, extract(epoch FROM resume_from)::float8"};
constexpr Statement kForget{
    "DELETE FROM consumer_gaps WHERE consumer = $1 AND topic = $2 AND partition = $3"};
constexpr Statement kList{
    "SELECT gaps.consumer, gaps.topic, gaps.partition, gaps.next, first, until, resume,"
    " date_trunc('second', found_at)::text,"
    " coalesce(date_trunc('second', saved_at)::text, 'unknown')"
    " FROM consumer_gaps AS gaps LEFT JOIN consumer_positions AS positions"
    "   ON positions.consumer = gaps.consumer AND positions.topic = gaps.topic"
    "   AND positions.partition = gaps.partition ORDER BY 1, 2, 3"};
constexpr Statement kResume{
    "UPDATE consumer_gaps SET resume = true, resume_from = $3::timestamptz"
    " WHERE consumer = $1 AND topic = $2"};

}  // namespace

void SavePositions(postgres::Pool& db, const std::string& group,
                   const std::map<Place, int64_t>& next) {
  using Entry = std::map<Place, int64_t>::value_type;
  InTransaction(db, [&](Tx& tx) {
    // A crash loses no more than what Kafka has kept as well.
    tx.Run("SET LOCAL synchronous_commit = off");
    tx.Exec(kSave, group, Array(next, [](const Entry& entry) { return entry.first.first; }),
            Array(next, [](const Entry& entry) { return entry.first.second; }),
            Array(next, &Entry::second));
  });
}

std::map<Place, int64_t> Positions(postgres::Pool& db, const std::string& group) {
  std::map<Place, int64_t> positions;
  for (const auto& row : Read(db, [&](Tx& tx) { return tx.Exec(kPositions, group); })) {
    positions[{row[0].as<std::string>(), row[1].as<int>()}] = row[2].as<int64_t>();
  }
  return positions;
}

bool HasReached(const std::map<Place, int64_t>& positions, const std::map<Place, int64_t>& ends) {
  return std::ranges::all_of(ends, [&](const auto& end) {
    const auto position = positions.find(end.first);
    return position == positions.end() ? end.second == 0 : position->second >= end.second;
  });
}

Gap NoteGap(postgres::Pool& db, const Gap& gap) {
  return InTransaction(db, [&](Tx& tx) {
    const pqxx::result known =
        tx.Exec(kNote, gap.group, gap.topic, gap.partition, gap.next, gap.first, gap.until);
    Gap noted = gap;
    noted.resume = known[0][0].as<bool>();
    if (!known[0][1].is_null()) noted.resume_from = known[0][1].as<double>();
    return noted;
  });
}

void ForgetGap(postgres::Pool& db, const std::string& group, const Place& place) {
  InTransaction(db, [&](Tx& tx) { tx.Exec(kForget, group, place.first, place.second); });
}

std::vector<Gap> ListGaps(postgres::Pool& db) {
  std::vector<Gap> gaps;
  for (const auto& row : Read(db, [&](Tx& tx) { return tx.Exec(kList); })) {
    gaps.push_back({.group = row[0].as<std::string>(),
                    .topic = row[1].as<std::string>(),
                    .partition = row[2].as<int>(),
                    .next = row[3].as<int64_t>(),
                    .first = row[4].as<int64_t>(),
                    .until = row[5].as<int64_t>(),
                    .resume = row[6].as<bool>(),
                    .found_at = row[7].as<std::string>(),
                    .consumed_at = row[8].as<std::string>()});
  }
  return gaps;
}

int ResumeGaps(postgres::Pool& db, const std::string& group, const std::string& topic,
               const std::optional<std::string>& from) {
  return InTransaction(db, [&](Tx& tx) {
    return static_cast<int>(tx.Exec(kResume, group, topic, from).affected_rows());
  });
}

}  // namespace shop::messaging
