#include "common/rpc/connection.h"

#include <grpc/grpc.h>
#include <grpcpp/create_channel.h>

namespace shop::rpc {

grpc::ChannelArguments ConnectionArguments() {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  // In gRPC 1.51 this bounds how long an attempt may take, and not the pause between two.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 2000);
  arguments.SetInt(GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, 1000);
  arguments.SetLoadBalancingPolicyName("round_robin");
  arguments.SetServiceConfigJSON(R"({"healthCheckConfig": {"serviceName": ""}})");
  return arguments;
}

std::shared_ptr<grpc::Channel> Connect(const std::string& name, const std::string& address,
                                       const Tls& tls, grpc::ChannelArguments arguments) {
  // The name in the certificate is the service's, not that of a machine. gRPC calls this setting one for
  // tests, as it does away with the check that a server is at the address it is certified for.
  if (tls.on()) arguments.SetSslTargetNameOverride(name);
  return grpc::CreateCustomChannel(address, tls.client(), arguments);
}

bool NotTaken(const grpc::Status& status) {
  // The latter is said of a call that was given to a connection which had just ended.
  return status.error_code() == grpc::StatusCode::UNAVAILABLE &&
         (status.error_message() == "GOAWAY received" ||
          status.error_message() == "Transport closed");
}

}  // namespace shop::rpc
