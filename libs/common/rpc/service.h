// A gRPC service as a table of plain functions.
//
//   rpc::Service OrdersService::Methods() {
//     return rpc::Service("shop.orders.v1.OrdersService")
//         .On("CreateOrder", this, &OrdersService::CreateOrder)
//         .On("GetOrder", this, &OrdersService::GetOrder)
//         .OnStream("WatchOrder", this, &OrdersService::WatchOrder);
//   }
//
// Adding an rpc is: declare it in proto/, write the function, name it here. What surrounds a
// handler (caller, access, field rules, deadline, log, metrics, errors) is rpc::Server's and the
// same for all.
#pragma once

#include <google/protobuf/message.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "common/core/result.h"
#include "common/rpc/call.h"
#include "common/rpc/stream.h"

namespace shop::rpc {

// One method: its descriptor and the function behind it with its types erased: `handle`, or for one
// that streams `open`.
struct Method {
  using Reply = std::function<void(const google::protobuf::Message&)>;
  // Calls `reply` once with the answer, or refuses.
  using Handler =
      std::function<Result<void>(const Call&, const google::protobuf::Message&, const Reply&)>;
  using Opener = std::function<Result<OpenedStream>(const Call&, const google::protobuf::Message&)>;

  const google::protobuf::MethodDescriptor* descriptor = nullptr;
  const google::protobuf::Message* request_type = nullptr;
  Handler handle;
  Opener open;
};

class Service {
 public:
  // Throws std::logic_error when no such service is declared.
  explicit Service(const std::string& name);

  // Binds a method. Handlers run on several threads at once. Throws std::logic_error when the
  // service has no such method, when its types are others, or when it has no access option.
  template <typename Owner, typename Request, typename Response>
  Service& On(const char* method, Owner* owner,
              Result<Response> (Owner::*handler)(const Call&, const Request&)) {
    return On(Declared(method, Request::descriptor(), Response::descriptor()),
              [owner, handler](const Call& call, const google::protobuf::Message& request,
                               const Method::Reply& reply) -> Result<void> {
                const Result<Response> answer =
                    (owner->*handler)(call, static_cast<const Request&>(request));
                if (!answer) return answer.refusal();
                reply(*answer);
                return kDone;
              });
  }
  // The same for a handler that takes its messages as Message.
  Service& On(const google::protobuf::MethodDescriptor& method, Method::Handler handler);

  // Binds a server-streaming method. The handler says whether the caller may have the stream, and
  // what it shows; it is called once, when the stream is opened. Throws std::logic_error as On does,
  // and when the streamed message has no field with the option stream_id.
  template <typename Owner, typename Request, typename Response>
  Service& OnStream(const char* method, Owner* owner,
                    Result<Stream<Response>> (Owner::*handler)(const Call&, const Request&)) {
    const google::protobuf::FieldDescriptor* id = StreamIdOf(*Response::descriptor());
    return OnStream(
        Declared(method, Request::descriptor(), Response::descriptor()),
        [owner, handler, id](const Call& call,
                             const google::protobuf::Message& request) -> Result<OpenedStream> {
          Result<Stream<Response>> stream =
              (owner->*handler)(call, static_cast<const Request&>(request));
          if (!stream) return stream.refusal();
          return Erase(*std::move(stream), id);
        });
  }
  Service& OnStream(const google::protobuf::MethodDescriptor& method, Method::Opener opener);

  const google::protobuf::ServiceDescriptor* descriptor() const { return descriptor_; }
  const std::vector<Method>& methods() const { return methods_; }

 private:
  const google::protobuf::MethodDescriptor& Declared(
      const char* name, const google::protobuf::Descriptor* request,
      const google::protobuf::Descriptor* response) const;

  const google::protobuf::ServiceDescriptor* descriptor_;
  std::vector<Method> methods_;
};

}  // namespace shop::rpc
