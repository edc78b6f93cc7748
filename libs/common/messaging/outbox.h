// The outbox: events are rows of the service's own database, written in the transaction of the
// change that they tell about, so that either both are kept or neither. A relay
// (common/kafka/relay.h) takes them to Kafka after the commit, at least once. Needs the tables of
// kMessagingMigrations ("messaging_migrations.h").
#pragma once

#include <google/protobuf/message.h>

#include <vector>

#include "common/messaging/event.h"
#include "common/postgres/pool.h"

namespace shop::messaging {

// What Publish signals at the commit (postgres::Pool::Subscribe), which wakes a relay on this pool.
inline constexpr char kOutboxSignal[] = "outbox";

// Appends an event to this database's outbox in the caller's transaction. The commit wakes the
// relay by itself; nothing leaves when the transaction is rolled back.
void Publish(postgres::Tx& tx, const google::protobuf::Message& message,
             const EventContext& context);
void Publish(postgres::Tx& tx, const Envelope& event);
// Several by one statement; they are published in this order.
void Publish(postgres::Tx& tx, const std::vector<Envelope>& events);

}  // namespace shop::messaging
