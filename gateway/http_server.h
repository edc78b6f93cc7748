// HTTP/1.1 in front of the gateway: connections, limits and time-outs.
//
// One coroutine for each connection, which answers its requests one after the other, also when they
// come pipelined. What cannot be read as a request is answered (400, 408, 413, 417, 429, 431, 503)
// and ends its connection; an idle connection just ends. Time-outs are checked five times a second.
//
// A body is read when the gateway asks for it, which it does once it has accepted the header. One
// that it does not ask for is thrown away where that is quick, and otherwise the connection ends
// with the response. Connections, and the memory that requests take, are limited for all clients
// together (503 beyond) and for each client (429), which is an address
// (gateway/limits/client_limits.h).
//
// A response that is a stream (gateway/streaming/) has its connection to itself, without the idle
// time-out, until one side ends it.
//
// With a certificate it speaks HTTPS, and that alone.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "common/core/env.h"
#include "common/core/tls_files.h"

namespace shop::gateway {

class Gateway;

class HttpServer {
 public:
  struct Settings {
    std::string host = "127.0.0.1";
    uint16_t port = 0;  // 0 takes a free one (tests)
    TlsFiles tls;       // where there are any, it speaks HTTPS
    int threads = 1;    // one serves what two processors can send it
    size_t max_header_bytes = 16 * 1024;
    size_t max_body_bytes = 1024 * 1024;
    size_t max_connections = 10000;            // more get a 503 at once
    size_t max_connections_per_client = 2000;  // more get a 429 at once
    size_t max_streams = 20000;                // beside the connections; more get a 503
    size_t max_streams_per_client = 2000;      // more get a 429
    std::chrono::milliseconds stream_heartbeat{
        15000};  // what is sent when nothing else was so long
    // Memory for requests that are not answered yet: bodies, fields while the rest of their header
    // or the body is awaited, and what is unparsed beyond the first 4 KB.
    size_t max_buffered_bytes = 32 * 1024 * 1024;
    size_t max_buffered_bytes_per_client = 8 * 1024 * 1024;
    std::chrono::milliseconds idle_timeout{60000};    // between requests
    std::chrono::milliseconds header_timeout{10000};  // first byte to the end of the header
    std::chrono::milliseconds body_timeout{30000};
    std::chrono::milliseconds write_timeout{30000};
    std::chrono::milliseconds grace{7000};  // for requests in flight when stopping, all in all
    // How long, when stopping, everything is still served while /readyz already says no and each
    // response ends its connection, so that load balancers and clients notice before connections are
    // refused and idle ones end. A part of the grace.
    std::chrono::milliseconds drain_delay{0};
    // Whether another gateway of the same user may listen on the same port at the same time. The
    // kernel gives each a share of the new connections, so one that stops accepts nothing during the
    // drain delay.
    bool reuse_port = false;

    // BIND_HOST, GATEWAY_PORT, HTTP_TLS_CERT_FILE, HTTP_TLS_KEY_FILE, GATEWAY_THREADS, HTTP_MAX_BODY_BYTES, HTTP_MAX_BUFFERED_BYTES,
    // HTTP_MAX_BUFFERED_BYTES_PER_CLIENT, HTTP_MAX_CONNECTIONS, HTTP_MAX_CONNECTIONS_PER_CLIENT,
    // HTTP_MAX_STREAMS, HTTP_MAX_STREAMS_PER_CLIENT, HTTP_STREAM_HEARTBEAT_MS,
    // HTTP_IDLE_TIMEOUT_MS, HTTP_HEADER_TIMEOUT_MS, HTTP_BODY_TIMEOUT_MS, HTTP_DRAIN_DELAY_MS,
    // HTTP_REUSE_PORT.
    // A limit of bytes that would not take one body of the largest size is wrong.
    static Settings Read(Env& env);
  };

  // Serves at once. Throws std::runtime_error when the port is taken or the certificate of no use.
  HttpServer(const Settings& settings, Gateway& gateway);
  // Stops the gateway's readiness; connections end with their next response. After the drain delay it
  // accepts nothing more, but for what is in the backlog, and closes idle connections; what still
  // runs when the time of grace is over is cancelled.
  ~HttpServer();

  uint16_t port() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::gateway
