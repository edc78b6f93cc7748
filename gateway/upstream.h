// Calls of the services: rpcs of any message types. No thread waits for a call.
//
// One thread takes completed calls from gRPC's queue, parses their responses and resumes the
// callers on their own executors. Nothing is retried that may have run: only a client knows what may run
// twice. What a connection did not take as it was ending goes to the next one.
#pragma once

#include <google/protobuf/arena.h>
#include <google/protobuf/message.h>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/core/result.h"
#include "common/rpc/tls.h"
#include "gateway/streaming/upstream_stream.h"

namespace shop::gateway {

class Upstreams {
 public:
  explicit Upstreams(rpc::Tls tls);
  // No call may be running any more, and no stream be left. Waits until gRPC is done with the calls of streams
  // that were dropped.
  ~Upstreams();

  // Opens a channel to the service `name`, balanced over all addresses behind `address`, and returns its
  // number. Connects in the background, and again whenever the connection is lost. Only before the first call.
  size_t Connect(const std::string& name, const std::string& address);
  // Whether calls of it can be expected to arrive: it was connected to, and reconnecting has not
  // failed since. Services end their connections now and then; that alone does not make it false.
  // Never blocks.
  bool IsReachable(size_t upstream) const;

  struct Request {
    size_t upstream;
    const std::string& path;  // /shop.orders.v1.OrdersService/GetOrder
    const google::protobuf::Message& message;
    const google::protobuf::Message& response_type;
    std::chrono::system_clock::time_point deadline;
    std::vector<std::pair<std::string, std::string>> metadata;
  };

  struct Reply {
    virtual ~Reply() = default;

    google::protobuf::Arena arena;
    google::protobuf::Message* message = nullptr;  // of response_type, lives as long as the reply
    std::optional<Refusal> refusal;                // then the message is empty
    bool replayed = false;                         // whether it is an earlier answer, given again
    bool not_taken = false;                        // whether the service has not seen the call
  };

  // Ends at the deadline at the latest. Cancelling the coroutine cancels the call.
  boost::asio::awaitable<std::shared_ptr<const Reply>> Call(Request request);

  // Calls a method that streams its responses; without the request's deadline. `on_change` runs on
  // `executor`, from where alone the stream is used, whenever there is something new in it.
  std::unique_ptr<UpstreamStream> OpenStream(const Request& request,
                                             const boost::asio::any_io_executor& executor,
                                             std::function<void()> on_change);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::gateway
