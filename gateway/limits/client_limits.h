// Limits on what clients take of the server at once: connections, and memory for the bytes that
// they have sent. One limit holds for all clients together and one for each of them, so that
// neither one client nor many can fill the memory.
//
// A client is a ClientNetwork; whatever comes through one proxy is one client.
//
// Thread-safe. Metrics: http_connections, http_streams, http_buffered_bytes and
// http_limit_refusals_total{limit=connections|client_connections|bytes|client_bytes|streams|client_streams};
// user_streams and token_checks are counted there too (gateway/limits/user_streams.h, gateway/authenticator.h).
#pragma once

#include <atomic>
#include <boost/asio/ip/address.hpp>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "gateway/limits/client_address.h"

namespace prometheus {
class Counter;
class Gauge;
}  // namespace prometheus

namespace shop::gateway {

// http_limit_refusals_total of one limit.
prometheus::Counter& LimitRefusals(const std::string& limit);

class ClientLimits {
  struct Client;

 public:
  struct Settings {
    size_t connections;
    size_t connections_per_client;
    size_t bytes;
    size_t bytes_per_client;
    size_t streams = 20000;
    size_t streams_per_client = 2000;
  };
  enum class Verdict {
    kGiven,
    kLimitOfAll,     // all clients together have reached theirs
    kLimitOfClient,  // the client has reached its own
  };

  explicit ClientLimits(const Settings& settings);
  // No Share may be left.
  ~ClientLimits();

  // What one connection takes: its place, and the bytes that it was given. Its destructor gives all
  // of it back. For one thread at a time.
  class Share {
   public:
    ~Share();
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;

    // Asks for more bytes. Where they are refused it has as many as before.
    Verdict Take(size_t bytes);
    // Takes what is missing to `bytes` in all. Whether it has as many.
    bool TakeInAll(size_t bytes) {
      return bytes <= taken_ || Take(bytes - taken_) == Verdict::kGiven;
    }
    void GiveBack();
    // Takes a place among the streams for the one among the connections. Where it is refused the
    // connection stays what it is.
    Verdict BecomeStream();
    // Takes it back, also where the connections have reached their limit meanwhile.
    void BecomeConnection();
    size_t taken() const { return taken_; }
    // The result of the last Take since the last GiveBack.
    Verdict verdict() const { return verdict_; }

   private:
    friend class ClientLimits;
    Share(ClientLimits& limits, Client& client) : limits_(limits), client_(client) {}

    ClientLimits& limits_;
    // Moves its place; under the mutex.
    void Count(bool as_stream, int one);

    Client& client_;
    size_t taken_ = 0;
    bool is_stream_ = false;  // guarded by ClientLimits' mutex; read by its own thread
    Verdict verdict_ = Verdict::kGiven;
  };

  // A place for one more connection from `address`, or null and the limit that forbids it.
  std::pair<std::unique_ptr<Share>, Verdict> Connect(const boost::asio::ip::address& address);

 private:
  const Settings settings_;
  prometheus::Gauge& connections_gauge_;
  prometheus::Gauge& streams_gauge_;
  prometheus::Gauge& bytes_gauge_;
  prometheus::Counter& refused_connections_;
  prometheus::Counter& refused_client_connections_;
  prometheus::Counter& refused_bytes_;
  prometheus::Counter& refused_client_bytes_;
  prometheus::Counter& refused_streams_;
  prometheus::Counter& refused_client_streams_;
  std::atomic<size_t> bytes_ = 0;
  std::mutex mutex_;  // guards these:
  size_t connections_ = 0;
  size_t streams_ = 0;
  std::map<ClientNetwork, Client> clients_;  // those with a connection
};

}  // namespace shop::gateway
