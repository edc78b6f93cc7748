// Calls to other services.
//
//   rpc::Channel products("products", ServiceAddress(env, "products"), identity);
//   const rpc::ClientMethod<QuoteProductsRequest, QuoteProductsResponse> quote(
//       products, "shop.products.v1.ProductsService", "QuoteProducts");
//   const Result<QuoteProductsResponse> answer = quote(call, request);
//
// What the other side refuses is a refusal here too. A fault is an exception:
//   Unavailable         it cannot serve anybody, or not this process: away, late, too busy, of a
//                       version that lacks the method, or it does not accept this process's
//                       identity. The same call may work later; a consumer pauses
//   std::runtime_error  it failed on this request (INTERNAL, UNKNOWN, DATA_LOSS), which may be the
//                       request's fault: a consumer puts this one event, and its key, into the
//                       retry queue and goes on with the others
// After either the call may have had its effect. Nothing is retried here that may have run, as only the
// caller knows what may run twice. Connections are made when first needed, to all addresses of a name, and made
// again after they break.
#pragma once

#include <google/protobuf/message.h>

#include <chrono>
#include <memory>
#include <string>

#include "common/core/result.h"
#include "common/rpc/call.h"
#include "common/rpc/tls.h"

namespace shop::rpc {

class Identity;

// Connections to one service. Thread-safe.
class Channel {
 public:
  // To the service `name` (`products`) at `address`. `identity` gives the x-service-token and the
  // certificate, and must outlive the channel.
  Channel(const std::string& name, const std::string& address, Identity& identity);
  // The calls are those of a guest.
  Channel(const std::string& name, const std::string& address, const Tls& tls);
  ~Channel();

  // Calls `path` (/shop.products.v1.ProductsService/QuoteProducts) and blocks until the answer or
  // the call's deadline; the stop of the thread's DeadlineScope cancels it. Passes on request id
  // and trace.
  Result<void> Invoke(const std::string& path, const Call& call,
                      const google::protobuf::Message& request,
                      google::protobuf::Message* response) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The name of the service that a path such as /shop.orders.v1.OrdersService/GetOrder is of: orders.
// std::logic_error when it is of none.
std::string_view ReceiverOf(std::string_view path);

// The path of a declared method; throws std::logic_error when it is not declared with these types.
std::string MethodPath(const std::string& service, const std::string& method,
                       const google::protobuf::Descriptor* request,
                       const google::protobuf::Descriptor* response);

// One method of another service as a function.
template <typename Request, typename Response>
class ClientMethod {
 public:
  ClientMethod(const Channel& channel, const std::string& service, const std::string& method)
      : channel_(&channel),
        path_(MethodPath(service, method, Request::descriptor(), Response::descriptor())) {}

  Result<Response> operator()(const Call& call, const Request& request) const {
    Response response;
    const Result<void> outcome = channel_->Invoke(path_, call, request, &response);
    if (!outcome) return outcome.refusal();
    return response;
  }

 private:
  const Channel* channel_;
  std::string path_;
};

// A call made outside of any request, such as a consumer's, with this trace and time limit.
Call BackgroundCall(const TraceContext& trace, std::chrono::milliseconds limit);

}  // namespace shop::rpc
