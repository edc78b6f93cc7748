#include "common/testing/published_events.h"

#include "common/messaging/headers.h"

namespace shop::testing {

std::vector<messaging::Envelope> PublishedEvents(postgres::Pool& db) {
  std::vector<messaging::Envelope> events;
  for (const auto& row : postgres::Read(db, [](postgres::Tx& tx) {
         return tx.Run(
             "SELECT topic, key, event_id, type, source, time, traceparent, value, headers::text"
             " FROM outbox ORDER BY id");
       })) {
    events.push_back({.topic = row[0].as<std::string>(),
                      .key = row[1].as<std::string>(),
                      .id = row[2].as<std::string>(),
                      .type = row[3].as<std::string>(),
                      .source = row[4].as<std::string>(),
                      .time = row[5].as<std::string>(),
                      .trace = TraceContext::FromHeader(row[6].as<std::string>()),
                      .value = row[7].as<std::string>()});
    if (!row[8].is_null()) events.back().headers = messaging::HeadersFromJson(row[8].c_str());
  }
  return events;
}

std::vector<std::string> PublishedTypes(postgres::Pool& db) {
  std::vector<std::string> types;
  for (const messaging::Envelope& event : PublishedEvents(db)) types.push_back(event.type);
  return types;
}

}  // namespace shop::testing
