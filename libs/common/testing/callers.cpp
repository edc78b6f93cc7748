#include "common/testing/callers.h"

#include <grpcpp/channel.h>
#include <grpcpp/create_channel.h>

#include <utility>

#include "common/auth/service_token.h"
#include "common/rpc/client.h"
#include "common/rpc/status.h"
#include "common/rpc/unary_call.h"
#include "common/testing/keys.h"
#include "common/testing/service_keys.h"

namespace shop::testing {
rpc::Identity::Settings IdentityOf(const std::string& name) {
  return {ServiceKeysOf(name)};
}

void Present(const Credentials& credentials, const std::string& path,
             grpc::ClientContext* context) {
  const auto& [token, service] = credentials;
  if (!token.empty()) context->AddMetadata("authorization", "Bearer " + token);
  if (!service.empty()) {
    auth::ServiceTokens tokens(ServiceKeysOf(service));
    context->AddMetadata("x-service-token", tokens.OwnToken(rpc::ReceiverOf(path)));
  }
}

Callers::Callers() : pem_(KeyPair().private_pem), signer_(pem_) {}

auth::TokenVerifier::FetchKeys Callers::Keys() const {
  return [key = signer_.public_key()] { return std::vector{key}; };
}

Credentials Callers::User(int64_t id, api::v1::Role role) const {
  return {.token = signer_.Sign(id, role, std::chrono::hours(1))};
}

Credentials Callers::Service(const std::string& name) {
  return {.service = name};
}

struct Client::State {
  rpc::UnaryStub stub;
  Credentials credentials;
};

Client::Client(const std::string& address, Credentials credentials)
    : state_(std::make_unique<State>(
          State{rpc::UnaryStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials())),
                std::move(credentials)})) {}

Client::~Client() = default;

Result<void> Client::Invoke(const std::string& path, const google::protobuf::Message& request,
                            google::protobuf::Message* response) const {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  Present(state_->credentials, path, &context);
  const grpc::Status status = rpc::CallUnary(state_->stub, path, &context, request, response);
  if (status.ok()) return kDone;
  return rpc::FromStatus(status);
}

}  // namespace shop::testing
