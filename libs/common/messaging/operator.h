// The commands an operator has for the messages of one service, over retry_queue.h, refused.h,
// positions.h and republish.h. `make dead`, `make redrive` and the others run them for the services concerned.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "common/postgres/pool.h"

namespace shop::messaging {

// Runs one command on the database of `service`, writes what it says to `out`, and answers the exit
// code: 0 when it was done, 1 when it could not be, 2 when the words are not understood.
//
//   dead [GROUP]                  dead letters, and what waits to be tried again; without a group
//                                 also the events that Kafka refuses
//   redrive ID [--apply]          has a dead letter tried again; ID as dead lists it, SERVICE-NUMBER
//   discard ID [--apply]          drops an event for good; also SERVICE-outbox-NUMBER, an event
//                                 that Kafka refuses
//   gaps                          partitions on which a group stopped, as the next events are gone
//   republish TOPIC [--since TIME] [--apply]
//                                 publishes what the outbox has once more
//   resume GROUP TOPIC [--from TIME] [--apply]
//                                 has a group go on after its gaps
//
// Without --apply a command says what it would do, and changes nothing.
int RunOperatorCommand(postgres::Pool& db, const std::string& service,
                       const std::vector<std::string>& words, std::ostream& out);

}  // namespace shop::messaging
