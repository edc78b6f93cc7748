// A service with a stream, or a gateway in front of it, each as a process of its own, for measuring.
//
//   stream_server service                  prints its port to stderr; each line on stdin is one more change
//   stream_server gateway <service port>   prints its port to stderr
//
// Both end with stdin.
#include <atomic>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "common/rpc/identity.h"
#include "common/rpc/server.h"
#include "common/rpc/stream_hub.h"
#include "common/testing/callers.h"
#include "common/testing/fake_service.h"
#include "gateway/gateway.h"
#include "gateway/http_server.h"
#include "gateway/testing/library.pb.h"

namespace {

using namespace shop;
namespace api = shop::testing::v1;

// Every book changes at the same time.
class Library {
 public:
  rpc::Service Methods() {
    return testing::FakeService(
        rpc::Service("shop.testing.v1.LibraryService").OnStream("Watch", this, &Library::Watch));
  }
  Result<rpc::Stream<api::BookChange>> Watch(const Call&, const api::WatchRequest& request) {
    return rpc::Stream<api::BookChange>{.hub = &hub_,
                                        .key = request.id(),
                                        .after = request.last_event_id(),
                                        .read = [this](int64_t after) {
                                          std::vector<api::BookChange> changes;
                                          while (after < changes_)
                                            changes.emplace_back().set_seq(++after);
                                          return changes;
                                        }};
  }
  void Change() { ++changes_; }

 private:
  std::atomic<int64_t> changes_ = 0;
  rpc::StreamHub hub_{[this](const std::vector<int64_t>& keys) {
    std::map<int64_t, int64_t> newest;
    for (const int64_t key : keys) newest[key] = changes_;
    return newest;
  }};
};

void Serve() {
  Library library;
  rpc::Identity identity(shop::testing::IdentityOf("watch"),
                         [] { return std::vector<auth::PublicKey>(); });
  // Many may come at the same moment.
  const rpc::Server server({.host = "127.0.0.1", .queue = 100000}, identity, {library.Methods()});
  std::cerr << server.port() << std::endl;
  for (std::string line; std::getline(std::cin, line);) library.Change();
}

void ServeGateway(const std::string& service_port) {
  auth::TokenVerifier tokens([] { return std::vector<auth::PublicKey>(); });
  gateway::Gateway::Settings settings;
  settings.max_in_flight = 100000;
  settings.addresses["testing"] = "127.0.0.1:" + service_port;
  const auto* service = google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(
      "shop.testing.v1.LibraryService");
  gateway::Gateway gateway(settings, {service}, tokens);
  gateway::HttpServer::Settings http;
  http.max_streams_per_client = http.max_streams;
  http.max_connections_per_client = http.max_connections;
  const gateway::HttpServer server(http, gateway);
  std::cerr << server.port() << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "service") {
    Serve();
  } else if (mode == "gateway" && argc > 2) {
    ServeGateway(argv[2]);
  } else {
    std::cerr << "stream_server service | gateway <service port>\n";
    return 2;
  }
}
