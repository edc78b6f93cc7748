// The gateway's process: serves every service whose proto is linked in.
#include <memory>
#include <optional>
#include <stdexcept>

#include "common/auth/access_token.h"
#include "common/core/addresses.h"
#include "common/core/process.h"
#include "common/kafka/revocations.h"
#include "common/rpc/identity.h"
#include "gateway/cache/invalidation.h"
#include "gateway/gateway.h"
#include "gateway/http_server.h"
#include "gateway/limits/rate_sharing.h"
#include "gateway/live/live.h"
#include "gateway/openapi/docs.h"

int main() {
  using namespace shop;
  Process process("gateway");
  const gateway::Services services = gateway::DeclaredServices();
  const auto settings = gateway::Gateway::Settings::Read(process.env(), services);
  const auto http = gateway::HttpServer::Settings::Read(process.env());
  const auto redis = redis::Settings::Read(process.env());
  const auto kafka = kafka::KafkaSettings::Read(process.env());
  const auto tls_files = TlsFiles::OfProcess(process.env(), "gateway");
  const std::string auth_address = ServiceAddress(process.env(), "auth");
  const std::string swagger_ui = process.env().Text("SWAGGER_UI_DIR", "");
  process.Start();

  const rpc::Tls tls(tls_files);
  auth::TokenVerifier tokens(rpc::KeysFrom(auth_address, tls));
  const kafka::Revocations revocations(kafka, tokens, process);
  gateway::Gateway gateway(settings, services, tokens, tls);
  gateway::PublishDocs(swagger_ui, services, &gateway);
  gateway::PublishLivePage(&gateway);
  std::unique_ptr<redis::Subscription> changes;
  if (settings.cache_max_age.count() > 0) {
    changes = gateway::SubscribeInvalidations(redis, gateway.cache_tags(), gateway.cache());
  }
  std::optional<gateway::RateSharing> sharing;
  if (settings.rate.enabled) sharing.emplace(redis, gateway.rate_limits());
  if (http.reuse_port) {
    // From the moment it listens it is given a share of the connections.
    process.WaitFor("a service, the keys of auth, and which sessions have ended", [&] {
      if (!gateway.Ready() || !revocations.ready()) throw std::runtime_error("not yet");
    });
  }
  const gateway::HttpServer server(http, gateway);
  process.AddReadiness("any service, or the keys of auth", [&] { return gateway.Ready(); });
  for (const auto& [name, address] : settings.addresses) {
    process.AddDegradation(name, [&gateway, name = name] { return gateway.Reaches(name); });
  }
  return process.RunUntilStopped();
}
