#include "common/telemetry/admin_server.h"

#include <civetweb.h>
#include <prometheus/text_serializer.h>

#include <stdexcept>
#include <string_view>

#include "common/telemetry/metrics.h"

namespace shop {

struct AdminServer::State {
  Ready ready;
  mg_context* server = nullptr;
};

namespace {

int Answer(mg_connection* connection, const char* status, const std::string& body) {
  mg_printf(connection,
            "HTTP/1.1 %s\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
            "Content-Length: %zu\r\nConnection: close\r\n\r\n",
            status, body.size());
  mg_write(connection, body.data(), body.size());
  return 1;
}

int Handle(mg_connection* connection, void* state) {
  const mg_request_info* request = mg_get_request_info(connection);
  const std::string_view path = request->local_uri;
  if (std::string_view(request->request_method) != "GET") {
    return Answer(connection, "405 Method Not Allowed\r\nAllow: GET", "only GET\n");
  }
  if (path == "/healthz") return Answer(connection, "200 OK", "ok\n");
  if (path == "/metrics") {
    return Answer(connection, "200 OK",
                  prometheus::TextSerializer().Serialize(Metrics().Collect()));
  }
  if (path == "/readyz") {
    const std::string missing = static_cast<AdminServer::Ready*>(state)->operator()();
    if (missing.empty()) return Answer(connection, "200 OK", "ready\n");
    return Answer(connection, "503 Service Unavailable", "not ready: " + missing + "\n");
  }
  return Answer(connection, "404 Not Found", "there are /metrics, /healthz and /readyz\n");
}

}  // namespace

AdminServer::AdminServer(const std::string& host, uint16_t port, Ready ready)
    : state_(std::make_unique<State>(State{std::move(ready)})) {
  const std::string address = host + ":" + std::to_string(port);
  const char* options[] = {"listening_ports",    address.c_str(), "num_threads", "1",
                           "request_timeout_ms", "2000",          nullptr};
  const mg_callbacks callbacks{};
  state_->server = mg_start(&callbacks, nullptr, options);
  if (state_->server == nullptr) {
    throw std::runtime_error("cannot listen on " + address + " (is the port taken?)");
  }
  mg_set_request_handler(state_->server, "/", Handle, &state_->ready);
}

AdminServer::~AdminServer() {
  mg_stop(state_->server);
}

}  // namespace shop
