// What a server-streaming method shows.
//
//   Result<rpc::Stream<OrderChange>> OrdersService::WatchOrder(const Call& call,
//                                                              const WatchOrderRequest& request) {
//     …  // refuse, or
//     return rpc::Stream<OrderChange>{
//         .hub = &changes_,
//         .key = request.id(),
//         .after = request.last_event_id(),
//         .read = [this, id = request.id()](int64_t after) { return ChangesAfter(id, after); }};
//   }
//
// The messages of a stream are numbered, by their field with the option shop.api.v1.stream_id: each
// has a larger id than the one before. A stream holds no thread and no message that its client does
// not take: it is registered at its hub under its key, is woken when there may be more, and then
// reads what comes after the last message that was written. Nothing is read while a message is being
// written. As it registers first and reads then, nothing is missed; as it reads by id, nothing comes
// twice, and who comes back with the last id that they have seen goes on from there.
#pragma once

#include <google/protobuf/message.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace shop::rpc {

class StreamHub;

template <typename Message>
struct Stream {
  StreamHub* hub = nullptr;  // outlives the server
  int64_t key = 0;           // under which the stream is woken, such as the order's id
  int64_t after = 0;         // the id of the last message that the client has, 0 for none
  // What comes after this id, in order, some at a time; nothing when there is nothing yet. Called on
  // one thread at a time, within a DeadlineScope. When it throws Unavailable, the stream waits for
  // the hub's next poll and asks again; any other exception ends the stream as INTERNAL.
  std::function<std::vector<Message>(int64_t after)> read;
};

// A stream with its type erased.
struct OpenedStream {
  struct Message {
    int64_t id;
    std::string bytes;  // on the wire
  };

  StreamHub* hub = nullptr;
  int64_t key = 0;
  int64_t after = 0;
  std::function<std::vector<Message>(int64_t after)> read;
};

// The field with the option stream_id. Throws std::logic_error when there is none, or no int64.
const google::protobuf::FieldDescriptor* StreamIdOf(const google::protobuf::Descriptor& message);

template <typename Message>
OpenedStream Erase(Stream<Message> stream, const google::protobuf::FieldDescriptor* id) {
  return {stream.hub, stream.key, stream.after, [read = std::move(stream.read), id](int64_t after) {
            std::vector<OpenedStream::Message> messages;
            for (const Message& message : read(after)) {
              messages.push_back(
                  {message.GetReflection()->GetInt64(message, id), message.SerializeAsString()});
            }
            return messages;
          }};
}

}  // namespace shop::rpc
