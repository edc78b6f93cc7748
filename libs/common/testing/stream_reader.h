// The client of one stream of a server.
//
//   testing::StreamReader watching(server.address(), callers.User(7),
//                                  "/shop.orders.v1.OrdersService/WatchOrder", request);
//   TimelineEntry entry;
//   ASSERT_TRUE(watching.Next(&entry));
#pragma once

#include <google/protobuf/message.h>

#include <memory>
#include <string>

#include "common/core/result.h"
#include "common/testing/callers.h"

namespace shop::testing {

// Used by one thread. Nothing waits longer than twenty seconds after it was made.
class StreamReader {
 public:
  StreamReader(const std::string& address, const Credentials& credentials, const std::string& path,
               const google::protobuf::Message& request);
  // Cancels the stream.
  ~StreamReader();
  StreamReader(const StreamReader&) = delete;
  StreamReader& operator=(const StreamReader&) = delete;

  // Waits for the next message; false at the end.
  bool Next(google::protobuf::Message* message);
  // How it ended. Cancels a stream that has not.
  Result<void> End();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::testing
