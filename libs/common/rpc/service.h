// A gRPC service as a table of plain functions.
//
//   rpc::Service OrdersService::Methods() {
//     return rpc::Service("shop.orders.v1.OrdersService")
//         .On("CreateOrder", this, &OrdersService::CreateOrder)
//         .On("GetOrder", this, &OrdersService::GetOrder);
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

namespace shop::rpc {

// One method: its descriptor and the function behind it with its types erased.
struct Method {
  using Reply = std::function<void(const google::protobuf::Message&)>;
  // Calls `reply` once with the answer, or refuses.
  using Handler =
      std::function<Result<void>(const Call&, const google::protobuf::Message&, const Reply&)>;

  const google::protobuf::MethodDescriptor* descriptor = nullptr;
  const google::protobuf::Message* request_type = nullptr;
  Handler handle;
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
