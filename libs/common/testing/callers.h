// What tests of services share: tokens for any caller, and a client that calls as that caller.
//
//   testing::Callers callers;
//   rpc::Identity identity = {testing::IdentityOf("orders"), callers.Keys()};
//   rpc::Server server({.host = "127.0.0.1"}, identity, {service.Methods()});
//   const testing::Client user(server.address(), callers.User(7));
//   Result<Order> order = user.Call<Order>("shop.orders.v1.OrdersService", "CreateOrder", request);
#pragma once

#include <google/protobuf/message.h>

#include <memory>
#include <string>

#include "common/auth/access_token.h"
#include "common/core/result.h"
#include "common/rpc/identity.h"

namespace grpc {
class ClientContext;
}

namespace shop::testing {

// A service, with a key of its own, and the keys of all that are in deploy/services, and of `watch`.
rpc::Identity::Settings IdentityOf(const std::string& name);

// Who calls: a user by a token, or a service by its name, with a token for whom it calls; without both it
// is a guest.
struct Credentials {
  std::string token = {};
  std::string service = {};
};
// Adds what they show to a call of `path`.
void Present(const Credentials& credentials, const std::string& path, grpc::ClientContext* context);

// Stands in for auth: its keys are made anew for each object.
class Callers {
 public:
  Callers();

  // For the Identity of the service under test.
  auth::TokenVerifier::FetchKeys Keys() const;
  const std::string& private_key_pem() const { return pem_; }

  Credentials User(int64_t id, api::v1::Role role = api::v1::ROLE_USER) const;
  static Credentials Service(const std::string& name);

 private:
  std::string pem_;
  auth::TokenSigner signer_;
};

// Calls one server. Every status but OK is a refusal here, also UNAVAILABLE and INTERNAL.
class Client {
 public:
  explicit Client(const std::string& address, Credentials credentials = {});
  ~Client();

  template <typename Response>
  Result<Response> Call(const std::string& service, const std::string& method,
                        const google::protobuf::Message& request) const {
    Response response;
    const Result<void> outcome = Invoke("/" + service + "/" + method, request, &response);
    if (!outcome) return outcome.refusal();
    return response;
  }

 private:
  Result<void> Invoke(const std::string& path, const google::protobuf::Message& request,
                      google::protobuf::Message* response) const;

  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::testing
