// The outbox: events are rows of the service's own database, written in the transaction of the
// change that they tell about, so that either both are kept or neither. A relay
// (common/kafka/relay.h) publishes them after the commit, at least once. Needs the tables of
// kMessagingMigrations ("messaging_migrations.h").
#pragma once

#include <google/protobuf/message.h>

#include <vector>

#include "common/messaging/event.h"
#include "common/postgres/pool.h"

namespace shop::messaging {

// What Publish signals (postgres::Pool::Subscribe): a relay on the same pool wakes at the commit.
inline constexpr char kOutboxSignal[] = "outbox";

// Appends an event to this database's outbox in the caller's transaction; the relay publishes it
// after the commit, of which it learns by itself.
void Publish(postgres::Tx& tx, const google::protobuf::Message& message,
             const EventContext& context);
void Publish(postgres::Tx& tx, const Envelope& event);
// Several by one statement; they are published in this order.
void Publish(postgres::Tx& tx, const std::vector<Envelope>& events);

}  // namespace shop::messaging
